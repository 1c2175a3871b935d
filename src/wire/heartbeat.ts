/**
 * What is sealed in a heartbeat: one on each path, one-way and unprompted. It says that the path lives in this direction, when it was sent,
 * what was last heard on the same path (so that the round trip is known without a reply), and how the sender sees the receiver's paths.
 *
 *    0         1       2       3         4            6                8            12              16
 *    ┌─────────┬───────┬───────┬─────────┬────────────┬────────────────┬────────────┬───────────────┬─────────────┐
 *    │ version │ flags │ path  │ reports │ interval,  │ echo held,     │ sent at,   │ echo: sent at │ reports,    │
 *    │ 1       │       │       │ 0 to 32 │ u16, ms    │ u16, ticks     │ u32, ticks │ u32, ticks    │ 6 bytes each│
 *    └─────────┴───────┴───────┴─────────┴────────────┴────────────────┴────────────┴───────────────┴─────────────┘
 *    a report: your path u8, state u8, heard age u16 ms, loss u16 permille
 *    behind the reports, with the flag HEARTBEAT_PROBES: for each of them the token u16 of the newest probe (mtu-probe.ts) on that path, 0 for none
 *
 * All big-endian; a tick is 100 µs of the sender's clock, wrapping after five days. A later version only adds bytes behind the reports.
 */
const HEARTBEAT_VERSION = 1;
export const HEARTBEAT_REPORTS_MOST = 32;
export const HEARTBEAT_MOST_BYTES = 16 + HEARTBEAT_REPORTS_MOST * 8;

/** Bits of `flags`. */
export const HEARTBEAT_BUSY = 1;
/** The receiver's datagrams do not reach the sender on this path; this heartbeat may have come by another way. */
export const HEARTBEAT_LACKS_UDP = 2;
/** The sender answers probes: their tokens are behind the reports. */
export const HEARTBEAT_PROBES = 4;

/** States in a report, by their number. A number that is not in here is of a later version. */
export const HEARTBEAT_STATES = ['unknown', 'up', 'suspect', 'down', 'probing', 'disabled'] as const;

export interface Heartbeat {
  readonly version: number;
  readonly flags: number;
  /** The sender's index of the path. */
  readonly path: number;
  /** When the next one is to be expected. */
  readonly intervalMs: number;
  readonly sentAtTicks: number;
  /** The newest heartbeat heard on this path; absent before the first, and where it is too long ago to say. */
  readonly echo?: HeartbeatEcho;
  readonly reports: readonly HeartbeatReport[];
}

interface HeartbeatEcho {
  readonly sentAtTicks: number;
  /** How long it lay here before this heartbeat was sent. */
  readonly heldMs: number;
}

/** How the sender sees a path of the receiver. */
export interface HeartbeatReport {
  /** The receiver's index of the path, learnt from its heartbeats. */
  readonly yourPath: number;
  /** The position in HEARTBEAT_STATES; the upper five bits are what both ends must know to agree (paths/path-state.ts). */
  readonly state: number;
  /** Since when nothing was heard of it; 65,535 stands for that and longer. */
  readonly heardAgeMs: number;
  readonly lossPermille: number;
  /** Of the receiver's newest probe that came on this path; 0: none, or the sender knows no probes. */
  readonly probe: number;
}

const VERSION = 0;
const FLAGS = 1;
const PATH = 2;
const REPORTS = 3;
const INTERVAL = 4;
const HELD = 6;
const SENT_AT = 8;
const ECHO = 12;
const REPORTS_AT = 16;
const REPORT_BYTES = 6;
const PROBE_BYTES = 2;
const U16_MOST = 0xffff;
const TICKS_PER_MS = 10;
const NO_ECHO = U16_MOST;

/** @returns undefined where the bytes are none, of whatever version. */
export function parseHeartbeat(bytes: Uint8Array): Heartbeat | undefined {
  if (bytes.length < REPORTS_AT || bytes[VERSION] === 0) return undefined;
  const count = bytes[REPORTS]!;
  if (count > HEARTBEAT_REPORTS_MOST || bytes.length < REPORTS_AT + count * REPORT_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const held = view.getUint16(HELD);
  const probesAt = REPORTS_AT + count * REPORT_BYTES;
  const hasProbes = (bytes[FLAGS]! & HEARTBEAT_PROBES) !== 0 && bytes.length >= probesAt + count * PROBE_BYTES;
  return {
    version: bytes[VERSION]!,
    flags: bytes[FLAGS]!,
    path: bytes[PATH]!,
    intervalMs: view.getUint16(INTERVAL),
    sentAtTicks: view.getUint32(SENT_AT),
    ...(held !== NO_ECHO && { echo: { sentAtTicks: view.getUint32(ECHO), heldMs: held / TICKS_PER_MS } }),
    reports: Array.from({ length: count }, (_, i) =>
      reportAt(view, REPORTS_AT + i * REPORT_BYTES, hasProbes ? probesAt + i * PROBE_BYTES : -1),
    ),
  };
}

/** Numbers that do not fit are written as the nearest that does; an echo held for longer than 6.5 s is left out, reports beyond 32 too. */
export function emitHeartbeat({ flags, path, intervalMs, sentAtTicks, echo, reports }: Omit<Heartbeat, 'version'>): Buffer {
  const count = Math.min(reports.length, HEARTBEAT_REPORTS_MOST);
  const probesAt = REPORTS_AT + count * REPORT_BYTES;
  const hasProbes = (flags & HEARTBEAT_PROBES) !== 0;
  const bytes = Buffer.alloc(probesAt + (hasProbes ? count * PROBE_BYTES : 0));
  const held = echo ? Math.max(0, Math.round(echo.heldMs * TICKS_PER_MS)) : NO_ECHO;
  bytes[VERSION] = HEARTBEAT_VERSION;
  bytes[FLAGS] = flags;
  bytes[PATH] = path;
  bytes[REPORTS] = count;
  bytes.writeUInt16BE(toU16(intervalMs), INTERVAL);
  bytes.writeUInt16BE(Math.min(held, NO_ECHO), HELD);
  bytes.writeUInt32BE(sentAtTicks, SENT_AT);
  if (echo && held < NO_ECHO) bytes.writeUInt32BE(echo.sentAtTicks, ECHO);
  for (let i = 0; i < count; i++) {
    emitReport(reports[i]!, bytes, REPORTS_AT + i * REPORT_BYTES);
    if (hasProbes) bytes.writeUInt16BE(reports[i]!.probe, probesAt + i * PROBE_BYTES);
  }
  return bytes;
}

function reportAt(view: DataView, at: number, probeAt: number): HeartbeatReport {
  return {
    yourPath: view.getUint8(at),
    state: view.getUint8(at + 1),
    heardAgeMs: view.getUint16(at + 2),
    lossPermille: view.getUint16(at + 4),
    probe: probeAt < 0 ? 0 : view.getUint16(probeAt),
  };
}

function emitReport(report: HeartbeatReport, bytes: Buffer, at: number): void {
  bytes[at] = report.yourPath;
  bytes[at + 1] = report.state;
  bytes.writeUInt16BE(toU16(report.heardAgeMs), at + 2);
  bytes.writeUInt16BE(toU16(report.lossPermille), at + 4);
}

function toU16(value: number): number {
  return value > 0 ? Math.min(U16_MOST, Math.round(value)) : 0;
}
