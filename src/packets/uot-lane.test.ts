import { describe, expect, it } from 'vitest';
import { EAGAIN, EPOLLIN, EPOLLOUT } from '../kernel/constants.ts';
import { Slab } from '../native/index.ts';
import type { Target } from '../shadowsocks/address.ts';
import { readUotFrame, readUotRequest, writeUotHead, writeUotRequest } from '../shadowsocks/uot.ts';
import type { Fault } from '../status/counters.ts';
import { InnerPacket } from '../wire/inner-packet.ts';
import { addressFromBytes, parseAddress } from '../wire/ip.ts';
import { udpFrontBytes, writeUdpFront } from '../wire/udp-packet.ts';
import { berlin } from './site.fixture.ts';
import { STREAMS_A_TURN, UotLane } from './uot-lane.ts';

const MUNICH = 0;
const HAMBURG = 1;
const end = (text: string, port: number) => ({ bytes: parseAddress(text)!.bytes, port });
const CLIENT = end('172.16.0.10', 5_000);
const SERVER = end('172.16.2.20', 53);
const target = (to: { bytes: Uint8Array; port: number }): Target => ({ kind: to.bytes.length === 4 ? 'ipv4' : 'ipv6', ...to });

/** Streams whose other ends a test holds. */
class World {
  readonly faults: Fault[] = [];
  readonly wanted: number[] = [];
  /** `from > to: data` of each packet to the TUN. */
  readonly arrived: string[] = [];
  readonly heard = new Map<number, Buffer>();
  readonly said = new Map<number, Buffer>();
  readonly closed: number[] = [];
  roomBytes = Number.POSITIVE_INFINITY;
  nowMs = 1_000;
  readonly lane: UotLane;
  readonly #packet = new InnerPacket();
  readonly #train: (() => string)[] = [];

  constructor(foreign: readonly number[] = [HAMBURG]) {
    const site = berlin();
    const peers = site.peers.map((peer) => ({ ...peer, packets: foreign.includes(peer.index) ? ('uot' as const) : peer.packets }));
    this.lane = new UotLane(
      {
        io: {
          read: (fd, into, offset, length) => {
            const bytes = this.said.get(fd) ?? Buffer.alloc(0);
            if (bytes.length === 0) return -EAGAIN;
            const n = bytes.copy(into.bytes, offset, 0, length);
            this.said.set(fd, bytes.subarray(n));
            return n;
          },
          write: (fd, from, offset, length) => {
            const n = Math.min(length, this.roomBytes);
            if (n === 0) return -EAGAIN;
            this.roomBytes -= n;
            this.heard.set(fd, Buffer.concat([this.heard.get(fd) ?? Buffer.alloc(0), from.bytes.subarray(offset, offset + n)]));
            return n;
          },
          close: (fd) => void this.closed.push(fd),
        },
        watch: () => {},
        nowMs: () => this.nowMs,
        fault: (fault) => void this.faults.push(fault),
        wanted: (_, ticket) => void this.wanted.push(ticket),
        // As in a train: looked at only when all of a read are there.
        deliver: (_, slab, at, length) => this.#train.push(() => this.#describe(slab, at, length)),
        settle: () => {
          for (const packet of this.#train.splice(0)) this.arrived.push(packet());
        },
        sent: () => {},
      },
      { ...site, peers, names: new Map([['nas', parseAddress('172.16.0.10')!]]) },
    );
  }

  /** A LAN host sends a datagram. */
  send(from: typeof CLIENT, to: typeof CLIENT, data: string, peer = HAMBURG): void {
    const slab = new Slab(70_000);
    slab.bytes.write(data, 64);
    const front = udpFrontBytes(from);
    const length = writeUdpFront(from, to, 1, slab.bytes, slab.view, 64, data.length);
    expect(this.#packet.read(slab.bytes, 64 - front, length, false)).toBe(true);
    this.lane.leave(peer, this.#packet, slab.bytes, 64 - front, length);
    this.lane.flush();
  }

  /** The peer's end of a stream says something. */
  say(fd: number, ...parts: Uint8Array[]): void {
    this.said.set(fd, Buffer.concat([this.said.get(fd) ?? Buffer.alloc(0), ...parts]));
    this.lane.woken(fd, EPOLLIN);
    this.lane.run();
  }

  /** What the peer's end heard: `address port: data` of each frame, behind what the request said. */
  frames(fd: number, hasRequest = true): string[] {
    const bytes = this.heard.get(fd) ?? Buffer.alloc(0);
    const request = hasRequest ? readUotRequest(bytes, 0, bytes.length) : undefined;
    if (typeof request === 'string') throw new Error(request);
    const found = request ? [`request ${request.isConnect} ${text(request.destination)}`] : [];
    for (let at = request?.bytes ?? 0; at < bytes.length; ) {
      const frame = readUotFrame(bytes, at, bytes.length);
      if (typeof frame === 'string') throw new Error(frame);
      found.push(`${text(frame.address)}: ${bytes.toString('latin1', frame.payloadAt, frame.payloadAt + frame.payloadBytes)}`);
      at += frame.bytes;
    }
    return found;
  }

  #describe(slab: Slab, at: number, length: number): string {
    const packet = new InnerPacket();
    expect(packet.read(slab.bytes, at, length, true)).toBe(true);
    const size = packet.family === 4 ? 4 : 16;
    const start = at + (packet.family === 4 ? 12 : 8);
    const [from, to] = [0, size].map((offset) => addressFromBytes(slab.bytes.subarray(start + offset, start + offset + size)).text);
    const data = slab.bytes.toString('latin1', at + packet.transportOffset + 8, at + length);
    return `${from} ${packet.sourcePort} > ${to} ${packet.destinationPort}: ${data}`;
  }
}

function text(address: Target): string {
  return `${address.kind === 'name' ? address.name : addressFromBytes(address.bytes).text} ${address.port}`;
}

function frame(address: Target | undefined, data: string): Buffer {
  const bytes = Buffer.alloc(300 + data.length);
  const head = writeUotHead(address, data.length, bytes, 0);
  bytes.write(data, head, 'latin1');
  return bytes.subarray(0, head + data.length);
}

function request(destination: Target, isConnect: boolean): Buffer {
  const bytes = Buffer.alloc(300);
  return bytes.subarray(0, writeUotRequest(destination, isConnect, bytes, 0));
}

describe('a LAN socket that speaks to a foreign peer', () => {
  it('gets a stream of its own, wherever its datagrams go, and they wait for it', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'one');
    world.send(CLIENT, end('172.16.2.21', 54), 'two');
    expect([world.wanted.length, world.heard.size]).toEqual([1, 0]);
    world.lane.stands(world.wanted[0]!, 7);
    world.lane.run();
    expect(world.frames(7)).toEqual(['request false 172.16.2.20 53', '172.16.2.20 53: one', '172.16.2.21 54: two']);
    world.send({ ...CLIENT, port: 5_001 }, SERVER, 'another socket');
    expect(world.wanted.length).toBe(2);
    expect(world.faults).toEqual([]);
  });

  it('hears the answers, from whoever they come, in any split', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'question');
    world.lane.stands(world.wanted[0]!, 7);
    const bytes = Buffer.concat([frame(target(SERVER), 'answer'), frame(target(SERVER), ''), frame(target(end('172.16.2.9', 99)), 'late')]);
    for (const byte of bytes) world.say(7, Buffer.of(byte));
    expect(world.arrived).toEqual([
      '172.16.2.20 53 > 172.16.0.10 5000: answer',
      '172.16.2.20 53 > 172.16.0.10 5000: ',
      '172.16.2.9 99 > 172.16.0.10 5000: late',
    ]);
  });

  it('gets a burst of answers whole', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'question');
    world.lane.stands(world.wanted[0]!, 7);
    const data = Array.from({ length: 300 }, (_, i) => String.fromCharCode(97 + (i % 26)).repeat(1_400));
    world.say(7, ...data.map((one) => frame(target(SERVER), one)));
    for (let i = 0; i < 10; i++) world.lane.run();
    expect(world.arrived).toEqual(data.map((one) => `172.16.2.20 53 > 172.16.0.10 5000: ${one}`));
  });

  it('asks again where no stream could be had, and after the peer ended one', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'lost');
    world.lane.stands(world.wanted[0]!, -1);
    expect(world.faults).toEqual(['no-path']);
    world.send(CLIENT, SERVER, 'again');
    world.lane.stands(world.wanted[1]!, 7);
    world.lane.run();
    expect(world.frames(7)).toEqual(['request false 172.16.2.20 53', '172.16.2.20 53: again']);
  });

  it('loses its oldest datagrams where the stream takes nothing, and never half of one', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'first');
    world.lane.stands(world.wanted[0]!, 7);
    world.roomBytes = 10;
    world.lane.run();
    for (let i = 0; i < 400; i++) world.send(CLIENT, SERVER, `${i}`.padEnd(1_400));
    expect(world.faults.filter((one) => one === 'queue-full').length).toBeGreaterThan(200);
    world.roomBytes = Number.POSITIVE_INFINITY;
    world.lane.woken(7, EPOLLOUT);
    world.lane.run();
    const frames = world.frames(7);
    expect(frames[0]).toBe('request false 172.16.2.20 53');
    expect(frames.at(-1)!.trim()).toBe('172.16.2.20 53: 399');
    expect(frames.length).toBeLessThan(200);
  });

  it('loses none of what makes the rest readable, however much it says before its stream stands', () => {
    const world = new World();
    for (let i = 0; i < 400; i++) world.send(CLIENT, SERVER, `${i}`.padEnd(1_400));
    expect(world.faults.filter((one) => one === 'queue-full').length).toBeGreaterThan(200);
    world.lane.stands(world.wanted[0]!, 7);
    world.lane.run();
    const frames = world.frames(7);
    expect(frames[0]).toBe('request false 172.16.2.20 53');
    expect(frames.at(-1)!.trim()).toBe('172.16.2.20 53: 399');
    expect(frames.length).toBeGreaterThan(150);
  });

  it('does not get a stream for each of its ports where it counts through them', () => {
    const world = new World();
    for (let i = 0; i < 3_000; i++) world.send({ ...CLIENT, port: 10_000 + i }, SERVER, 'x');
    expect(world.wanted.length).toBe(1_024);
    expect(world.faults).toEqual(Array(3_000 - 1_024).fill('queue-full'));
    world.nowMs += 20;
    world.send({ ...CLIENT, port: 20_000 }, SERVER, 'x');
    expect(world.wanted.length).toBe(1_025);
  });

  it('is forgotten after three minutes, and makes room for others before', () => {
    const world = new World();
    world.send(CLIENT, SERVER, 'x');
    world.lane.stands(world.wanted[0]!, 7);
    world.nowMs += 170_000;
    world.lane.sweep(world.nowMs);
    expect(world.closed).toEqual([]);
    world.nowMs += 20_000;
    world.lane.sweep(world.nowMs);
    expect(world.closed).toEqual([7]);
    for (let i = 0; i < 1_030; i++) {
      world.nowMs++;
      world.send({ ...CLIENT, port: 10_000 + i }, SERVER, 'x');
      world.lane.stands(world.wanted.at(-1)!, 1_000 + i);
    }
    expect(world.closed).toEqual([7, 1_000, 1_001, 1_002, 1_003, 1_004, 1_005]);
  });
});

describe('a stream that a foreign peer opened', () => {
  const stranger = target(CLIENT);
  it.each([
    ['of the second version', 2 as const, [request(stranger, false)], [frame(stranger, 'ping')], true],
    ['of the first', 1 as const, [], [frame(stranger, 'ping')], true],
    ['that is connected', 2 as const, [request(stranger, true)], [frame(undefined, 'ping')], false],
  ])('%s brings its datagrams from an address of the peer, and takes what is answered', (_, version, first, then, hasAddress) => {
    const world = new World();
    world.lane.serve(HAMBURG, 9, version);
    world.say(9, ...first, ...then);
    expect(world.arrived).toEqual(['172.16.2.1 40000 > 172.16.0.10 5000: ping']);
    world.send(CLIENT, end('172.16.2.1', 40_000), 'pong');
    if (hasAddress) expect(world.frames(9, false)).toEqual(['172.16.0.10 5000: pong']);
    else expect(world.heard.get(9)).toEqual(frame(undefined, 'pong'));
    expect([world.wanted, world.faults]).toEqual([[], []]);
  });

  it('may go to both families, and to a name that the configuration has', () => {
    const world = new World();
    world.lane.serve(HAMBURG, 9, 1);
    world.say(9, frame(target(end('fd00:16::10', 7)), 'six'), frame({ kind: 'name', name: 'NAS', port: 8 }, 'named'));
    world.say(9, frame({ kind: 'name', name: 'example.org', port: 8 }, 'unknown'));
    expect(world.arrived).toEqual(['fd00:18::1 40000 > fd00:16::10 7: six', '172.16.2.1 40000 > 172.16.0.10 8: named']);
    expect(world.faults).toEqual(['unknown-target']);
  });

  it.each([
    ['a length that no datagram has', Buffer.from('00ac10000a0035ffff', 'hex'), 1 as const],
    ['an address of no kind', Buffer.from('07ac10000a00350001', 'hex'), 1 as const],
    ['a request that is none', Buffer.from('05', 'hex'), 2 as const],
  ])('that says %s is closed, and counted once', (_, bytes, version) => {
    const world = new World();
    world.lane.serve(HAMBURG, 9, version);
    world.say(9, bytes, frame(stranger, 'behind it'));
    expect([world.arrived, world.closed, world.faults]).toEqual([[], [9], ['bad-uot']]);
  });

  it('gets nothing that is for another host of the peer with the same port', () => {
    const world = new World();
    world.lane.serve(HAMBURG, 9, 1);
    world.say(9, frame(stranger, 'ping'));
    world.send(CLIENT, end('172.16.2.20', 40_000), 'for a server');
    expect(world.heard.get(9)).toBeUndefined();
    world.lane.stands(world.wanted[0]!, 7);
    world.lane.run();
    expect(world.frames(7)).toEqual(['request false 172.16.2.20 40000', '172.16.2.20 40000: for a server']);
  });

  it('displaces those of its own peer, and not what the LAN has with others', () => {
    const world = new World([MUNICH, HAMBURG]);
    world.send(CLIENT, end('172.16.1.20', 53), 'x', MUNICH);
    world.lane.stands(world.wanted[0]!, 7);
    for (let i = 0; i < 1_100; i++) {
      world.nowMs++;
      world.lane.serve(HAMBURG, 1_000 + i, 1);
    }
    expect(world.closed).toEqual(Array.from({ length: 77 }, (_, i) => 1_000 + i));
  });

  it('has its turn, however many others have more to say', () => {
    const world = new World();
    const fds = Array.from({ length: STREAMS_A_TURN + 1 }, (_, i) => 100 + i);
    for (const fd of fds) {
      world.lane.serve(HAMBURG, fd, 1);
      world.said.set(fd, Buffer.concat(Array.from({ length: 40 }, () => frame(stranger, `${fd}`.padEnd(60_000)))));
    }
    const arrived = () => new Set(world.arrived.map((one) => one.trim().slice(-3)));
    world.lane.run();
    expect(arrived().size).toBe(STREAMS_A_TURN);
    world.lane.run();
    expect(arrived().size).toBe(fds.length);
  });

  it('is closed at once where the peer may bring no UDP', () => {
    const world = new World();
    world.lane.serve(0, 9, 2);
    expect(world.closed).toEqual([9]);
  });
});
