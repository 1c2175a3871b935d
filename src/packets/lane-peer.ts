/** One peer as the packet lane sees it: how its packets travel, and over what. */
import type { Datagrams } from '../kernel/datagram-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Peer } from '../site/types.ts';
import { type Counters, type Fault, pathIndexOf } from '../status/counters.ts';
import { DATAGRAM_HEADER_BYTES, DATAGRAM_TAG_BYTES } from '../wire/datagram.ts';
import type { LanePath } from './messages.ts';
import { PathSender, type Sender } from './path-sender.ts';
import { Policy } from './policy.ts';
import { Schedule } from './schedule.ts';

interface LanePeerParts {
  readonly index: number;
  readonly datagrams: Datagrams;
  readonly counters: Counters;
  readonly fault: (fault: Fault) => void;
  /** This socket takes no more: `drain` is to be called when it does again. */
  readonly blocked: (fd: number) => void;
  /** The data socket of one of our addresses; -1 where there is none. */
  readonly fdOf: (local: string) => number;
  /** The path's fallback stream, if it stands. */
  readonly streamOf: (path: number) => Sender | undefined;
}

export class LanePeer {
  readonly index: number;
  readonly schedule = new Schedule();
  policy: Policy;
  /** By path index: those that carry now, by UDP or over the path's stream. */
  readonly senders: (Sender | undefined)[] = [];
  carry: readonly LanePath[] = [];
  /** Packets moved since the last tick; main was told so. */
  isBusy = false;
  wasBusy = false;
  readonly #parts: LanePeerParts;
  /** Of UDP, as they were when they were last used. */
  readonly #kept: PathSender[] = [];
  #site: Peer;

  constructor(parts: LanePeerParts, site: Peer) {
    this.index = parts.index;
    this.#parts = parts;
    this.#site = site;
    this.policy = new Policy(site);
  }

  setSite(site: Peer): void {
    if (site.policy !== this.#site.policy) this.policy = new Policy(site);
    this.#site = site;
    this.setPaths(this.carry);
  }

  setPaths(carry: readonly LanePath[]): void {
    this.carry = carry;
    const live = carry.filter(({ path }) => this.#site.paths[path] !== undefined);
    for (const [path, sender] of this.senders.entries())
      if (sender && !live.some((one) => one.path === path)) {
        sender.dropAll();
        this.senders[path] = undefined;
      }
    for (const one of live) {
      const { path, mostPayloadBytes } = one;
      const sender = one.lane === 'stream' ? this.#parts.streamOf(path) : this.#towards(one);
      const before = this.senders[path];
      if (before !== sender) before?.dropAll();
      if (sender) sender.mostBytes = mostPayloadBytes;
      this.senders[path] = sender;
    }
    this.useSockets();
    this.schedule.setPaths(
      live.map(({ path, weightBitsPerSecond, rttMs, mostPayloadBytes }) => ({
        path,
        uplink: this.#site.paths[path]!.uplink.index,
        weightBitsPerSecond,
        rttMs,
        mostBytes: mostPayloadBytes - DATAGRAM_HEADER_BYTES - DATAGRAM_TAG_BYTES,
      })),
    );
  }

  /** UDP alone, over streams (uot-lane.ts). */
  get isUot(): boolean {
    return this.#site.packets === 'uot';
  }

  /** UDP alone, in Shadowsocks' own format (ss-udp-lane.ts). */
  get isSsUdp(): boolean {
    return this.#site.packets === 'ss-udp';
  }

  /** A socket came or went. */
  useSockets(): void {
    for (const { path, local } of this.carry) {
      const sender = this.#kept[path];
      if (!sender || sender !== this.senders[path]) continue;
      const fd = this.#parts.fdOf(local);
      if (fd !== sender.fd) sender.dropAll();
      sender.fd = fd;
    }
  }

  /** A stream came or went. */
  useStreams(): void {
    this.setPaths(this.carry);
  }

  /** The socket takes bytes again. @returns whether it took all that waited. */
  drain(fd: number): boolean {
    let isEmpty = true;
    for (const sender of this.#kept) {
      if (sender?.fd !== fd || !sender.isBlocked) continue;
      sender.drain();
      isEmpty &&= !sender.isBlocked;
    }
    return isEmpty;
  }

  /** @returns the path that leads from our end to there; -1 where none does, or not any more. */
  pathFrom(local: string, { bytes, port }: SocketAddress): number {
    for (let i = 0; i < this.carry.length; i++) {
      const one = this.carry[i]!;
      if (one.remote.port === port && one.local === local && isSame(one.remote.bytes, bytes)) return one.path;
    }
    return -1;
  }

  #towards({ path, remote }: LanePath): PathSender {
    const { index, datagrams, counters, fault, blocked } = this.#parts;
    const slot = pathIndexOf(index, path);
    this.#kept[path] ??= new PathSender({
      slot,
      datagrams,
      fault,
      sent: (packets, bytes) => {
        counters.addPathPackets(slot, packets, 0);
        counters.addPathBytes(slot, bytes, 0);
      },
      blocked,
    });
    datagrams.setRemote(slot, remote);
    return this.#kept[path];
  }
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
