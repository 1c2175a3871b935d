import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emitHeartbeat, HEARTBEAT_MOST_BYTES, HEARTBEAT_PROBES, HEARTBEAT_STATES, parseHeartbeat } from './heartbeat.ts';

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const report = fc.record({ yourPath: u8, state: u8, heardAgeMs: u16, lossPermille: u16, probe: u16 });
const echo = fc.record({ sentAtTicks: u32, heldMs: fc.integer({ min: 0, max: 0xfffe }).map((ticks) => ticks / 10) });
const heartbeat = fc
  .tuple(
    fc.record({ flags: u8, path: u8, intervalMs: u16, sentAtTicks: u32, reports: fc.array(report, { maxLength: 32 }) }),
    fc.option(echo, { nil: undefined }),
  )
  .map(([rest, echo]) => {
    const reports = (rest.flags & HEARTBEAT_PROBES) === 0 ? rest.reports.map((one) => ({ ...one, probe: 0 })) : rest.reports;
    return { ...rest, reports, ...(echo && { echo }) };
  });

describe('heartbeat', () => {
  it('reads bytes written down by hand', () => {
    const bytes = Buffer.from('0101020100140019000003e8000001f40302004600fa', 'hex');
    expect(parseHeartbeat(bytes)).toEqual({
      version: 1,
      flags: 1,
      path: 2,
      intervalMs: 20,
      sentAtTicks: 1000,
      echo: { sentAtTicks: 500, heldMs: 2.5 },
      reports: [{ yourPath: 3, state: HEARTBEAT_STATES.indexOf('suspect'), heardAgeMs: 70, lossPermille: 250, probe: 0 }],
    });
  });

  it('reads back what it writes, also with bytes of a later version behind it', () => {
    fc.assert(
      fc.property(heartbeat, fc.uint8Array({ maxLength: 20 }), fc.integer({ min: 1, max: 255 }), (beat, later, version) => {
        const bytes = emitHeartbeat(beat);
        expect(bytes.length).toBeLessThanOrEqual(HEARTBEAT_MOST_BYTES);
        expect(parseHeartbeat(bytes)).toEqual({ ...beat, version: 1 });
        bytes[0] = version;
        expect(parseHeartbeat(Buffer.concat([bytes, later]))).toEqual({ ...beat, version });
      }),
    );
  });

  it('reads the tokens of probes behind the reports where the flag says so, and none where they were cut off', () => {
    const bytes = Buffer.from('0104020100140019000003e8000001f40302004600fa1234', 'hex');
    expect(parseHeartbeat(bytes)!.reports[0]!.probe).toBe(0x1234);
    expect(parseHeartbeat(bytes.subarray(0, -1))!.reports[0]!.probe).toBe(0);
    bytes[1] = 0;
    expect(parseHeartbeat(bytes)!.reports[0]!.probe).toBe(0);
  });

  it('is none at any length that is cut short', () => {
    const bytes = emitHeartbeat({
      flags: 0,
      path: 0,
      intervalMs: 20,
      sentAtTicks: 0,
      reports: [{ yourPath: 0, state: 1, heardAgeMs: 0, lossPermille: 0, probe: 0 }],
    });
    for (let length = 0; length < bytes.length; length++) expect(parseHeartbeat(bytes.subarray(0, length))).toBeUndefined();
  });

  it('takes any bytes without an exception, and refuses version 0 and more than 32 reports', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parseHeartbeat(bytes)));
    expect(parseHeartbeat(Buffer.alloc(300))).toBeUndefined();
    expect(parseHeartbeat(Buffer.alloc(300, 33))).toBeUndefined();
  });

  it('writes what does not fit as the nearest that does, and leaves out an echo that is too old', () => {
    const beat = parseHeartbeat(
      emitHeartbeat({
        flags: 0,
        path: 0,
        intervalMs: 1e9,
        sentAtTicks: 7,
        echo: { sentAtTicks: 1, heldMs: 6_553.5 },
        reports: Array.from({ length: 40 }, () => ({
          yourPath: 1,
          state: 1,
          heardAgeMs: Number.POSITIVE_INFINITY,
          lossPermille: -1,
          probe: 0,
        })),
      }),
    )!;
    expect(beat.intervalMs).toBe(0xffff);
    expect(beat.echo).toBeUndefined();
    expect(beat.reports).toHaveLength(32);
    expect(beat.reports[0]).toEqual({ yourPath: 1, state: 1, heardAgeMs: 0xffff, lossPermille: 0, probe: 0 });
  });
});
