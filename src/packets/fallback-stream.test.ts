import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../kernel/clock.ts';
import { EAGAIN } from '../kernel/constants.ts';
import { MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import { Slab } from '../native/index.ts';
import { FRAME_HEADER_BYTES, FRAME_LEAST_BYTES, FRAME_MOST_BYTES, writeFrameHeader } from '../wire/packet-frames.ts';
import { FallbackStream, QUEUE_MOST_BYTES, QUEUE_MOST_MS } from './fallback-stream.ts';

/** Two ends of one stream; each datagram is its number over and over. */
class Ends {
  readonly clock = new FakeClock();
  readonly network = new MemoryNetwork();
  readonly sockets: MemorySockets;
  readonly faults: string[] = [];
  readonly lost: string[] = [];
  readonly taken: { readonly number: number; readonly length: number }[] = [];
  readonly near: FallbackStream;
  readonly far: FallbackStream;
  readonly farFd: number;
  sent = 0;
  flushes = 0;
  #unflushed: Buffer[] = [];

  constructor(bufferBytes = 1 << 20) {
    this.network.bufferBytes = bufferBytes;
    this.sockets = new MemorySockets(this.network, []);
    const [nearFd, farFd] = this.sockets.pair() as readonly [number, number];
    this.farFd = farFd;
    this.near = this.#end(nearFd);
    this.far = this.#end(farFd);
  }

  send(number: number, length: number): void {
    const at = this.near.placeFor(length);
    this.near.slab.bytes.fill(number, at, at + length);
    this.near.add(length);
  }

  /** What a peer sends that is none of ours. */
  inject(bytes: Uint8Array): void {
    const slab = new Slab(1 << 16);
    slab.bytes.set(bytes);
    this.sockets.write(this.farFd, slab, 0, bytes.length);
  }

  #end(fd: number): FallbackStream {
    return new FallbackStream(
      {
        io: this.sockets,
        nowMs: () => this.clock.nowMs(),
        fault: (fault) => this.faults.push(fault),
        sent: (datagrams) => {
          this.sent += datagrams;
        },
        taken: (slab, at, length) => {
          const bytes = slab.bytes.subarray(at, at + length);
          expect(new Set(bytes).size).toBeLessThanOrEqual(1);
          this.#unflushed.push(bytes);
          this.taken.push({ number: bytes[0]!, length });
        },
        settle: () => {
          // Nothing may have been written over before.
          for (const [i, bytes] of this.#unflushed.entries()) expect(bytes[0]).toBe(this.taken.at(i - this.#unflushed.length)!.number);
          this.#unflushed = [];
          this.flushes++;
        },
        lost: (why) => this.lost.push(why),
      },
      fd,
    );
  }
}

const lengths = fc.integer({ min: FRAME_LEAST_BYTES, max: 1_500 });

describe('packets over a stream', () => {
  it('arrive whole and in order, however the kernel cuts them', () => {
    fc.assert(
      fc.property(fc.array(lengths, { minLength: 1, maxLength: 60 }), fc.integer({ min: 50, max: 3_000 }), (all, bufferBytes) => {
        const ends = new Ends(bufferBytes);
        const wanted = all.map((length, i) => ({ number: i % 256, length }));
        for (const [i, { number, length }] of wanted.entries()) {
          ends.send(number, length);
          if (i % 3 === 0) ends.near.flush();
          if (i % 5 === 0) ends.far.run();
        }
        for (let i = 0; ends.near.isBlocked || ends.far.run() || i < 2; i++) {
          ends.near.flush();
          ends.far.run();
          if (i > 5_000) throw new Error('nothing moves');
        }
        const dropped = ends.faults.length;
        expect(ends.taken).toEqual(wanted.slice(dropped));
        expect(ends.sent).toBe(wanted.length - dropped);
        expect(dropped === 0 || all.reduce((sum, one) => sum + one, 0) > QUEUE_MOST_BYTES).toBe(true);
      }),
    );
  });

  it('that find no room wait, so many bytes of them and not for long: the oldest are dropped and counted', () => {
    const ends = new Ends(2_000);
    for (let i = 0; i < 200; i++) {
      ends.send(i, 1_000);
      ends.near.flush();
    }
    const dropped = ends.faults.filter((fault) => fault === 'queue-full').length;
    expect(dropped).toBeGreaterThan(120);
    ends.clock.advance(QUEUE_MOST_MS + 50);
    ends.send(200, 1_000);
    ends.near.flush();
    expect(ends.faults.length).toBe(199 - ends.sent + 1);
    for (let i = 0; i < 10; i++) {
      ends.far.run();
      ends.near.drain();
    }
    // What the kernel had taken a part of came to its end, and then the newest.
    expect(ends.taken.map(({ number }) => number)).toEqual([0, 1, 200]);
    expect(ends.near.isBlocked).toBe(false);
  });

  it('are overtaken by heartbeats, which never cut one apart', () => {
    const ends = new Ends(1_500);
    for (let i = 0; i < 20; i++) ends.send(i, 1_000);
    ends.near.flush();
    for (let i = 0; i < 9; i++) ends.near.heartbeat(new Uint8Array(60).fill(100 + i));
    for (let i = 0; i < 40; i++) {
      ends.far.run();
      ends.near.drain();
    }
    const numbers = ends.taken.map(({ number }) => number);
    expect(numbers).toEqual([0, 1, 105, 106, 107, 108, ...Array.from({ length: 18 }, (_, i) => i + 2)]);
    expect(ends.faults).toEqual([]);
  });

  it('end with the stream, told once, and its descriptor is closed', () => {
    const ends = new Ends();
    ends.near.close();
    ends.far.run();
    ends.far.run();
    expect(ends.lost).toEqual(['it was closed']);
    ends.far.heartbeat(new Uint8Array(60));
    expect(ends.sockets.openDescriptors).toBe(0);
    const other = new Ends();
    other.far.close();
    other.send(1, 500);
    other.near.flush();
    expect(other.lost).toEqual(['EPIPE']);
    expect(other.sockets.openDescriptors).toBe(0);
  });

  it('are dropped where the path carries no more, and heartbeats go on', () => {
    const ends = new Ends(100);
    for (let i = 0; i < 5; i++) ends.send(i, 1_000);
    ends.near.flush();
    ends.near.dropAll();
    expect(ends.faults).toEqual(['no-path', 'no-path', 'no-path', 'no-path']);
    ends.near.heartbeat(new Uint8Array(60).fill(9));
    for (let i = 0; i < 40; i++) {
      ends.far.run();
      ends.near.drain();
    }
    expect(ends.taken.map(({ number }) => number)).toEqual([0, 9]);
  });
});

describe('a stream that breaks the framing', () => {
  it.each([0, FRAME_LEAST_BYTES - 1, FRAME_MOST_BYTES + 1])(
    'by a length of %i is closed and counted; what came before counts',
    (length) => {
      const ends = new Ends();
      const bytes = new Uint8Array(2 * FRAME_HEADER_BYTES + 100);
      writeFrameHeader(100, bytes, 0);
      writeFrameHeader(length, bytes, FRAME_HEADER_BYTES + 100);
      ends.inject(bytes);
      expect(ends.near.run()).toBe(false);
      expect(ends.taken).toEqual([{ number: 0, length: 100 }]);
      expect([ends.faults, ends.lost]).toEqual([['bad-frame'], ['the peer sent what is no frame']]);
      expect(ends.near.run()).toBe(false);
    },
  );

  it('by whatever bytes takes nothing but frames, and never waits for more than the longest', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (chunks) => {
        const ends = new Ends();
        for (const chunk of chunks) {
          if (ends.lost.length > 0) break;
          ends.inject(chunk);
          ends.near.run();
        }
        const broke = ends.lost.length > 0;
        expect(ends.faults).toEqual(broke ? ['bad-frame'] : []);
      }),
    );
  });

  it('is not waited for: a read that brings nothing ends the turn', () => {
    const ends = new Ends();
    expect(ends.near.run()).toBe(false);
    expect(ends.sockets.read(ends.farFd, new Slab(4_096), 0, 64)).toBe(-EAGAIN);
  });
});
