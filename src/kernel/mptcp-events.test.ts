import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BraidError } from '../error.ts';
import { MemoryMptcpEvents } from './memory-mptcp-events.ts';
import { LinuxMptcpEvents, mptcpEventText, parseMptcpEvents } from './mptcp-events.ts';
import { attributeText, attributeU16, attributeU32, emitMessage, type NetlinkPort, nested } from './netlink.ts';

const FAMILY = 0x1c;

/**
 * Recorded on 6.18 from two connections in a namespace, beside what `ip mptcp monitor` (iproute2 6.1) printed for the same. That one calls
 * the events of listeners UNKNOWN; the words here are those of later ones.
 */
const RECORDED: readonly (readonly [string, string])[] = [
  [
    '[LISTENER_CREATED] saddr4=10.99.0.1 sport=42975',
    '2c0000001c00000000000000000000000f010000060002000200000006000900a7df0000080005000a630001',
  ],
  [
    '[       CREATED] token=f7c2d71f remid=0 locid=0 saddr4=10.99.0.1 daddr4=10.99.0.1 sport=49174 dport=42975',
    [
      '540000001c000000000000000000000001010000080001001fd7c2f70600020002000000080005000a630001080007000a630001',
      '06000900c016000006000a00a7df000005000300000000000500040000000000',
    ].join(''),
  ],
  [
    '[       CREATED] token=48152273 remid=0 locid=0 saddr4=10.99.0.1 daddr4=10.99.0.1 sport=42975 dport=49174 flags=2',
    [
      '640000001c0000000000000000000000010100000800010073221548050012000100000006000d00020000000600020002000000',
      '080005000a630001080007000a63000106000900a7df000006000a00c016000005000300000000000500040000000000',
    ].join(''),
  ],
  [
    '[   ESTABLISHED] token=f7c2d71f remid=0 locid=0 saddr4=10.99.0.1 daddr4=10.99.0.1 sport=49174 dport=42975',
    [
      '540000001c000000000000000000000002010000080001001fd7c2f70600020002000000080005000a630001080007000a630001',
      '06000900c016000006000a00a7df000005000300000000000500040000000000',
    ].join(''),
  ],
  [
    '[SF_ESTABLISHED] token=f7c2d71f remid=0 locid=1 saddr4=10.99.0.2 daddr4=10.99.0.1 sport=55243 dport=42975 backup=0',
    [
      '5c0000001c00000000000000000000000a010000080001001fd7c2f70600020002000000080005000a630002080007000a630001',
      '06000900d7cb000006000a00a7df00000500030001000000050004000000000005000b0000000000',
    ].join(''),
  ],
  ['[        CLOSED] token=f7c2d71f', '1c0000001c000000000000000000000003010000080001001fd7c2f7'],
  [
    '[       SF_PRIO] token=e4629861 remid=1 locid=0 saddr4=10.99.0.1 daddr4=10.99.0.2 sport=33701 dport=34125 backup=1',
    [
      '5c0000001c00000000000000000000000d01000008000100619862e40600020002000000080005000a630001080007000a630002',
      '0600090083a5000006000a00854d00000500030000000000050004000100000005000b0001000000',
    ].join(''),
  ],
  [
    '[     SF_CLOSED] token=e4629861 remid=1 locid=0 saddr4=10.99.0.1 daddr4=10.99.0.2 sport=33701 dport=34125 backup=1 error=103',
    [
      '640000001c00000000000000000000000b01000008000100619862e40600020002000000080005000a630001080007000a630002',
      '0600090083a5000006000a00854d00000500030000000000050004000100000005000b000100000005000c0067000000',
    ].join(''),
  ],
  [
    '[     SF_CLOSED] token=3b819e83 remid=0 locid=1 saddr4=10.99.0.2 daddr4=10.99.0.1 sport=34125 dport=33701 backup=0 error=104 reset_reason=0 reset_flags=0x0',
    [
      '740000001c00000000000000000000000b01000008000100839e813b0600020002000000080005000a630002080007000a630001',
      '06000900854d000006000a0083a500000500030001000000050004000000000005000b000000000005000c006800000008001000',
      '000000000800110000000000',
    ].join(''),
  ],
  [
    '[LISTENER_CLOSED] saddr4=10.99.0.1 sport=42975',
    '2c0000001c000000000000000000000010010000060002000200000006000900a7df0000080005000a630001',
  ],
  [
    '[       CREATED] token=ac92ad9c remid=0 locid=0 saddr6=::1 daddr6=::1 sport=40644 dport=43733',
    [
      '6c0000001c000000000000000000000001010000080001009cad92ac060002000a00000014000600000000000000000000000000',
      '000000011400080000000000000000000000000000000001060009009ec4000006000a00aad50000050003000000000005000400',
      '00000000',
    ].join(''),
  ],
  [
    '[       CREATED] token=0c1b4fbc remid=0 locid=0 saddr6=::1 daddr6=::1 sport=43733 dport=40644 flags=2',
    [
      '7c0000001c00000000000000000000000101000008000100bc4f1b0c050012000100000006000d0002000000060002000a000000',
      '1400060000000000000000000000000000000001140008000000000000000000000000000000000106000900aad5000006000a00',
      '9ec4000005000300000000000500040000000000',
    ].join(''),
  ],
];
const bytesOf = (hex: string) => Buffer.from(hex, 'hex');

describe("the kernel's MPTCP events", () => {
  it.each(RECORDED)('%s', (line, hex) => {
    expect(parseMptcpEvents(bytesOf(hex), FAMILY).map(mptcpEventText)).toEqual([line]);
  });

  it('come several in a datagram, and others are skipped', () => {
    const all = Buffer.concat(RECORDED.map(([, hex]) => bytesOf(hex)));
    expect(parseMptcpEvents(all, FAMILY).map(mptcpEventText)).toEqual(RECORDED.map(([line]) => line));
    expect(parseMptcpEvents(all, FAMILY + 1)).toEqual([]);
    const later = emitMessage({ type: FAMILY, flags: 0, sequence: 0, payload: Buffer.of(17, 1, 0, 0) });
    expect(parseMptcpEvents(later, FAMILY).map(mptcpEventText)).toEqual(['[    UNKNOWN 17]']);
  });

  it('of any bytes are read without leaving them: a value or KERNEL_LAYOUT', () => {
    const flipped = fc.record({
      index: fc.nat({ max: RECORDED.length - 1 }),
      flips: fc.array(fc.record({ at: fc.nat({ max: 200 }), to: fc.nat({ max: 255 }) }), { maxLength: 6 }),
      length: fc.nat({ max: 200 }),
    });
    fc.assert(
      fc.property(flipped, ({ index, flips, length }) => {
        const bytes = bytesOf(RECORDED[index]![1]).subarray(0, length);
        for (const { at, to } of flips) if (at < bytes.length) bytes[at] = to;
        try {
          for (const event of parseMptcpEvents(bytes, FAMILY)) expect(mptcpEventText(event)).not.toContain('undefined');
        } catch (error) {
          expect((error as BraidError).code).toBe('KERNEL_LAYOUT');
        }
      }),
    );
  });
});

/** Knows the family; events are what a test puts in `queue`: a datagram or -errno. */
class EventPort implements NetlinkPort {
  readonly queue: (Buffer | number)[] = [];
  readonly joined: number[] = [];
  closed = false;
  readonly #joins: number;

  constructor(joins = 0) {
    this.#joins = joins;
  }
  send(message: Buffer): number {
    const group = nested(1, attributeU32(2, 9), attributeText(1, 'mptcp_pm_events'));
    const about = Buffer.concat([Buffer.of(1, 2, 0, 0), attributeU16(1, FAMILY), nested(7, group)]);
    const sequence = message.readUInt32LE(8);
    const done = { type: 2, flags: 0, sequence, payload: Buffer.alloc(4) };
    this.queue.push(Buffer.concat([emitMessage({ type: 16, flags: 0, sequence, payload: about }), emitMessage(done)]));
    return 0;
  }
  receive(): Buffer | number {
    return this.queue.shift() ?? -11;
  }
  join(group: number): number {
    this.joined.push(group);
    return this.#joins;
  }
  deafen(): number {
    return 0;
  }
  close(): void {
    this.closed = true;
  }
}

describe('following the kernel', () => {
  const follow = (port: EventPort) => {
    const lines: string[] = [];
    let tick = () => {};
    let isPolled = false;
    const events = new LinuxMptcpEvents(
      () => port,
      (intervalMs, then) => {
        expect(intervalMs).toBe(50);
        tick = then;
        isPolled = true;
        return () => {
          isPolled = false;
        };
      },
    );
    return { lines, end: events.follow((line) => lines.push(line)), tick: () => tick(), polled: () => isPolled };
  };

  it('reads what is there at each poll, and says what was lost', () => {
    const port = new EventPort();
    const { lines, end, tick, polled } = follow(port);
    expect(port.joined).toEqual([9]);
    tick();
    expect(lines).toEqual([]);
    port.queue.push(
      bytesOf(RECORDED[1]![1]),
      -105,
      bytesOf(RECORDED[5]![1]),
      bytesOf('200000001c0000'),
      bytesOf('10000000'.padEnd(32, '0')),
    );
    tick();
    expect(lines).toEqual([RECORDED[1]![0], '[       DROPPED] the kernel had more events than we read in time', RECORDED[5]![0]]);
    end();
    end();
    expect([port.closed, polled()]).toEqual([true, false]);
  });

  it('does not guess what a datagram means that does not fit its own lengths', () => {
    const port = new EventPort();
    const { lines, tick } = follow(port);
    port.queue.push(emitMessage({ type: FAMILY, flags: 0, sequence: 0, payload: bytesOf('0a010000' + '06000100ffff0000') }));
    tick();
    expect(lines).toEqual(['[       UNKNOWN] MPTCP event attribute 1 expected 4 bytes, got 2']);
  });

  it('takes a bounded number each time', () => {
    const port = new EventPort();
    const { lines, tick } = follow(port);
    port.queue.push(...Array.from({ length: 1200 }, () => bytesOf(RECORDED[5]![1])));
    tick();
    expect(lines).toHaveLength(500);
    tick();
    tick();
    expect(lines).toHaveLength(1200);
  });

  it('ends where reading fails for good', () => {
    const port = new EventPort();
    const { lines, tick, polled } = follow(port);
    port.queue.push(-9);
    tick();
    expect(lines).toEqual(["[         ENDED] reading the kernel's events failed: EBADF"]);
    expect([port.closed, polled()]).toEqual([true, false]);
  });

  it('is refused where the kernel does not let us join, with nothing left open', () => {
    const port = new EventPort(-1);
    expect(() => follow(port)).toThrow(/allowed, got EPERM/);
    expect(port.closed).toBe(true);
  });
});

it('the in-memory twin says what a test tells it, to all who follow', () => {
  const events = new MemoryMptcpEvents();
  const lines: string[] = [];
  const ends = [events.follow((line) => lines.push(line)), events.follow((line) => lines.push(line))];
  events.happened({ name: 'CLOSED', token: 0xab, isIpv6: false });
  expect(events.followers).toBe(2);
  for (const end of ends) end();
  events.happened({ name: 'CLOSED', token: 0xac, isIpv6: false });
  expect(lines).toEqual(['[        CLOSED] token=000000ab', '[        CLOSED] token=000000ab']);
  expect(events.followers).toBe(0);
});
