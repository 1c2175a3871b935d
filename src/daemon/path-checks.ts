/**
 * Whether traffic can use a path: a connection from our uplink's address to the peer's, closed as soon as it stands. Once a second while it
 * does not, rarely while it does and nothing was heard over it. The peer sees a caller that says nothing and goes; that is no fault.
 *
 *            connected                                  (all in `step`, one timer)
 *   ┌──────┐ ─────────▶ ┌────┐
 *   │ down │            │ up │
 *   └──────┘ ◀───────── └────┘
 *            refused, unreachable, silent for CHECK_TIMEOUT_MS; device without carrier or address: at once
 */
import type { Clock } from '../kernel/clock.ts';
import { EPOLLERR, EPOLLHUP, EPOLLOUT } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Path, Site } from '../site/types.ts';
import type { LinkState } from '../status/types.ts';

const POLL_MS = 20;
const DOWN_EVERY_MS = 1_000;
const UP_EVERY_MS = 10_000;
const CHECK_TIMEOUT_MS = 3_000;

export interface PathHealth {
  readonly path: Path;
  readonly peer: number;
  state: LinkState;
  reason: string;
  /** Somebody answered, but not in MPTCP: a middlebox strips it, or it is not the peer who answers. Such a path comes last. */
  isPlain: boolean;
  /** Of the last check, the kernel's own figure; 0 before the first. */
  rttMs: number;
  nextCheckAtMs: number;
  fd: number;
  startedAtMs: number;
}

export interface PathChecksParts {
  readonly site: Site;
  readonly sockets: Sockets;
  readonly clock: Clock;
  /** When a byte last came over the path, as the workers saw it; same clock, 0 for never. */
  readonly heardAtMs: (peer: number, path: number) => number;
  readonly changed: (health: PathHealth) => void;
  /** The addresses of each device that is up and has its carrier. */
  readonly links: () => ReadonlyMap<string, readonly string[]>;
}

export class PathChecks {
  readonly health: readonly PathHealth[];
  readonly #parts: PathChecksParts;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: PathChecksParts) {
    this.#parts = parts;
    this.health = parts.site.peers.flatMap((peer) =>
      peer.paths.map((path) => ({
        path,
        peer: peer.index,
        state: 'down' as const,
        reason: 'not tried yet',
        isPlain: false,
        rttMs: 0,
        nextCheckAtMs: 0,
        fd: -1,
        startedAtMs: 0,
      })),
    );
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.step();
      this.start();
    }, this.#pauseMs());
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const health of this.health) this.#drop(health);
  }

  /** The usable paths of each peer by index, in configured order, those without MPTCP behind the others, backups last; while none is up, all of them: a dial is then the best check. */
  usable(): number[][] {
    return this.#parts.site.peers.map((peer) => {
      const mine = this.health.filter((health) => health.peer === peer.index);
      const up = mine.filter((health) => health.state === 'up');
      const rank = (health: PathHealth) => (health.path.uplink.role === 'backup' ? 2 : 0) + (health.isPlain ? 1 : 0);
      return [...(up.length > 0 ? up : mine)].sort((one, other) => rank(one) - rank(other)).map((health) => health.path.index);
    });
  }

  /** A dial over it failed: checked now, whatever was heard lately. */
  suspect(peer: number, path: number): void {
    const health = this.health.find((one) => one.peer === peer && one.path.index === path);
    if (!health || health.state === 'down' || health.fd >= 0) return;
    this.#dial(health, this.#parts.clock.nowMs());
  }

  step(): void {
    const nowMs = this.#parts.clock.nowMs();
    this.#readEvents(nowMs);
    const links = this.#parts.links();
    for (const health of this.health) {
      const gone = linkProblem(links, health.path);
      if (gone !== undefined) {
        this.#down(health, gone, nowMs);
        continue;
      }
      if (health.fd >= 0) {
        if (nowMs - health.startedAtMs >= CHECK_TIMEOUT_MS) this.#down(health, `no answer for ${CHECK_TIMEOUT_MS / 1000} s`, nowMs);
      } else if (nowMs >= health.nextCheckAtMs) this.#check(health, nowMs);
    }
  }

  #check(health: PathHealth, nowMs: number): void {
    const heardAtMs = this.#parts.heardAtMs(health.peer, health.path.index);
    if (health.state === 'up' && nowMs - heardAtMs < UP_EVERY_MS) {
      health.nextCheckAtMs = heardAtMs + UP_EVERY_MS;
      return;
    }
    this.#dial(health, nowMs);
  }

  #dial(health: PathHealth, nowMs: number): void {
    const { localAddress, peerAddress } = health.path;
    const fd = this.#parts.sockets.dialPeer(
      { bytes: localAddress.bytes, port: 0 },
      { bytes: peerAddress.address.bytes, port: peerAddress.port },
    );
    if (fd < 0) {
      this.#down(health, errnoName(fd), nowMs);
      return;
    }
    health.fd = fd;
    health.startedAtMs = nowMs;
    this.#parts.sockets.watch(fd, 1);
  }

  #readEvents(nowMs: number): void {
    const { sockets } = this.#parts;
    const events = sockets.wait(0);
    for (let i = 0; i < events; i++) {
      const fd = sockets.eventFd(i);
      const health = this.health.find((one) => one.fd === fd);
      if (!health || (sockets.eventBits(i) & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) continue;
      const error = sockets.pendingError(fd);
      if (error > 0) this.#down(health, errnoName(error), nowMs);
      else this.#up(health, nowMs);
    }
  }

  #up(health: PathHealth, nowMs: number): void {
    const mptcp = this.#parts.sockets.mptcp(health.fd);
    const rttMicroseconds = mptcp?.subflows[0]?.rttMicroseconds ?? 0;
    const isPlain = mptcp === undefined;
    this.#drop(health);
    health.rttMs = rttMicroseconds / 1000;
    health.nextCheckAtMs = nowMs + UP_EVERY_MS;
    health.reason = '';
    const changed = health.state !== 'up' || health.isPlain !== isPlain;
    health.isPlain = isPlain;
    if (!changed) return;
    health.state = 'up';
    this.#parts.changed(health);
  }

  #down(health: PathHealth, reason: string, nowMs: number): void {
    this.#drop(health);
    health.nextCheckAtMs = nowMs + DOWN_EVERY_MS;
    const changed = health.state !== 'down' || health.reason !== reason;
    health.state = 'down';
    health.reason = reason;
    if (changed) this.#parts.changed(health);
  }

  #drop(health: PathHealth): void {
    if (health.fd >= 0) this.#parts.sockets.close(health.fd);
    health.fd = -1;
  }

  /** Short while an answer is awaited, else until the next check is due. */
  #pauseMs(): number {
    if (this.health.some((health) => health.fd >= 0)) return POLL_MS;
    const nextAtMs = Math.min(...this.health.map((health) => health.nextCheckAtMs));
    return Math.max(POLL_MS, Math.min(nextAtMs - this.#parts.clock.nowMs(), DOWN_EVERY_MS));
  }
}

/** Known at once and for certain, unlike silence. */
function linkProblem(links: ReadonlyMap<string, readonly string[]>, { uplink, localAddress }: Path): string | undefined {
  const addresses = links.get(uplink.device);
  if (!addresses) return 'down or no carrier';
  return addresses.includes(localAddress.text) ? undefined : `${uplink.device} has lost ${localAddress.text}`;
}
