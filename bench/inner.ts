/**
 * What the pure parts of the packet lane cost: nanoseconds for each packet, without a system call and without a cipher. Run it with
 * `node bench/inner.ts`. Time of the processor, and the best of some rounds, so that a busy machine does less harm.
 */
import { Slab } from '../src/native/index.ts';
import { Admission } from '../src/packets/admission.ts';
import { Policy } from '../src/packets/policy.ts';
import { Resequencer, WINDOW_PACKETS } from '../src/packets/resequencer.ts';
import { RUN_PACKETS, Schedule } from '../src/packets/schedule.ts';
import { allow, berlin, HAMBURG, prefixes } from '../src/packets/site.fixture.ts';
import type { PolicyRule } from '../src/site/types.ts';
import { InnerPacket } from '../src/wire/inner-packet.ts';
import { packet, udp } from '../src/wire/packets.fixture.ts';

const PACKETS = 500_000;
const ROUNDS = 8;
const AT = 64;
const LENGTH = 1328;

const slab = new Slab(1 << 16);
const view = new InnerPacket();
const data = udp(40_000, 53, Buffer.alloc(1300));
const schedule = new Schedule();
schedule.setPaths([0, 1].map((path) => ({ path, uplink: path, weightBitsPerSecond: 100e6, rttMs: 20, mostBytes: 1440 })));
/** Kept, so that nothing that is measured can be left out. */
let sum = 0;

function place(bytes: Buffer): number {
  slab.bytes.set(bytes, AT);
  view.read(slab.bytes, AT, bytes.length, false);
  return bytes.length;
}

function measure(what: string, one: (i: number) => number): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < PACKETS; i++) sum += one(i);
    best = Math.min(best, process.cpuUsage(before).user);
  }
  console.log(`${what.padEnd(44)}${((best * 1000) / PACKETS).toFixed(0).padStart(6)} ns`);
}

function rule(more: Partial<PolicyRule>): PolicyRule {
  return { from: [], to: [], protocols: [], ports: [], dscps: [], class: 'balanced', ...more };
}

const open = new Admission(berlin());
const limited = new Admission(berlin([allow({ ports: [{ first: 53, last: 53 }] })]));
const noRules = new Policy({ policy: [] });
const rules = new Policy({
  policy: [
    rule({ to: prefixes('10.0.0.0/8') }),
    rule({ ports: [{ first: 5060, last: 5061 }] }),
    rule({ dscps: [46] }),
    rule({ protocols: [17] }),
  ],
});
const spraying = new Policy({ policy: [rule({ class: 'aggregate' })] });

for (const [family, from, to, back] of [
  ['IPv4', '172.16.0.10', '172.16.1.20', '172.16.2.20'],
  ['IPv6', 'fd00:16::10', 'fd00:17::20', 'fd00:18::20'],
] as const) {
  const length = place(packet({ from, to, payload: data }));
  measure(`${family}: read, from the kernel`, () => (view.read(slab.bytes, AT, length, false) ? view.flowHash : 0));
  measure(`${family}: read, from a peer`, () => (view.read(slab.bytes, AT, length, true) ? view.flowHash : 0));
  measure(`${family}: may it go, and to whom`, (i) => open.egress(view, i / 100));
  place(packet({ from, to: back, payload: data }));
  measure(`${family}: the same, to a peer with rules`, (i) => limited.egress(view, i / 100));
  place(packet({ from: back, to: from, payload: data }));
  measure(`${family}: may it come`, (i) => Number(open.ingress(view, slab.bytes, HAMBURG, i / 100)));
  measure(`${family}: the same, from a peer with rules`, (i) => Number(limited.ingress(view, slab.bytes, HAMBURG, i / 100)));
}
const length = place(packet({ payload: data }));
measure('class and path, no rules', (i) => schedule.choose(noRules.decide(view, i / 100), view.flowHash, LENGTH));
measure('class and path, four rules', (i) => schedule.choose(rules.decide(view, i / 100), view.flowHash, LENGTH));
measure('class and path, aggregate', (i) => schedule.choose(spraying.decide(view, i / 100), view.flowHash, LENGTH));
measure('read, admission, class and path', (i) => {
  if (!view.read(slab.bytes, AT, length, false) || open.egress(view, i / 100) < 0) return 0;
  return schedule.choose(noRules.decide(view, i / 100), view.flowHash, LENGTH);
});

const sink = {
  deliver: (_: Slab, offset: number, bytes: number) => {
    sum += offset + bytes;
  },
  settle: () => undefined,
};
let next = 0;
let line = new Resequencer(sink);
measure('in order again: what is in order', () => {
  line.take(next++, slab, AT, LENGTH, next / 100);
  return 0;
});
next = 0;
line = new Resequencer(sink);
// Each second run comes before the first.
measure('in order again: runs that overtook', () => {
  line.take(next++ ^ RUN_PACKETS, slab, AT, LENGTH, next / 100);
  return 0;
});
if (Number.isNaN(sum) || line.waiting > WINDOW_PACKETS) throw new Error('nothing was measured');
