/** Two control rooms, berlin and munich, joined by streams in memory that a test can delay, stop, record and cut. Time is one for both. */
import { type Duplex, duplexPair } from 'node:stream';
import type { Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import type { Fault } from '../status/counters.ts';
import { ControlRoom } from './control-room.ts';
import type { Session } from './session.ts';
import { FakeTimers } from './timers.ts';

export type SiteName = 'berlin' | 'munich';

/** What happened on one side, in order: `established`, `rekeyed`, `lost REASON`, `message KIND`, `open`. */
interface Half {
  readonly room: ControlRoom;
  readonly said: string[];
  readonly faults: Fault[];
  readonly skews: number[];
  /** When a handshake showed another key. */
  readonly differing: number[];
  /** When a stream ended on which the other side had said nothing. */
  readonly unanswered: number[];
  readonly sessions: Session[];
}

interface World {
  readonly timers: FakeTimers;
  readonly berlin: Half;
  readonly munich: Half;
  /** What crossed, by who sent it and who opened the stream. */
  readonly crossed: { readonly from: SiteName; readonly openedBy: SiteName; readonly bytes: Buffer }[];
  /** A stream of `from` to the other side, where both rooms have it. */
  join(from: SiteName): void;
  /** Lets time pass in small steps, and everything that follows from it. */
  pass(ms: number): Promise<void>;
}

interface WorldOptions {
  readonly keys?: Readonly<Record<SiteName, number>>;
  readonly method?: Method;
  readonly latencyMs?: number;
  /** Into how small pieces everything is cut on the way. */
  readonly pieceBytes?: number;
  readonly munichAheadMs?: () => number;
  /** Who can be dialled: `open` fails where it is none. */
  readonly reachable?: (from: SiteName) => boolean;
  /** Whether bytes get through at the moment. */
  readonly passes?: (from: SiteName) => boolean;
}

export function worldOf(options: WorldOptions = {}): World {
  const { latencyMs = 5, pieceBytes = 65_536, reachable = () => true, passes = () => true } = options;
  const timers = new FakeTimers();
  const crossed: World['crossed'] = [];
  const half = (site: SiteName): Half =>
    halfOf(site, timers, options, () => (reachable(site) ? join(site) : halves[site].room.openFailed(0)));
  const join = (from: SiteName) => {
    const to = other(from);
    const [ours, wireHere] = duplexPair();
    const [theirs, wireThere] = duplexPair();
    const carry = (source: Duplex, target: Duplex, whose: SiteName) => {
      source.on('data', (bytes: Buffer) => {
        crossed.push({ from: whose, openedBy: from, bytes });
        timers.after(latencyMs, () => {
          if (!passes(whose) || target.destroyed) return;
          for (let at = 0; at < bytes.length; at += pieceBytes) target.write(bytes.subarray(at, at + pieceBytes));
        });
      });
      source.on('close', () => timers.after(latencyMs, () => passes(whose) && target.destroy()));
      source.on('end', () => source.destroy());
    };
    carry(wireHere, wireThere, from);
    carry(wireThere, wireHere, to);
    ours.on('close', () => wireHere.destroy());
    theirs.on('close', () => wireThere.destroy());
    wireHere.on('close', () => ours.destroy());
    wireThere.on('close', () => theirs.destroy());
    halves[from].room.opened(0, ours);
    halves[to].room.accepted(0, theirs);
  };
  const halves: Record<SiteName, Half> = { berlin: half('berlin'), munich: half('munich') };
  return {
    timers,
    ...halves,
    crossed,
    join,
    async pass(ms) {
      const untilMs = timers.nowMs() + ms;
      const stepMs = ms > 20_000 ? 500 : 5;
      while (timers.nowMs() < untilMs) {
        timers.advance(Math.min(stepMs, untilMs - timers.nowMs()));
        await settle();
      }
    },
  };
}

/** Whether a datagram of each arrives at the other. */
export function speak({ berlin, munich }: World): boolean {
  const there = berlin.room.session(0)?.seal(96, Buffer.from('there'));
  const back = munich.room.session(0)?.seal(96, Buffer.from('back'));
  return (
    there !== undefined &&
    back !== undefined &&
    'plaintext' in munich.room.sessions.open(there) &&
    'plaintext' in berlin.room.sessions.open(back)
  );
}

/** Both have started, and had the time to agree. */
export async function joined(options: WorldOptions = {}): Promise<World> {
  const world = worldOf(options);
  world.berlin.room.start();
  world.munich.room.start();
  await world.pass(100);
  return world;
}

function other(site: SiteName): SiteName {
  return site === 'berlin' ? 'munich' : 'berlin';
}

/** Streams in memory hand over in microtasks and ticks. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((done) => setImmediate(done));
}

function halfOf(site: SiteName, timers: FakeTimers, options: WorldOptions, open: () => void): Half {
  const { keys = { berlin: 7, munich: 7 }, method = '2022-blake3-aes-128-gcm', munichAheadMs = () => 0 } = options;
  const said: string[] = [];
  const faults: Fault[] = [];
  const skews: number[] = [];
  const differing: number[] = [];
  const unanswered: number[] = [];
  const sessions: Session[] = [];
  const aheadMs = () => (site === 'munich' ? munichAheadMs() : 0);
  const room = new ControlRoom({
    site,
    version: '0.1.0',
    peers: [{ site: other(site), method, pairKey: new Secret(new Uint8Array(32).fill(keys[site])), isBraid: true }],
    tables: () => ({ lan: [], paths: [{ index: 0, uplink: `${site}-fiber`, role: 'active', metered: false }], observed: [] }),
    callbacks: {
      open: () => {
        said.push('open');
        open();
      },
      established: (_, session) => {
        said.push('established');
        sessions.push(session);
      },
      rekeyed: (_, session) => {
        said.push('rekeyed');
        sessions.push(session);
      },
      lost: (_, reason) => said.push(`lost ${reason}`),
      expired: () => said.push('expired'),
      message: (_, message) => said.push(`message ${message.kind}`),
      keysDiffer: () => differing.push(timers.nowMs()),
      unanswered: () => unanswered.push(timers.nowMs()),
      skew: (_, ms) => skews.push(ms),
    },
    fault: (fault) => faults.push(fault),
    timers: { nowMs: () => timers.nowMs(), unixMs: () => timers.unixMs() + aheadMs(), after: (ms, wake) => timers.after(ms, wake) },
  });
  return { room, said, faults, skews, differing, unanswered, sessions };
}
