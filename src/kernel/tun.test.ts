/** On the real kernel, in a network namespace of its own: packets in, packets out, and trains that the kernel takes apart. */
import { spawnSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { libcCalls, Slab } from '../native/index.ts';
import { fold, sumOf } from '../wire/checksum.ts';
import { packet, udp } from '../wire/packets.fixture.ts';
import { EAGAIN, EINVAL, EIO } from './constants.ts';
import { SlabVectors } from './io-vectors.ts';
import { openTun, TUN_HEADROOM_BYTES, type Tun } from './tun.ts';

const CLONE_NEWNET = 0x4000_0000;
const NAMESPACE = `brdt-tun-${process.pid}`;
const DEVICE = 'brd-test';
const HERE = '10.99.0.1';
const THERE = '10.99.0.2';
const AT = 64;

const isRoot = process.getuid?.() === 0;
const slab = new Slab(1 << 17);
const open: Tun[] = [];
let home = -1;

function ip(...argv: string[]): void {
  const { status, stderr } = spawnSync('ip', argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr}`);
}

function opened(name = DEVICE): Tun {
  const tun = openTun(name);
  if (typeof tun === 'number') throw new Error(`device expected, got ${tun}`);
  open.push(tun);
  return tun;
}

/** This thread's namespace; children that are started afterwards live there too. */
function enter(fd: number): void {
  expect(libcCalls.setns(fd, CLONE_NEWNET)).toBe(0);
}

describe.skipIf(!isRoot)('a TUN device (skipped without root)', () => {
  beforeAll(() => {
    ip('netns', 'add', NAMESPACE);
    home = libcCalls.open('/proc/thread-self/ns/net', 0, 0);
    const there = libcCalls.open(`/run/netns/${NAMESPACE}`, 0, 0);
    enter(there);
    libcCalls.close(there);
    // Or the kernel's own router solicitations come first.
    spawnSync('sysctl', ['-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1']);
  });

  afterEach(() => {
    for (const tun of open.splice(0)) tun.close();
  });

  afterAll(() => {
    if (home >= 0) {
      enter(home);
      libcCalls.close(home);
    }
    ip('netns', 'del', NAMESPACE);
  });

  it('is down at first, then gives what is routed into it, packet by packet, and is gone when closed', () => {
    const tun = opened();
    expect(tun.read(slab, AT, 2_000)).toBe(-EAGAIN);
    slab.bytes.fill(0x45, AT, AT + 1);
    expect(tun.write(slab, AT, 20)).toBe(-EIO);
    up(HERE);
    expect(tun.read(slab, AT, 2_000)).toBe(-EAGAIN);
    spawnSync('ping', ['-n', '-c', '1', '-W', '0.2', '-s', '100', THERE]);
    const n = tun.read(slab, AT, 2_000);
    expect([n, slab.bytes[AT], slab.bytes[AT + 9], slab.bytes[AT + 20]]).toEqual([128, 0x45, 1, 8]);
    expect([...slab.bytes.subarray(AT + 16, AT + 20)]).toEqual([10, 99, 0, 2]);
    for (const one of open.splice(0)) one.close();
    expect(spawnSync('ip', ['link', 'show', DEVICE]).status).not.toBe(0);
  });

  it('takes packets, and a train as the packets it is made of', async () => {
    const tun = opened();
    up(HERE);
    const { createSocket } = await import('node:dgram');
    const socket = createSocket('udp4');
    const received: string[] = [];
    socket.on('message', (bytes, { port }) => received.push(`${port} ${bytes.length} ${bytes[0]}`));
    await new Promise<void>((resolve) => socket.bind(7_000, HERE, resolve));
    const one = withChecksum(packet({ from: THERE, to: HERE, payload: udp(5_000, 7_000, Buffer.alloc(40, 9)) }));
    slab.bytes.set(one, AT);
    expect(tun.write(slab, AT, one.length)).toBeGreaterThan(0);
    const expected = ['5000 40 9'];
    if (tun.takesTrains) {
      const train = packet({ from: THERE, to: HERE, payload: udp(5_001, 7_000, Buffer.alloc(250)), dontFragment: true });
      for (let i = 0; i < 250; i++) train[28 + i] = Math.floor(i / 100) + 1;
      // The kernel wants the pseudo header's sum there, and adds the rest.
      train.writeUInt16LE(fold(pseudoSum(train)), 26);
      slab.bytes.set(train, AT);
      const vectors = new SlabVectors(4);
      vectors.set(0, slab, AT, 128);
      vectors.set(1, slab, AT + 128, 150);
      expect(tun.writeTrain(vectors, 2, { headerBytes: 28, segmentBytes: 100, checksumStart: 20 })).toBe(TUN_HEADROOM_BYTES + 278);
      expected.push('5001 100 1', '5001 100 2', '5001 50 3');
    }
    await expect.poll(() => received, { timeout: 5_000 }).toEqual(expected);
    socket.close();
  });

  it('wants a name that a device can have, and one that is free', () => {
    expect(openTun('a-name-of-sixteen')).toBe(-EINVAL);
    opened();
    expect(openTun(DEVICE)).toBeLessThan(0);
  });

  function up(address: string): void {
    ip('address', 'add', `${address}/24`, 'dev', DEVICE);
    ip('link', 'set', DEVICE, 'addrgenmode', 'none', 'up');
  }
});

function pseudoSum(one: Buffer): number {
  const udpBytes = one.length - 20;
  return sumOf(new DataView(one.buffer, one.byteOffset), 12, 8) + (17 << 8) + (((udpBytes & 0xff) << 8) | (udpBytes >>> 8));
}

function withChecksum(one: Buffer): Buffer {
  const sum = pseudoSum(one) + sumOf(new DataView(one.buffer, one.byteOffset), 20, one.length - 20);
  one.writeUInt16LE(~fold(sum) & 0xffff, 26);
  return one;
}
