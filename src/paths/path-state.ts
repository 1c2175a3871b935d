/**
 * The life of a path. Pure: what happened goes in, the path as it is then comes out; clocks, sockets and the judgement of what was heard are
 * elsewhere (judge.ts). Every change has its reason in words.
 *
 *                linkLost, silent, unheard, refused
 *      ┌────────┐ ───────────────────────────────▶ ┌──────┐ ◀── enable ── ┌──────────┐
 *      │   up   │ ◀────────┐                        │ down │               │ disabled │ ◀── disable: from anywhere
 *      └────────┘          │ HEAL_GOOD in a row     └──────┘               └──────────┘
 *   late │    ▲ timely     │ both ways, held down    │    ▲
 *   poor ▼    │ fair       │ long enough, peer too   ▼    │ lost
 *      ┌─────────┐         └───────────────────── ┌─────────┐
 *      │ suspect │ ── as from up ──▶ down          │ probing │ ◀── good ── down
 *      └─────────┘                                 └─────────┘
 *
 * The last living path stays alive whatever the peer says of it; `renewed` when the peer has it again: what stood on it before is as good
 * as dead. A suspect path is alive. One that is `late` still carries; one that is `poor` (`avoided`) carries only where no better one is.
 * Damping: each fall within FLAP_WINDOW_MS of the one before doubles the time for which the path must be good before it is used again; each
 * window without a fall halves it.
 */
export type PathState = 'up' | 'suspect' | 'down' | 'probing' | 'disabled';

const HEAL_GOOD = 5;
/** With nothing to lose: no path of this peer lives, or this one was never tried. */
const HEAL_GOOD_AT_ONCE = 2;
/** What is born so long after the last sign of the peer was not on its way before the silence. */
const UNSEEN_MS = 500;

export interface Damping {
  readonly firstMs: number;
  readonly mostMs: number;
  readonly windowMs: number;
}

export const DAMPING: Damping = { firstMs: 200, mostMs: 30_000, windowMs: 60_000 };

interface Fall {
  readonly kind: 'linkLost' | 'silent' | 'late' | 'unheard' | 'refused' | 'lost';
  readonly reason: string;
  /** Since when nothing came at all: what the peer made meanwhile shows that the path was well then. */
  readonly silentMs?: number;
}

export type PathEvent =
  | Fall
  | { readonly kind: 'timely' | 'fair' | 'enable' | 'renewed' }
  | { readonly kind: 'disable'; readonly reason: string }
  /** `byPeer`: the peer judged, and we follow; nothing of ours to damp. */
  | { readonly kind: 'poor'; readonly reason: string; readonly byPeer: boolean; readonly holdMs: number }
  | Good;

/** Something came over a path that is down or probing. */
export interface Good {
  readonly kind: 'good';
  readonly inARow: number;
  readonly bothWays: boolean;
  /** The peer would use it, or nobody can say. */
  readonly peerIsReady: boolean;
  /** No other path lives. */
  readonly isNeeded: boolean;
  /** A connect check is worth as much as a row of heartbeats, and there is no peer to agree with. */
  readonly isCheck: boolean;
  readonly rttMs: number;
  /** Why it is not to be used although it answers: it comes back as `suspect`. */
  readonly poorReason: string | undefined;
}

export interface PathMachine {
  readonly state: PathState;
  readonly reason: string;
  readonly avoided: 'no' | 'ours' | 'peer';
  readonly changedAtMs: number;
  /** 0 where it is not alive. */
  readonly upSinceMs: number;
  /** When it last ceased to be alive, its link went while it healed (the peer may use it a little sooner than we), or the peer had it again. */
  readonly fellAtMs: number;
  readonly goodSinceMs: number;
  /** All is well on our side: the peer may take it as agreement. */
  readonly isReady: boolean;
  readonly wasEverUp: boolean;
  readonly holdDownMs: number;
  readonly avoidedUntilMs: number;
  readonly flaps: number;
  readonly flapAtMs: number;
}

export const NEW_PATH: PathMachine = {
  state: 'down',
  reason: 'not tried yet',
  avoided: 'no',
  changedAtMs: 0,
  upSinceMs: 0,
  fellAtMs: 0,
  goodSinceMs: 0,
  isReady: false,
  wasEverUp: false,
  holdDownMs: 0,
  avoidedUntilMs: 0,
  flaps: 0,
  flapAtMs: 0,
};

export function isAlive({ state }: PathMachine): boolean {
  return state === 'up' || state === 'suspect';
}

/** @returns `path` itself where nothing changed. */
export function step(path: PathMachine, event: PathEvent, nowMs: number, damping: Damping = DAMPING): PathMachine {
  if (path.state === 'disabled')
    return event.kind === 'enable' ? { ...path, state: 'down', reason: 'enabled again', wasEverUp: false, changedAtMs: nowMs } : path;
  switch (event.kind) {
    case 'enable':
      return path;
    case 'disable':
      return {
        ...path,
        state: 'disabled',
        reason: event.reason,
        avoided: 'no',
        upSinceMs: 0,
        fellAtMs: path.state === 'down' ? path.fellAtMs : nowMs,
        goodSinceMs: 0,
        isReady: false,
        changedAtMs: nowMs,
      };
    case 'linkLost':
    case 'silent':
    case 'unheard':
    case 'refused':
      return fall(path, event, nowMs, damping);
    case 'lost':
      return path.state === 'probing' ? fall(path, event, nowMs, damping) : path;
    case 'late':
      return path.state === 'up' ? { ...path, state: 'suspect', reason: event.reason, changedAtMs: nowMs } : path;
    case 'timely':
      return path.state === 'suspect' && path.avoided === 'no'
        ? { ...path, state: 'up', reason: 'answers again', changedAtMs: nowMs }
        : path;
    case 'renewed':
      return isAlive(path) ? { ...path, upSinceMs: nowMs, fellAtMs: nowMs } : path;
    case 'poor':
      return poor(path, event, nowMs, damping);
    case 'fair':
      if (path.state !== 'suspect' || path.avoided === 'no' || nowMs < path.avoidedUntilMs) return path;
      return { ...path, state: 'up', reason: 'good again', avoided: 'no', changedAtMs: nowMs, upSinceMs: nowMs };
    case 'good':
      return good(path, event, nowMs);
  }
}

function fall(path: PathMachine, { kind, reason, silentMs = 0 }: Fall, nowMs: number, damping: Damping): PathMachine {
  if (path.state === 'down') return path.reason === reason ? path : { ...path, reason };
  const fallen = {
    ...path,
    state: 'down' as const,
    reason,
    avoided: 'no' as const,
    upSinceMs: 0,
    goodSinceMs: 0,
    isReady: false,
    changedAtMs: nowMs,
  };
  if (!isAlive(path)) return kind === 'linkLost' ? { ...fallen, fellAtMs: nowMs } : fallen;
  return { ...fallen, fellAtMs: nowMs - Math.max(0, silentMs - UNSEEN_MS), ...flapped(path, nowMs, damping) };
}

function poor(path: PathMachine, event: Extract<PathEvent, { kind: 'poor' }>, nowMs: number, damping: Damping): PathMachine {
  if (!isAlive(path) || path.avoided === 'ours' || (path.avoided === 'peer' && event.byPeer)) return path;
  const avoided = { ...path, state: 'suspect' as const, reason: event.reason, changedAtMs: nowMs };
  if (event.byPeer) return { ...avoided, avoided: 'peer', avoidedUntilMs: 0 };
  const flap = flapped(path, nowMs, damping);
  return { ...avoided, ...flap, avoided: 'ours', avoidedUntilMs: nowMs + Math.max(event.holdMs, flap.holdDownMs) };
}

function good(path: PathMachine, event: Good, nowMs: number): PathMachine {
  if (path.state !== 'down' && path.state !== 'probing') return path;
  const atOnce = event.isNeeded || !path.wasEverUp;
  // Known to be poor: it will not be used while there is a better one, so nothing is gained by waiting for a row without a gap.
  const isKnown = event.poorReason !== undefined;
  const goodSinceMs =
    path.state === 'down' || path.goodSinceMs === 0 || (event.inARow <= 1 && !event.isCheck && !isKnown) ? nowMs : path.goodSinceMs;
  const enough = event.isCheck || isKnown || event.inARow >= (atOnce ? HEAL_GOOD_AT_ONCE : HEAL_GOOD);
  const isReady = enough && event.bothWays && (atOnce || nowMs - goodSinceMs >= path.holdDownMs);
  if (isReady && event.peerIsReady) {
    const alive = { ...path, goodSinceMs: 0, isReady: false, wasEverUp: true, changedAtMs: nowMs, upSinceMs: nowMs };
    if (event.poorReason !== undefined)
      return { ...alive, state: 'suspect', avoided: 'ours', reason: event.poorReason, avoidedUntilMs: nowMs };
    return { ...alive, state: 'up', avoided: 'no', reason: healed(event) };
  }
  if (path.state === 'probing')
    return path.goodSinceMs === goodSinceMs && path.isReady === isReady ? path : { ...path, goodSinceMs, isReady };
  const reason = event.isCheck ? 'a connection was answered' : 'a probe was answered';
  return { ...path, state: 'probing', reason, goodSinceMs, isReady, changedAtMs: nowMs };
}

function healed({ isCheck, inARow, rttMs }: Good): string {
  const rtt = rttMs > 0 ? `, ${Math.round(rttMs)} ms` : '';
  return isCheck ? `a connection was answered${rtt}` : `${inARow} probes answered in a row${rtt}`;
}

function flapped({ holdDownMs, flapAtMs, flaps }: PathMachine, nowMs: number, { firstMs, mostMs, windowMs }: Damping) {
  const quietWindows = flaps === 0 ? 0 : Math.floor((nowMs - flapAtMs) / windowMs);
  const doubled = flaps === 0 ? firstMs : quietWindows === 0 ? holdDownMs * 2 : holdDownMs / 2 ** quietWindows;
  return { holdDownMs: Math.min(mostMs, Math.max(firstMs, doubled)), flapAtMs: nowMs, flaps: quietWindows > 1 ? 1 : flaps + 1 };
}

/** What a report says of a path: the state in the low bits, above them what the other side must know to agree. */
export const READY_BIT = 0x10;
export const AVOIDED_BIT = 0x20;
export const DRAINED_BIT = 0x40;
export const BACKUP_BIT = 0x80;
export const METERED_BIT = 0x08;
const STATE_BITS = 0x07;
/** As HEARTBEAT_STATES of wire/heartbeat.ts. */
const CODES: readonly (PathState | undefined)[] = [undefined, 'up', 'suspect', 'down', 'probing', 'disabled'];

export function stateCode({ state, isReady, avoided }: PathMachine, isDrained: boolean, isBackup: boolean, isMetered: boolean): number {
  const ours = (isDrained ? DRAINED_BIT : 0) | (isBackup ? BACKUP_BIT : 0) | (isMetered ? METERED_BIT : 0);
  return CODES.indexOf(state) | (isReady ? READY_BIT : 0) | (avoided === 'ours' ? AVOIDED_BIT : 0) | ours;
}

/** @returns undefined for a state that a later version may have. */
export function stateOfCode(code: number): PathState | undefined {
  return CODES[code & STATE_BITS];
}
