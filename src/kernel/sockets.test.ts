import { createServer } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Slab } from '../native/index.ts';
import { EADDRINUSE, EAGAIN, ECONNREFUSED, ECONNRESET, EPIPE, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from './constants.ts';
import { errnoName } from './errno.ts';
import { SlabVectors } from './io-vectors.ts';
import { LinuxSockets } from './linux-sockets.ts';
import { MemoryNetwork } from './memory-network.ts';
import { MemorySockets } from './memory-sockets.ts';
import type { Sockets } from './sockets.ts';

/** What the engine relies on, asked of the kernel and of the twin alike: where they differ the twin is wrong. */
const HERE = Uint8Array.of(127, 0, 0, 1);
let port = 0;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const found = (server.address() as { readonly port: number }).port;
  await new Promise((resolve) => server.close(resolve));
  return found;
}

beforeAll(async () => {
  port = await freePort();
});

describe.each([
  ['the kernel', () => new LinuxSockets()],
  ['the twin', () => new MemorySockets(new MemoryNetwork(), [HERE])],
] as const)('%s', (_, make: () => Sockets) => {
  const slab = new Slab(1 << 20);
  let sockets: Sockets;
  const opened: Sockets[] = [];
  const events = new Map<number, number>();

  afterEach(() => {
    for (const one of opened.splice(0)) one.resetAll();
  });

  function fresh(): Sockets {
    sockets = make();
    events.clear();
    opened.push(sockets);
    return sockets;
  }

  /** Waits until `fd` is told one of `wanted`. @returns everything it was told since it was asked last. */
  function told(fd: number, wanted: number, rounds = 50): number {
    for (let i = 0; i < rounds && ((events.get(fd) ?? 0) & wanted) === 0; i++) {
      for (let n = sockets.wait(20) - 1; n >= 0; n--)
        events.set(sockets.eventFd(n), (events.get(sockets.eventFd(n)) ?? 0) | sockets.eventBits(n));
    }
    const bits = events.get(fd) ?? 0;
    events.delete(fd);
    return bits;
  }

  /** A connection between two descriptors of one poller, both watched. */
  function connected(): { near: number; far: number; listener: number } {
    fresh();
    const listener = sockets.listenPeer(4, port);
    expect(errnoName(Math.min(listener, 0))).toBe(errnoName(0));
    sockets.watch(listener, 1);
    const near = sockets.dialPeer({ bytes: HERE, port: 0 }, { bytes: HERE, port });
    sockets.watch(near, 2);
    expect(told(listener, EPOLLIN) & EPOLLIN).toBe(EPOLLIN);
    const far = sockets.accept(listener);
    sockets.watch(far, 3);
    return { near, far, listener };
  }

  function say(fd: number, text: string): number {
    slab.bytes.write(text);
    return sockets.write(fd, slab, 0, text.length);
  }

  function hear(fd: number, length = 100): string | number {
    const n = sockets.read(fd, slab, 0, length);
    return n > 0 ? slab.bytes.toString('latin1', 0, n) : n;
  }

  /** Reads as soon as there is anything to read. */
  function heard(fd: number): string | number {
    let found = hear(fd);
    for (let i = 0; i < 50 && found === -EAGAIN; i++) {
      sockets.wait(20);
      found = hear(fd);
    }
    return found;
  }

  it('names both ends of a connection alike', () => {
    const { near, far } = connected();
    for (const name of [sockets.remoteAddress(near)!, sockets.localAddress(far)!])
      expect([...name.bytes, name.port]).toEqual([...HERE, port]);
    expect(sockets.remoteAddress(far)).toEqual(sockets.localAddress(near));
    expect(sockets.localAddress(near)!.port).toBeGreaterThan(0);
  });

  it('has nothing to accept or to read where nobody came or spoke', () => {
    const { near, listener } = connected();
    expect(sockets.accept(listener)).toBe(-EAGAIN);
    expect(hear(near)).toBe(-EAGAIN);
    expect(sockets.pendingError(near)).toBe(0);
  });

  it('gives the serial back with each event, all 32 bits of it', () => {
    const { listener } = connected();
    const another = sockets.dialPeer({ bytes: HERE, port: 0 }, { bytes: HERE, port });
    sockets.watch(another, 0xffff_fffe);
    let serial = 0;
    for (let i = 0; i < 50 && serial === 0; i++)
      for (let n = sockets.wait(20) - 1; n >= 0; n--) if (sockets.eventFd(n) === another) serial = sockets.eventSerial(n);
    expect(serial).toBe(0xffff_fffe);
    sockets.accept(listener);
  });

  it('tells a connect by EPOLLOUT, and a byte by one EPOLLIN', () => {
    const { near, far } = connected();
    expect(told(near, EPOLLOUT) & (EPOLLOUT | EPOLLERR)).toBe(EPOLLOUT);
    told(far, EPOLLOUT);
    say(near, 'x');
    expect(told(far, EPOLLIN) & EPOLLIN).toBe(EPOLLIN);
    expect(told(far, EPOLLIN, 5)).toBe(0);
  });

  it('delivers the bytes before an end, then the end, and the other direction goes on', () => {
    const { near, far } = connected();
    say(near, 'question');
    expect(sockets.shutdownWrite(near)).toBe(0);
    expect(told(far, EPOLLRDHUP) & EPOLLRDHUP).toBe(EPOLLRDHUP);
    expect(heard(far)).toBe('question');
    expect(heard(far)).toBe(0);
    say(far, 'answer');
    expect(heard(near)).toBe('answer');
    expect(say(near, 'more')).toBe(-EPIPE);
  });

  it('scatters and gathers', () => {
    const { near, far } = connected();
    const vectors = new SlabVectors(3);
    slab.bytes.write('abcdefghi');
    for (const i of [0, 1, 2]) vectors.set(i, slab, i * 3, i + 1);
    expect(sockets.writeFrom(near, vectors, 3)).toBe(6);
    told(far, EPOLLIN);
    slab.bytes.fill('.', 0, 30);
    for (const i of [0, 1, 2]) vectors.set(i, slab, i * 10, 2);
    expect(sockets.readInto(far, vectors, 3)).toBe(6);
    expect(slab.bytes.toString('latin1', 0, 22)).toBe('ad........eg........hi');
  });

  it('makes a reset an error at the other end, not an end', () => {
    const { near, far } = connected();
    say(near, 'x');
    expect(heard(far)).toBe('x');
    sockets.reset(near);
    expect(told(far, EPOLLERR | EPOLLHUP) & EPOLLHUP).toBe(EPOLLHUP);
    expect(heard(far)).toBe(-ECONNRESET);
  });

  it('makes a close an end', () => {
    const { near, far } = connected();
    sockets.close(near);
    expect(told(far, EPOLLRDHUP) & EPOLLERR).toBe(0);
    expect(heard(far)).toBe(0);
    expect(sockets.shutdownWrite(far)).toBe(0);
  });

  it('refuses a dial to a port where nobody listens by an error on its descriptor', () => {
    fresh();
    const fd = sockets.dialPeer({ bytes: HERE, port: 0 }, { bytes: HERE, port });
    expect(fd).toBeGreaterThan(0);
    sockets.watch(fd, 2);
    expect(told(fd, EPOLLERR) & EPOLLERR).toBe(EPOLLERR);
    expect(sockets.pendingError(fd)).toBe(ECONNREFUSED);
    expect(sockets.pendingError(fd)).toBe(0);
  });

  it('joins two ends of a pair, and a reset of one is an end at the other, behind what was said', () => {
    fresh();
    const [mine, theirs] = sockets.pair() as readonly [number, number];
    sockets.watch(mine, 4);
    sockets.handOver(theirs);
    expect(told(mine, EPOLLOUT) & (EPOLLOUT | EPOLLRDHUP)).toBe(EPOLLOUT);
    sockets.keepAlive(mine, 'lan');
    say(theirs, 'question');
    expect(told(mine, EPOLLIN) & EPOLLIN).toBe(EPOLLIN);
    expect(hear(mine)).toBe('question');
    expect(sockets.shutdownWrite(theirs)).toBe(0);
    expect(told(mine, EPOLLRDHUP) & EPOLLRDHUP).toBe(EPOLLRDHUP);
    expect(hear(mine)).toBe(0);
    say(mine, 'answer');
    sockets.reset(mine);
    expect(hear(theirs)).toBe('answer');
    expect(hear(theirs)).toBe(0);
    expect(say(theirs, 'x')).toBe(-EPIPE);
    sockets.close(theirs);
  });

  it('makes an end of a pair that goes with bytes unread a reset', () => {
    fresh();
    const [mine, theirs] = sockets.pair() as readonly [number, number];
    sockets.watch(mine, 4);
    say(mine, 'never read');
    sockets.close(theirs);
    expect(told(mine, EPOLLHUP) & EPOLLHUP).toBe(EPOLLHUP);
    expect(hear(mine)).toBe(-ECONNRESET);
  });

  it('tells what is true again, with the new serial, where a descriptor is watched once more', () => {
    const { near, far } = connected();
    say(near, 'x');
    expect(told(far, EPOLLIN) & EPOLLIN).toBe(EPOLLIN);
    sockets.watch(far, 77);
    let serial = 0;
    for (let i = 0; i < 50 && serial === 0; i++)
      for (let n = sockets.wait(20) - 1; n >= 0; n--)
        if (sockets.eventFd(n) === far && (sockets.eventBits(n) & EPOLLIN) !== 0) serial = sockets.eventSerial(n);
    expect(serial).toBe(77);
  });

  it('takes no more than its buffers hold, and tells when there is room again', () => {
    const { near, far } = connected();
    let written = 0;
    for (let vain = 0; vain < 3; ) {
      const n = sockets.write(near, slab, 0, slab.lengthBytes);
      if (n > 0) written += n;
      else {
        expect(n).toBe(-EAGAIN);
        vain++;
        told(far, 0, 1);
      }
      expect(written).toBeLessThan(1 << 28);
    }
    events.delete(near);
    let read = 0;
    let room = 0;
    for (let i = 0; i < 2_000 && read < written; i++) {
      const n = sockets.read(far, slab, 0, slab.lengthBytes);
      if (n > 0) read += n;
      room |= told(near, EPOLLOUT, n > 0 ? 1 : 10);
    }
    expect(read).toBe(written);
    expect(room & EPOLLOUT).toBe(EPOLLOUT);
    expect(say(near, 'on we go')).toBe(8);
  });

  it('turns away whoever waits at a listener that closes', () => {
    fresh();
    const listener = sockets.listenPeer(4, port);
    const near = sockets.dialPeer({ bytes: HERE, port: 0 }, { bytes: HERE, port });
    sockets.watch(near, 2);
    told(near, EPOLLOUT);
    sockets.close(listener);
    expect(told(near, EPOLLHUP) & EPOLLHUP).toBe(EPOLLHUP);
    expect(heard(near)).toBe(-ECONNRESET);
  });
});

describe('a taken port', () => {
  it('is EADDRINUSE, for the kernel where another program has it, for the twin where anybody has', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const taken = (server.address() as { readonly port: number }).port;
    const linux = new LinuxSockets();
    expect(linux.listenTransparent({ bytes: HERE, port: taken })).toBe(-EADDRINUSE);
    linux.resetAll();
    await new Promise((resolve) => server.close(resolve));
    const network = new MemoryNetwork();
    new MemorySockets(network, [HERE]).listenPeer(4, taken);
    expect(new MemorySockets(network, [HERE]).listenPeer(4, taken)).toBe(-EADDRINUSE);
  });
});
