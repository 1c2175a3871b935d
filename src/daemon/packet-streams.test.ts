import { describe, expect, it } from 'vitest';
import type { ToWorker } from '../engine/messages.ts';
import { at, peerOf, siteOf } from '../engine/pair.fixture.ts';
import type { ToLane } from '../packets/messages.ts';
import { PacketStreams } from './packet-streams.ts';

class Desk {
  readonly asked: Extract<ToWorker, { kind: 'packet-stream' }>[] = [];
  readonly lane: ToLane[] = [];
  readonly opened: string[] = [];
  readonly gone: string[] = [];
  readonly heartbeats: string[] = [];
  readonly closed: number[] = [];
  readonly faults: string[] = [];
  wanted = -1;
  hasWorker = true;
  hasLane = true;
  readonly streams: PacketStreams;

  constructor(name = 'berlin', peerName = 'munich') {
    const site = siteOf(name, 16, 1, [peerOf(0, peerName, 17, 1, 2)]);
    this.streams = new PacketStreams({
      site: () => site,
      tellOne: (command) => {
        if (this.hasWorker) this.asked.push(command as Desk['asked'][number]);
        return this.hasWorker;
      },
      tellLane: (command) => {
        if (this.hasLane) this.lane.push(command);
        return this.hasLane;
      },
      dropsMptcp: (_, path) => path === 1,
      wants: (_, path) => path === this.wanted,
      opened: (peer, path) => this.opened.push(`${peer} ${path}`),
      gone: (peer, path) => this.gone.push(`${peer} ${path}`),
      heartbeat: (peer, path, bytes) => this.heartbeats.push(`${peer} ${path} ${bytes.length}`),
      close: (fd) => this.closed.push(fd),
      fault: (fault) => this.faults.push(fault),
    });
  }

  ours(path: number, fd: number): void {
    this.streams.ask(0, path);
    this.streams.heard({ kind: 'packet-stream', ticket: this.asked.at(-1)!.ticket, peer: 0, fd, ...ends(path) });
  }

  theirs(path: number, fd: number, remote = ends(path).remote): void {
    this.streams.heard({ kind: 'packet-stream', ticket: null, peer: 0, fd, local: ends(path).local, remote });
  }

  get kinds(): string[] {
    return this.lane.map((command) => ('fd' in command ? `${command.kind} ${command.fd}` : command.kind));
  }
}

const ends = (path: number) => ({ local: at(`10.${path}.0.1`, 8388), remote: at(`10.${path}.0.2`, 40_000) });

describe('a stream for packets', () => {
  it('is asked of a worker, plain where MPTCP does not pass, and handed on when it stands', () => {
    const desk = new Desk();
    desk.ours(0, 30);
    desk.ours(1, 31);
    expect(desk.asked).toMatchObject([
      { path: 0, plain: false },
      { path: 1, plain: true },
    ]);
    expect(desk.lane).toEqual([
      { kind: 'stream', peer: 0, path: 0, fd: 30 },
      { kind: 'stream', peer: 0, path: 1, fd: 31 },
    ]);
    expect(desk.opened).toEqual(['0 0', '0 1']);
    desk.streams.send(0, 1, new Uint8Array(60));
    desk.streams.end(0, 1);
    desk.streams.send(0, 1, new Uint8Array(60));
    desk.streams.end(0, 1);
    expect(desk.kinds.slice(2)).toEqual(['stream-heartbeat', 'stream-end']);
    expect(desk.closed).toEqual([]);
  });

  it("of the peer's belongs to the path it came over; behind NAT to the one that misses it", () => {
    const desk = new Desk();
    desk.theirs(1, 40);
    desk.wanted = 0;
    desk.theirs(0, 41, at('198.51.100.7', 9));
    expect(desk.opened).toEqual(['0 1', '0 0']);
    desk.streams.heard({ kind: 'packet-stream', ticket: null, peer: 0, fd: 42, local: at('10.9.0.1', 8388), remote: at('10.9.0.2', 1) });
    expect([desk.closed, desk.faults]).toEqual([[42], ['unknown-target']]);
  });

  it.each([
    ['berlin', 'munich', 'ours'],
    ['munich', 'berlin', 'theirs'],
  ])('is one a path: at %s, with %s, of two that crossed %s are kept, whichever stood first', (name, peer, kept) => {
    for (const order of [
      ['ours', 'theirs'],
      ['theirs', 'ours'],
    ] as const) {
      const desk = new Desk(name, peer);
      for (const whose of order) desk[whose](0, whose === 'ours' ? 30 : 40);
      const other = kept === 'ours' ? 40 : 30;
      const isKeptFirst = order[0] === kept;
      expect(desk.closed).toEqual(isKeptFirst ? [other] : []);
      expect(desk.kinds.at(-1)).toBe(kept === 'ours' ? 'stream 30' : 'stream 40');
    }
  });

  it('that the same side opens anew takes the place of the one before', () => {
    const desk = new Desk();
    desk.theirs(0, 40);
    desk.theirs(0, 41);
    expect([desk.kinds, desk.closed]).toEqual([['stream 40', 'stream 41'], []]);
  });

  it('that fails, is lost, or finds no thread is told of, and nothing stays open', async () => {
    const desk = new Desk();
    desk.streams.ask(0, 0);
    expect(desk.streams.heard({ kind: 'stream-failed', ticket: desk.asked[0]!.ticket, peer: 0, reason: 'no path' })).toBe(true);
    expect(desk.streams.heard({ kind: 'stream-failed', ticket: 5, peer: 0, reason: 'a control stream' })).toBe(false);
    desk.ours(1, 31);
    desk.streams.laneHeard({ kind: 'stream-heartbeat', peer: 0, path: 1, bytes: new Uint8Array(60) });
    desk.streams.laneHeard({ kind: 'stream-lost', peer: 0, path: 1, why: 'it was closed' });
    desk.streams.laneHeard({ kind: 'stream-lost', peer: 0, path: 1, why: 'it was closed' });
    expect([desk.heartbeats, desk.gone]).toEqual([['0 1 60'], ['0 0', '0 1']]);
    desk.hasLane = false;
    desk.ours(0, 32);
    expect(desk.closed).toEqual([32]);
    desk.hasWorker = false;
    desk.streams.ask(0, 0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(desk.gone).toEqual(['0 0', '0 1', '0 0', '0 0']);
  });

  it('that failed says nothing where one of the peer stands meanwhile', () => {
    const desk = new Desk();
    desk.streams.ask(0, 0);
    desk.theirs(0, 40);
    desk.streams.heard({ kind: 'stream-failed', ticket: desk.asked[0]!.ticket, peer: 0, reason: 'no path' });
    expect(desk.gone).toEqual([]);
  });

  it('is gone with the packet thread', () => {
    const desk = new Desk();
    desk.ours(0, 30);
    desk.theirs(1, 40);
    desk.streams.laneGone();
    expect(desk.gone).toEqual(['0 0', '0 1']);
  });

  it('ends with the peer that is none any more', () => {
    const desk = new Desk();
    desk.ours(0, 30);
    desk.theirs(1, 40);
    desk.streams.endAll(0);
    desk.streams.endAll(0);
    expect(desk.kinds.slice(2)).toEqual(['stream-end', 'stream-end']);
    expect(desk.gone).toEqual([]);
  });

  it('is refused to a peer that opens them without end', () => {
    const desk = new Desk();
    for (let i = 0; i < 100; i++) desk.theirs(0, 100 + i);
    expect(desk.opened.length).toBeLessThan(40);
    expect(desk.closed.length).toBe(100 - desk.opened.length);
    expect(new Set(desk.faults)).toEqual(new Set(['too-many-streams']));
  });
});
