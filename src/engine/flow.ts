/**
 * One LAN connection and the MPTCP connection that carries it. The data; who moves it is in pump.ts, near.ts and far.ts.
 *
 *   near (our LAN client):   dialling ──▶ open ──▶ closed
 *   far (the peer called):   calling ──▶ connecting ──▶ open ──▶ closed
 *                               │  └──▶ parked ──▶ connecting            it waits for the PROXY header (parked.ts)
 *                               └──▶ draining ──▶ closed        a caller who proved nothing: read, never answered, reset when its time is up
 *   kept ready (pool.ts):    warming ──▶ ready (ours to use) ──▶ open
 *                               └──▶ parked (the peer's to use) ──▶ connecting
 */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from '../kernel/constants.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Held } from './blocks.ts';
import type { OpenPump } from './open-pump.ts';
import type { SealPump } from './seal-pump.ts';
import { FLOOD_EVERY_MS, FLOW_LEAST_BYTES } from './send-window.ts';

type Phase = 'dialling' | 'calling' | 'draining' | 'warming' | 'ready' | 'parked' | 'connecting' | 'open' | 'closed';

export class Flow {
  /** Travels with each epoll event, so that an event of a descriptor's former owner is told apart. 32 bits, never 0. */
  readonly serial: number;
  /** Near: the LAN client is ours. Who has dialled the peer's leg is another question. */
  side: 'near' | 'far';
  /** Whether we dialled the peer's leg: then we open its subflows. */
  readonly weDialled: boolean;
  startedAtMs: number;
  phase: Phase;

  /** -1 while there is none. */
  lanFd = -1;
  wanFd = -1;
  // What epoll said and no call has disproved since (edge-triggered).
  lanReadable = false;
  lanWritable = false;
  lanHungUp = false;
  wanReadable = false;
  wanWritable = false;
  wanHungUp = false;
  /** Before the flow is open: epoll reported an error. */
  failed = false;
  /** epoll reported an error of this leg. */
  lanFailed = false;
  wanFailed = false;
  /** Open: writing to this leg failed. Nothing goes there any more; what it had said before is still carried to the other side. */
  lanBroken = false;
  wanBroken = false;
  queued = false;
  /** While the peer's leg takes nothing: when to try again without being told. */
  retryAtMs = 0;
  /** What both pumps hold, and since when it is the same. */
  heldBytes = 0;
  heldSinceMs = 0;
  /** It did not read because there was no memory to keep what it would have read. */
  starved = false;

  /** -1 until the key has named it. */
  peer = -1;
  /** It carries a LAN connection: it counts in the peer's figures. */
  isUsers = false;
  /** Its peer is no Braid: a bare FIN is the end of a direction, both ways. */
  isForeign = false;
  /** A client's end that is not passed on yet: such a peer may take it for the end of everything (foreign.ts). */
  keepsEnd = false;
  /** Its LAN leg leads to the main thread, or to that of the packets (streams.ts). */
  isStream = false;
  /** It carries UDP over TCP of that version; 0: it does not. */
  uotVersion: 0 | 1 | 2 = 0;
  /** It carries the packets of the path it was dialled over: no further subflows, a send window of its own, and no last words worth a wait. */
  isPinned = false;
  /** The path is known to drop SYNs with MPTCP. */
  dialsPlain = false;
  client: SocketAddress | undefined;
  target: SocketAddress | undefined;
  /** What was read of the client before the connection for it stood. */
  early: Held | undefined;
  up: SealPump | undefined;
  down: OpenPump | undefined;

  /** Near: the paths still to be tried by the dial, and the one it is on; the dials before it, which may stand yet. */
  untried: number[] = [];
  path = -1;
  elders: readonly Dial[] = NO_DIALS;
  dialledAtMs = 0;
  /** A dial was refused: somebody is there, and takes no connections. */
  wasRefused = false;
  openedAtMs = 0;
  /** It is worth a subflow on each path. */
  widened = false;
  /** Its connection to the peer turned out to be plain TCP. */
  isPlain = false;

  /** How much of `txBytes` and `rxBytes` the peer's figures have. */
  countedTxBytes = 0;
  countedRxBytes = 0;
  /** For the sampler: what had been moved at the last turn and the last ranking, and when it last was. */
  notedBytes = 0;
  rankedBytes = 0;
  rankBytes = 0;
  movedAtMs = 0;
  sampledAtMs = -1;
  isActive = false;
  /** What the kernel said at the last sample: the connection's token, and each subflow. */
  token = 0;
  readonly subflows: SubflowFigures[] = [];
  /** The first subflow's own end: its address has id 0. */
  firstLocal: SocketAddress | undefined;
  /** The most that ever stood at once. */
  subflowsMost = 0;
  /** A foreign caller: which of our addresses it was told of (told-addresses.ts). */
  toldOf: Set<string> | undefined;
  /** Subflows that were asked for (subflows.ts). */
  joins: Join[] | undefined;
  looksQueued = false;

  /** For the send window (send-window.ts): bytes given to the kernel and what it may take before it is asked again. */
  wroteBytes = 0;
  creditBytes = FLOW_LEAST_BYTES;
  ackedBytes = 0;
  windowRetryAtMs = 0;
  windowRound = -1;
  /** For still-arriving.ts, as of the last sample: what the peer has not acknowledged, and when that last became less. */
  unackedBytes = 0;
  peerHasBytes = 0;
  peerTookAtMs = 0;
  /** Nothing is written before, and somebody would have liked to. */
  heldUpUntilMs = 0;
  isHeldUp = false;
  /** It writes until the kernel refuses; not again before, and ever more rarely. */
  isFlooding = false;
  floodAtMs = 0;
  floodEveryMs = FLOOD_EVERY_MS;

  constructor(serial: number, side: 'near' | 'far', startedAtMs: number, weDialled = side === 'near') {
    this.serial = serial;
    this.side = side;
    this.weDialled = weDialled;
    this.startedAtMs = startedAtMs;
    this.phase = side === 'near' ? 'dialling' : 'calling';
  }

  /** epoll says `bits` of one of its legs. */
  woken(fd: number, bits: number): void {
    const hungUp = (bits & (EPOLLRDHUP | EPOLLHUP)) !== 0;
    const failed = (bits & EPOLLERR) !== 0;
    const isReadable = (bits & EPOLLIN) !== 0 || hungUp || failed;
    const isWritable = (bits & EPOLLOUT) !== 0;
    if (failed) this.failed = true;
    if (fd === this.lanFd) {
      if (failed) this.lanFailed = true;
      if (isReadable) this.lanReadable = true;
      if (isWritable) this.lanWritable = true;
      // After urgent data too a short read does not mean that nothing is left: it ends at the mark.
      if (hungUp || failed || (bits & EPOLLPRI) !== 0) this.lanHungUp = true;
    } else {
      if (failed) this.wanFailed = true;
      if (isReadable) this.wanReadable = true;
      if (isWritable) this.wanWritable = true;
      if (hungUp || failed) this.wanHungUp = true;
    }
  }

  /** The peer's leg stands and the request went over it: it has subflows to be looked after. */
  get stands(): boolean {
    return this.phase === 'open' || this.phase === 'ready' || this.phase === 'parked';
  }

  get txBytes(): number {
    return this.up?.movedBytes ?? 0;
  }

  get rxBytes(): number {
    return this.down?.movedBytes ?? 0;
  }
}

export interface SubflowFigures {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** -1 where it runs between addresses that belong to no path. */
  readonly path: number;
  /** false where only the uplink is known: a caller behind NAT. */
  readonly isExact: boolean;
  /** As exactly as we know. */
  readonly bornAtMs: number;
  state: number;
  rttMs: number;
  ackedBytes: number;
  receivedBytes: number;
  /** The samples that last saw more of them. */
  ackedAtMs: number;
  receivedAtMs: number;
  /** Given to this subflow and still to be sent. */
  notSentBytes: number;
  /** When it last heard an acknowledgement, as far as the kernel's clock tells. */
  lastAckAtMs: number;
  /** Since when something has waited for an acknowledgement at every sample; 0: nothing does. */
  unackedSinceMs: number;
  seen: boolean;
}

/** A subflow that was asked for and does not stand yet. */
export interface Join {
  readonly path: number;
  /** Which decision about the peer's paths it belongs to. */
  readonly generation: number;
  tries: number;
  /** When the kernel took it, 0 while it did not. */
  createdAtMs: number;
  /** A sample has seen it stand. */
  hasStood: boolean;
  /** Data passed on it. */
  isProven: boolean;
  /** Not to be asked for before. */
  againAtMs: number;
  /** Why the last one came to nothing, until the path is blamed for it. */
  failure: string | undefined;
}

/** A dial that is still under way beside a younger one. */
export interface Dial {
  readonly fd: number;
  readonly path: number;
  isWritable: boolean;
  hasFailed: boolean;
}

export const NO_DIALS: readonly Dial[] = [];
