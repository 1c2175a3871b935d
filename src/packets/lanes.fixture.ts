/** Two packet lanes in one process, berlin's and munich's, over two uplinks that lose and delay nothing. */
import { DatagramCiphers } from '../crypto/datagram-evp.ts';
import { EvpPacketCiphers } from '../crypto/packet-evp.ts';
import { FakeClock } from '../kernel/clock.ts';
import { EPOLLIN, EPOLLOUT } from '../kernel/constants.ts';
import { DatagramNetwork, MemoryDatagrams } from '../kernel/memory-datagrams.ts';
import { MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import { MemoryTun } from '../kernel/memory-tun.ts';
import type { Method, Peer, PolicyRule, Site } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import type { SessionId } from '../wire/datagram.ts';
import { parseAddress } from '../wire/ip.ts';
import { Lane, type Poller } from './lane.ts';
import type { FromLane, LanePath, ToLane } from './messages.ts';
import { prefixes } from './site.fixture.ts';

const WAKE_FD = 3;
const TUN_FD = 4;
export const PORT = 8388;

/** Tells of everything at each wait: what an edge would have said and more. */
class EveryPoller implements Poller {
  readonly wakeFd = WAKE_FD;
  readonly #watched: number[] = [WAKE_FD];

  watch(fd: number): number {
    if (!this.#watched.includes(fd)) this.#watched.push(fd);
    return 0;
  }

  wait(): number {
    return this.#watched.length;
  }

  eventFd(index: number): number {
    return this.#watched[index]!;
  }

  eventBits(): number {
    return EPOLLIN | EPOLLOUT;
  }

  drainWake(): void {}
}

const LAN = { berlin: ['172.16.0.0/24', 'fd00:16::/64'], munich: ['172.16.1.0/24', 'fd00:17::/64'] } as const;
const UPLINKS = { berlin: ['10.0.0.1', '10.1.0.1'], munich: ['10.0.0.2', '10.1.0.2'] } as const;
export const INNER = { berlin: ['198.18.0.1', '198.18.1.1'], munich: ['198.18.0.2', '198.18.1.2'] } as const;
type Name = keyof typeof LAN;

function siteOf(name: Name, method: Method, policy: readonly PolicyRule[], peerMore: Partial<Peer>): Site {
  const other = name === 'berlin' ? 'munich' : 'berlin';
  const uplinks = UPLINKS[name].map((address, index) => ({
    index,
    name: `uplink${index}`,
    device: `eth${index + 2}`,
    addresses: [parseAddress(address)!],
    gateways: [],
    role: 'active' as const,
    metered: false,
    weight: 1,
    mtu: 1500,
    inner: parseAddress(INNER[name][index]!)!,
  }));
  const peer: Peer = {
    index: 0,
    site: other,
    kind: 'braid',
    method,
    lan: prefixes(...LAN[other]),
    addresses: [],
    paths: uplinks.map((uplink, index) => ({
      index,
      uplink,
      localAddress: uplink.addresses[0]!,
      peerAddress: { address: parseAddress(UPLINKS[other][index]!)!, port: PORT },
      present: true,
      learned: false,
    })),
    transport: 'mptcp',
    snat: false,
    allow: [{ from: prefixes(...LAN[other]), to: prefixes(...LAN[name]), ports: [] }],
    policy,
    packets: 'udp',
    ...peerMore,
  };
  return {
    name,
    lan: prefixes(...LAN[name]),
    lanAddresses: [],
    lanDevices: ['eth1'],
    listenPort: PORT,
    uplinks,
    peers: [peer],
    names: new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
    logFlows: false,
  };
}

/** One gateway. */
export class Gateway {
  readonly tun = new MemoryTun(TUN_FD);
  readonly counters = new Counters(1);
  readonly clock = new FakeClock();
  readonly datagrams: MemoryDatagrams;
  readonly lane: Lane;
  readonly said: FromLane[] = [];
  readonly site: Site;
  readonly fds: number[] = [];
  readonly #commands: ToLane[] = [];

  /** Where a test moves it: what was sealed at another time is refused. */
  unixSeconds = 1_800_000_000;

  constructor(
    name: Name,
    network: DatagramNetwork,
    streams: MemorySockets,
    method: Method,
    policy: readonly PolicyRule[] = [],
    peerMore: Partial<Peer> = {},
    more: Partial<Site> = {},
  ) {
    this.datagrams = new MemoryDatagrams(network);
    this.site = { ...siteOf(name, method, policy, peerMore), ...more };
    this.lane = new Lane({
      site: this.site,
      poller: new EveryPoller(),
      datagrams: this.datagrams,
      io: streams,
      tun: this.tun,
      ciphers: new DatagramCiphers(),
      packetCiphers: new EvpPacketCiphers(),
      unixSeconds: () => this.unixSeconds,
      counters: this.counters,
      clock: this.clock,
      post: (message) => this.said.push(message),
      nextCommand: () => this.#commands.shift(),
    });
    for (const { addresses } of this.site.uplinks) this.openSocket(addresses[0]!.text);
  }

  tell(...commands: readonly ToLane[]): void {
    this.#commands.push(...commands);
  }

  openSocket(address: string): void {
    const pair = this.datagrams.openPair({ bytes: parseAddress(address)!.bytes, port: PORT });
    if (typeof pair === 'number') throw new Error(`pair expected, got ${pair}`);
    this.fds.push(pair.dataFd);
    this.tell({ kind: 'socket', address, fd: pair.dataFd });
  }

  /** @param paths those that carry. */
  carry(paths: readonly number[], more: Partial<LanePath> = {}): void {
    this.carryEach(paths, () => more);
  }

  /** By which lane each path goes; those that are left out do not carry. */
  lanesOf(lanes: readonly ('udp' | 'stream')[]): void {
    this.carryEach(lanes.keys(), (path) => ({ lane: lanes[path]! }));
  }

  carryEach(paths: Iterable<number>, more: (path: number) => Partial<LanePath>): void {
    this.tell({ kind: 'paths', peers: [{ carry: [...paths].map((path) => ({ ...this.#pathOf(path), ...more(path) })) }] });
  }

  /** Lays a packet in and lets it through. */
  send(...packets: readonly Buffer[]): void {
    this.tun.waiting.push(...packets);
    this.lane.turn(0);
  }

  #pathOf(path: number): LanePath {
    const { localAddress, peerAddress } = this.site.peers[0]!.paths[path]!;
    const remote = { bytes: peerAddress.address.bytes, port: peerAddress.port };
    const common = { weightBitsPerSecond: 100e6, rttMs: 10 + path, mostPayloadBytes: 1472, lane: 'udp' } as const;
    return { path, local: localAddress.text, remote, ...common };
  }

  /** What reached the LAN since it was last asked. */
  received(): Buffer[] {
    this.lane.turn(0);
    return this.tun.written.splice(0);
  }
}

export interface Pair {
  readonly berlin: Gateway;
  readonly munich: Gateway;
  readonly network: DatagramNetwork;
  readonly streams: MemorySockets;
}

const ids = (number: number): readonly [SessionId, SessionId] => [
  { high: 1, low: 0x8000_0000 + number },
  { high: 2, low: 0x8000_0000 + number },
];

/** Both with session 1, open, over both paths. */
export function lanes(method: Method = '2022-blake3-aes-128-gcm', policy: readonly PolicyRule[] = []): Pair {
  const network = new DatagramNetwork();
  const streams = new MemorySockets(new MemoryNetwork(), []);
  const pair = {
    berlin: new Gateway('berlin', network, streams, method, policy),
    munich: new Gateway('munich', network, streams, method, policy),
    network,
    streams,
  };
  newSession(pair, 1);
  for (const gateway of [pair.berlin, pair.munich]) {
    setState(gateway, 1, 'open');
    gateway.carry([0, 1]);
    gateway.lane.turn(0);
  }
  return pair;
}

export function newSession({ berlin, munich }: Pair, number: number): void {
  const [atBerlin, atMunich] = ids(number);
  const method = berlin.site.peers[0]!.method;
  const length = method === '2022-blake3-aes-128-gcm' ? 16 : 32;
  const key = (byte: number) => new Uint8Array(length).fill(byte);
  const there = 16 * number;
  const back = 16 * number + 1;
  const common = { kind: 'session', peer: 0, number, method } as const;
  berlin.tell({ ...common, sendId: atMunich, receiveId: atBerlin, sendKey: key(there), receiveKey: key(back) });
  munich.tell({ ...common, sendId: atBerlin, receiveId: atMunich, sendKey: key(back), receiveKey: key(there) });
}

export function setState(gateway: Gateway, number: number, state: 'open' | 'retired' | 'closed'): void {
  const [atBerlin, atMunich] = ids(number);
  gateway.tell({ kind: 'session-state', receiveId: gateway.site.name === 'berlin' ? atBerlin : atMunich, state });
}
