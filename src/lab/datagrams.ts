/**
 * UDP that goes on while the caller breaks things, and what its readers saw of it: start, break, ask, stop.
 *
 * Clock and gaps are those of gaps.ts: a caller notes `monotonicMs()` when it pulled an uplink and asks `longestGapMs` around that.
 */
import { BraidError } from '../error.ts';
import type { Lab } from './build.ts';
import { FlowEnds, startEnds } from './flow-ends.ts';
import type { DatagramFlowTask, DatagramsLook, DatagramsReport, DatagramsTask, ReadDatagrams } from './traffic/datagrams.ts';
import { type Between, endsOf } from './traffic.ts';

export interface DatagramFlow {
  readonly name: string;
  /** Absent: nothing goes that way. */
  readonly up?: DatagramRate;
  readonly down?: DatagramRate;
}

/** Of UDP payload. Either `mbit` or `packetsPerSecond`. */
type DatagramRate = { readonly sizeBytes: number } & ({ readonly mbit: number } | { readonly packetsPerSecond: number });

export interface DatagramsOptions extends Between {
  readonly flows: readonly DatagramFlow[];
  /** Shorter silences are not kept. */
  readonly leastGapMs?: number;
  readonly binMs?: number;
  /** How long what was sent may take to arrive, once stopped. */
  readonly settleMs?: number;
  readonly dontFragment?: boolean;
  /** DSCP above ECN, as in the DS field. */
  readonly dsField?: number;
}

/** One direction of one flow: what its reader saw, beside what its writer had sent. */
export interface DatagramResult extends ReadDatagrams {
  readonly sent: number;
  readonly lost: number;
  readonly lostPercent: number;
  readonly reorderedPercent: number;
  /** What the sender's own kernel would not take, by error; not among the sent. */
  readonly refused: Readonly<Record<string, number>>;
  /** Of this direction's reader, over all its flows: lost in the receiving host for want of room, hence among `lost`. */
  readonly noRoom: number;
}

/** For `Braids`: what goes to this port goes over two uplinks. */
export const TWICE_PORT = 7_001;
export const TWICE_RULE = `
[[peer.policy]]
protocol = "udp"
ports    = [${TWICE_PORT}]
class    = "duplicate"
`;

const READY_MS = 20_000;

/** Both directions of a voice call: 50 packets a second with 160 bytes of sound. */
export function voice(name = 'voice'): DatagramFlow {
  const call = { sizeBytes: 172, packetsPerSecond: 50 };
  return { name, up: call, down: call };
}

/** As a download over QUIC looks: full datagrams one way, small acknowledgements the other, on the same ports. */
export function quicLike(mbit: number, name = 'quic'): DatagramFlow {
  const sizeBytes = 1_350;
  return { name, up: { sizeBytes: 45, packetsPerSecond: (mbit * 1e6) / 8 / sizeBytes / 2 }, down: { sizeBytes, mbit } };
}

export class Datagrams extends FlowEnds<DatagramsLook, DatagramsReport> {
  /** Until every direction has brought something after `sinceMs`. @throws BraidError LAB where one has not in time */
  async untilFlowing(sinceMs = 0, timeoutMs = READY_MS): Promise<void> {
    const flowing = await this.untilAll((one) => one.received > 0 && one.lastAtMs > sinceMs, timeoutMs);
    if (flowing < this.directions)
      throw new BraidError('LAB', `${this.directions} directions of UDP expected to flow within ${timeoutMs} ms, got ${flowing}`);
  }

  /** Ends the senders, waits for what is under way, and removes both programs. @returns one result a direction and flow */
  async stop(): Promise<DatagramResult[]> {
    const reports = await this.reports();
    const writers = new Map(reports.flatMap((report) => report.sent).map((one) => [`${one.name} ${one.direction}`, one]));
    return reports.flatMap(({ read, noRoom }) =>
      read.map((one) => {
        const { sent = 0, refused = {} } = writers.get(`${one.name} ${one.direction}`) ?? {};
        const lost = sent - one.received;
        const percent = (count: number) => (sent === 0 ? 0 : (100 * count) / sent);
        return { ...one, sent, lost, lostPercent: percent(lost), reorderedPercent: percent(one.reordered), refused, noRoom };
      }),
    );
  }
}

/** Starts both ends; the flows begin at once. @throws BraidError LAB where the server does not come up */
export async function datagrams(lab: Lab, options: DatagramsOptions): Promise<Datagrams> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5_600);
  const flows = options.flows.map(
    ({ name, up, down }): DatagramFlowTask => ({ name, ...(up && { up: loadOf(up) }), ...(down && { down: loadOf(down) }) }),
  );
  const settleMs = options.settleMs ?? 700;
  const common = {
    host: address,
    port,
    flows,
    leastGapMs: options.leastGapMs ?? 5,
    binMs: options.binMs ?? 50,
    settleMs,
    dontFragment: options.dontFragment ?? false,
    dsField: options.dsField ?? 0,
  };
  const directions = flows.reduce((sum, { up, down }) => sum + Number(up !== undefined) + Number(down !== undefined), 0);
  const task = (role: DatagramsTask['role']) => ({ role, ...common }) satisfies DatagramsTask;
  return new Datagrams(
    await startEnds(lab, 'datagrams', { on: to, task: task('serve') }, { on: from, task: task('run') }),
    directions,
    settleMs,
  );
}

function loadOf(rate: DatagramRate) {
  const { sizeBytes } = rate;
  return { sizeBytes, packetsPerSecond: 'mbit' in rate ? (rate.mbit * 1e6) / 8 / sizeBytes : rate.packetsPerSecond };
}

/** For reports. */
export interface DatagramCounts {
  /** As `voice up`. */
  readonly flow: string;
  readonly sent: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupted: number;
}

export function countsOf({ name, direction, sent, lost, duplicated, reordered, corrupted }: DatagramResult): DatagramCounts {
  return { flow: `${name} ${direction}`, sent, lost, duplicated, reordered, corrupted };
}

/** In one line, as people read it. */
export function datagramWords(one: DatagramResult): string {
  const extras = [
    ...(one.duplicated > 0 ? [`${one.duplicated} twice`] : []),
    ...(one.reordered > 0 ? [`${one.reordered} late by up to ${one.reorderedMost}`] : []),
    ...(one.corrupted > 0 ? [`${one.corrupted} CHANGED`] : []),
    ...(one.noRoom > 0 ? [`${one.noRoom} for want of room at the reader`] : []),
    ...Object.entries(one.refused).map(([code, count]) => `${count} refused by the sender's kernel (${code})`),
  ];
  return `${one.name} ${one.direction}: ${one.lost} of ${one.sent} lost${extras.length > 0 ? `, ${extras.join(', ')}` : ''}`;
}
