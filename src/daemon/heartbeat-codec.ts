/** Heartbeats as the room of paths has them, and as they are on the wire. */
import { AGE_UNKNOWN_MS, type Heartbeat, type HeartbeatCodec } from '../paths/types.ts';
import { emitHeartbeat, HEARTBEAT_BUSY, parseHeartbeat } from '../wire/heartbeat.ts';

const TICKS_PER_MS = 10;
/** A sender that is this quick says by it that data flows. */
const BUSY_INTERVAL_MS = 20;

export const heartbeatCodec: HeartbeatCodec = {
  emit: ({ path, intervalMs, sentAt, echoSentAt, echoHeldFor, hasEcho, reports }) =>
    emitHeartbeat({
      flags: intervalMs <= BUSY_INTERVAL_MS ? HEARTBEAT_BUSY : 0,
      path,
      intervalMs,
      sentAtTicks: sentAt,
      ...(hasEcho && { echo: { sentAtTicks: echoSentAt, heldMs: echoHeldFor / TICKS_PER_MS } }),
      reports: reports.map((report) => ({ ...report, heardAgeMs: Math.min(AGE_UNKNOWN_MS, Math.round(report.heardAgeMs)) })),
    }),
  parse: (bytes): Heartbeat | undefined => {
    const heartbeat = parseHeartbeat(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if (!heartbeat) return undefined;
    const { path, intervalMs, sentAtTicks, echo, reports } = heartbeat;
    return {
      path,
      intervalMs,
      sentAt: sentAtTicks,
      echoSentAt: echo?.sentAtTicks ?? 0,
      echoHeldFor: Math.round((echo?.heldMs ?? 0) * TICKS_PER_MS),
      hasEcho: echo !== undefined,
      reports,
    };
  },
};
