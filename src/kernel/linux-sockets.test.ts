import { afterEach, describe, expect, it } from 'vitest';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import * as k from './constants.ts';
import { LinuxSockets, PEER_RECEIVE_BUFFER_BYTES } from './linux-sockets.ts';
import { TCP_ESTABLISHED } from './mptcp-info.ts';
import type { SocketAddress } from './sockaddr.ts';

/** What only the kernel has; what it shares with its twin is in sockets.test.ts. Loopback only. */
const HERE = Uint8Array.of(127, 0, 0, 1);
const HERE_6 = Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0));
const isRoot = process.getuid?.() === 0;
const small = new Slab(SLAB_MIN_BYTES);

const opened: LinuxSockets[] = [];
afterEach(() => {
  for (const sockets of opened.splice(0)) sockets.resetAll();
});

function fresh(): LinuxSockets {
  const sockets = new LinuxSockets();
  opened.push(sockets);
  return sockets;
}

function option(fd: number, level: number, name: number): number {
  small.bytes.writeUInt32LE(4, 0);
  expect(libcCalls.getsockopt(fd, level, name, small.range(8, 4), small.range(0, 4))).toBe(0);
  return small.bytes.readInt32LE(8);
}

function acceptFrom(sockets: LinuxSockets, listener: number): number {
  sockets.watch(listener, 9);
  for (let i = 0; i < 50; i++) {
    const fd = sockets.accept(listener);
    if (fd >= 0) return fd;
    sockets.wait(20);
  }
  throw new Error('nobody came');
}

const keepaliveOf = (fd: number) => [
  option(fd, k.SOL_SOCKET, k.SO_KEEPALIVE),
  option(fd, k.SOL_TCP, k.TCP_KEEPIDLE),
  option(fd, k.SOL_TCP, k.TCP_KEEPINTVL),
  option(fd, k.SOL_TCP, k.TCP_KEEPCNT),
];

describe('a LAN leg', () => {
  it('can be given keepalive that notices a dead host after two minutes, and has no delay, at both ends', () => {
    const sockets = fresh();
    const listener = sockets.listenTransparent({ bytes: HERE, port: 0 });
    const target = sockets.localAddress(listener)!;
    const near = sockets.dialFrom({ bytes: HERE, port: 0 }, target);
    const far = acceptFrom(sockets, listener);
    for (const fd of [near, far]) {
      sockets.keepAlive(fd, 'lan');
      expect(keepaliveOf(fd)).toEqual([1, 60, 15, 4]);
      expect(option(fd, k.SOL_TCP, k.TCP_NODELAY)).toBe(1);
    }
    expect(sockets.mptcp(near)).toBeUndefined();
  });
});

describe.each([
  [4, HERE],
  [6, HERE_6],
] as const)('a connection between gateways over IPv%i', (family, here) => {
  function joined() {
    const sockets = fresh();
    const listener = sockets.listenPeer(family, 0);
    const { port } = sockets.localAddress(listener)!;
    const near = sockets.dialPeer({ bytes: here, port: 0 }, { bytes: here, port });
    const far = acceptFrom(sockets, listener);
    return { sockets, listener, near, far, port };
  }

  it('is MPTCP, and the kernel tells its subflow, token, bytes and round-trip time', () => {
    const { sockets, near, far, port } = joined();
    expect(sockets.write(near, small, 0, 1_000)).toBe(1_000);
    sockets.watch(far, 3);
    sockets.wait(1_000);
    expect(sockets.read(far, new Slab(4096), 0, 4_096)).toBe(1_000);
    const { token, subflows } = sockets.mptcp(near)!;
    expect(subflows).toHaveLength(1);
    const { local, remote, state, rttMicroseconds, segmentBytes, cwndSegments } = subflows[0]!;
    const { bytes: localBytes, port: localPort } = sockets.localAddress(near)!;
    expect([[...local.bytes], local.port, remote.port, state]).toEqual([[...localBytes], localPort, port, TCP_ESTABLISHED]);
    for (const figure of [rttMicroseconds, segmentBytes, cwndSegments]) expect(figure).toBeGreaterThan(0);
    const theirs = sockets.mptcp(far)!;
    expect(theirs.token).not.toBe(token);
    expect(theirs.subflows[0]!.bytesReceived).toBe(1_000);
    expect([sockets.isMptcp(near), sockets.isMptcp(far)]).toEqual([true, true]);
  });

  it('has a receive buffer that a dying path cannot fill, no delay, and keepalive where it is wanted', ({ skip }) => {
    skip(!isRoot, 'SO_RCVBUFFORCE needs CAP_NET_ADMIN');
    const { sockets, near, far } = joined();
    for (const fd of [near, far]) {
      sockets.keepAlive(fd, 'peer');
      const bytes = option(fd, k.SOL_SOCKET, SO_RCVBUF); // the kernel shows twice what was asked for
      expect(bytes).toBe(2 * PEER_RECEIVE_BUFFER_BYTES);
      expect(bytes).toBeGreaterThanOrEqual(2 << 20);
      expect(keepaliveOf(fd)).toEqual([1, 30, 10, 6]);
      expect(option(fd, k.SOL_TCP, k.TCP_NODELAY)).toBe(1);
    }
  });

  it('is reset by a reset, also where bytes are under way', () => {
    const { sockets, near, far } = joined();
    sockets.watch(far, 3);
    for (let i = 0; i < 100; i++) sockets.write(near, small, 0, 4_096);
    sockets.reset(near);
    let seen = 0;
    const into = new Slab(1 << 20);
    for (let i = 0; i < 200 && seen >= 0; i++) {
      sockets.wait(10);
      const n = sockets.read(far, into, 0, into.lengthBytes);
      if (n !== -k.EAGAIN) seen = n;
      expect(n, 'an orderly end').not.toBe(0);
    }
    expect(seen).toBe(-k.ECONNRESET);
  });

  it('is plain TCP for a caller that has no MPTCP, and the listener takes it all the same', () => {
    const { sockets, listener, port } = joined();
    const plain = sockets.dialFrom({ bytes: here, port: 0 }, { bytes: here, port });
    const far = acceptFrom(sockets, listener);
    expect(sockets.mptcp(far)).toBeUndefined();
    expect(sockets.isMptcp(far)).toBe(false);
    expect(sockets.write(plain, small, 0, 10)).toBe(10);
    // The next one, which is MPTCP, is still told apart: one fallen-back answer must not change how the kernel is asked.
    const again = sockets.dialPeer({ bytes: here, port: 0 }, { bytes: here, port });
    acceptFrom(sockets, listener);
    expect(sockets.mptcp(again)?.subflows).toHaveLength(1);
  });
});

describe('a connection that shows another host', () => {
  const shown = ({ bytes, port }: SocketAddress) => `${bytes.join('.')}:${port}`;
  const source = (port: number): SocketAddress => ({ bytes: Uint8Array.of(127, 0, 0, 77), port });

  it("keeps the client's port, also for a second target, and takes another one where it is taken", ({ skip }) => {
    skip(!isRoot, 'IP_TRANSPARENT needs CAP_NET_ADMIN');
    const sockets = fresh();
    const [one, other] = [0, 0].map(() => sockets.listenTransparent({ bytes: HERE, port: 0 })) as [number, number];
    const seenBy = (listener: number) => sockets.remoteAddress(acceptFrom(sockets, listener))!;
    sockets.dialAs(source(45_678), sockets.localAddress(one)!);
    expect(shown(seenBy(one))).toBe('127.0.0.77:45678');
    sockets.dialAs(source(45_678), sockets.localAddress(other)!);
    expect(shown(seenBy(other))).toBe('127.0.0.77:45678');
    expect(sockets.dialAs(source(45_678), sockets.localAddress(one)!)).toBeGreaterThan(0);
    const third = seenBy(one);
    expect(shown(third)).toMatch(/^127\.0\.0\.77:/);
    expect(third.port).not.toBe(45_678);
  });
});

describe('the poller', () => {
  it('is woken by each write to its wake descriptor', () => {
    const sockets = fresh();
    sockets.wait(0);
    small.bytes.writeUInt32LE(1, 0);
    small.bytes.writeUInt32LE(0, 4);
    libcCalls.write(sockets.wakeFd, small.range(0, 8), 8);
    expect(sockets.wait(1_000)).toBe(1);
    expect([sockets.eventFd(0), sockets.eventSerial(0)]).toEqual([sockets.wakeFd, 0]);
    sockets.drainWake();
    libcCalls.write(sockets.wakeFd, small.range(0, 8), 8);
    expect(sockets.wait(1_000)).toBe(1);
  });

  it('waits no longer than it was told', () => {
    const sockets = fresh();
    sockets.wait(0); // the wake descriptor can be written to, which is an event of its own
    const startedAtMs = performance.now();
    expect(sockets.wait(50)).toBe(0);
    expect(performance.now() - startedAtMs).toBeGreaterThan(40);
  });
});

const SO_RCVBUF = 8; // asm-generic/socket.h
