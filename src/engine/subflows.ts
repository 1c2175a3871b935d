/**
 * Gives every flow the subflows it should have, one on each path that carries (docs/adr/0001-path-manager.md), and takes away those on paths
 * that died. Whoever dialled adds; both sides remove, because what a dead path holds is sent elsewhere only once its subflow is gone.
 *
 *   a subflow's path                    what there is besides                       whoever dialled            the other side
 *   ─────────────────────────────────── ─────────────────────────────────────────── ────────────────────────── ──────────────────
 *   does not carry                      one that stands on a path that carries      DESTROY at once            DESTROY at once
 *                                       none                                        CREATE, look again         look again
 *   carries, but it is stale: it waits  one that stands and is not stale            DESTROY                    DESTROY
 *   for a timeout of seconds            none                                        CREATE, look again         look when one comes
 *   carries, and there is none on it    anything                                    CREATE where it is widened nothing
 *
 * "At once" is once nothing still arrives over a path that died (still-arriving.ts).
 *
 * So the last one that stands is never destroyed. Stale is for whoever dialled what was born before the path came up. The other side goes by
 * when the path fell: what the dialler made since is good and carries, whatever is thought of the path here, or each would take away what
 * the other one counts on while the two see a path heal, one a little sooner. A flow that is short yet keeps its one subflow while its path
 * carries. A change of the paths puts all flows of the peer on a list, those that move bytes first, of which each turn of the loop does a part.
 */
import { TCP_ESTABLISHED, TCP_SYN_SENT } from '../kernel/mptcp-info.ts';
import type { PathManager, PathManagerAnswer, SubflowEnd } from '../kernel/mptcp-pm.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Path, Site } from '../site/types.ts';
import { pathIndexOf } from '../status/counters.ts';
import { addressFromBytes } from '../wire/ip.ts';
import type { Flow, Join, SubflowFigures } from './flow.ts';
import { JoinTrouble, joinPauseMs } from './join-trouble.ts';
import { LocalIds } from './local-ids.ts';
import type { FromWorker, PeerPaths } from './messages.ts';
import { isLiving, type Sampler } from './sampler.ts';
import { holdUp, KEPT_LOOK_MS, stillArrives } from './still-arriving.ts';
import { ToldAddresses } from './told-addresses.ts';

/** Netlink calls and flows looked at in one turn of the loop: some milliseconds at the worst. */
const CALLS_A_TURN = 64;
const LOOKS_A_TURN = 256;
/** ENOTCONN until the peer has acknowledged data: asked again after a round trip, then ever more rarely. */
const ENOTCONN_TRIES = 8;
const AGAIN_LEAST_MS = 10;
const AGAIN_MOST_MS = 1_280;
/** Flows whose subflow on a dead path may wait for what still arrives: each is looked at every few milliseconds. */
const KEPT_MOST = 32;
/** A join that does not stand by then will not. */
const JOIN_TIMEOUT_MS = 3_000;
/** While something is waited for. */
const LOOK_EVERY_MS = 20;
const LOOK_MOST_MS = 320;
/** An old subflow on a path that carries again is better than none, once nothing younger came for so long. */
const SETTLE_MS = 1_000;

interface SubflowsParts {
  readonly site: Site;
  readonly flows: ReadonlySet<Flow>;
  readonly nowMs: number;
  readonly sampler: Pick<Sampler, 'sample'>;
  readonly pathManager: PathManager;
  readonly post: (message: FromWorker) => void;
}

interface Decision {
  readonly paths: PeerPaths;
  readonly generation: number;
  readonly sinceMs: number;
}

export class Subflows {
  readonly #parts: SubflowsParts;
  readonly #decisions: (Decision | undefined)[] = [];
  readonly #localIds = new LocalIds();
  readonly #trouble = new JoinTrouble();
  readonly #told: ToldAddresses;
  #work: Flow[] = [];
  #done = 0;
  readonly #later = new Map<Flow, number>();
  #nextLaterAtMs = Number.POSITIVE_INFINITY;
  #calls = 0;
  readonly #kept = new Set<Flow>();

  constructor(parts: SubflowsParts) {
    this.#parts = parts;
    this.#told = new ToldAddresses(this.#localIds, (call) => this.#ask(call));
    this.useSite(parts.site);
  }

  useSite(site: Site): void {
    for (const uplink of site.uplinks) for (const { text } of uplink.addresses) this.#localIds.give(text);
  }

  usePaths(peers: readonly PeerPaths[]): void {
    const changed = new Set<number>();
    peers.forEach((paths, peer) => {
      const before = this.#decisions[peer];
      for (const { local } of paths.inner ?? []) this.#localIds.give(local.text);
      if (before && isSameDecision(before.paths, paths)) {
        this.#decisions[peer] = { ...before, paths };
        return;
      }
      this.#decisions[peer] = { paths, generation: (before?.generation ?? 0) + 1, sinceMs: this.#parts.nowMs };
      changed.add(peer);
      for (const path of paths.carry) this.#trouble.forget(pathIndexOf(peer, path));
    });
    if (changed.size === 0) return;
    const waiting = this.#work.slice(this.#done);
    // Also one that does not stand just now: it is looked at again when it does.
    for (const flow of waiting) flow.looksQueued = !changed.has(flow.peer);
    const active: Flow[] = [];
    const idle: Flow[] = [];
    for (const flow of this.#parts.flows) {
      if (!changed.has(flow.peer) || !flow.stands) continue;
      flow.looksQueued = true;
      (flow.isActive ? active : idle).push(flow);
    }
    this.#work = [...active, ...waiting.filter((flow) => !changed.has(flow.peer)), ...idle];
    this.#done = 0;
  }

  /** Something of this flow changed: it is looked at in the next turn. */
  look(flow: Flow): void {
    if (flow.looksQueued) return;
    flow.looksQueued = true;
    this.#work.push(flow);
  }

  /** The sampler misses one that was there. */
  gone(flow: Flow): void {
    if (flow.weDialled && flow.widened) this.look(flow);
  }

  /** The sampler sees one stand that was not there. Those that it replaces hold data which nobody will acknowledge for seconds. */
  came(flow: Flow): void {
    if (!flow.weDialled) this.look(flow);
  }

  /** Whether paths beside the one it was dialled over carry. */
  hasMore(flow: Flow): boolean {
    return this.#pathsOf(flow.peer).carry.some((path) => path !== flow.path && this.#canDial(flow.peer, path));
  }

  forget(flow: Flow): void {
    this.#kept.delete(flow);
    this.#later.delete(flow);
  }

  get hasWork(): boolean {
    return this.#done < this.#work.length;
  }

  nextAtMs(): number {
    return this.#nextLaterAtMs;
  }

  /** A turn's part of what is to be done. */
  run(nowMs: number): void {
    if (nowMs >= this.#nextLaterAtMs) this.#takeDue(nowMs);
    this.#calls = 0;
    for (let looks = 0; this.hasWork && looks < LOOKS_A_TURN && this.#calls < CALLS_A_TURN; looks++) {
      const flow = this.#work[this.#done++]!;
      flow.looksQueued = false;
      if (flow.stands && !flow.isPlain && !flow.isPinned) this.#reconcile(flow, nowMs);
    }
    if (this.hasWork || this.#work.length === 0) return;
    this.#work = [];
    this.#done = 0;
  }

  /** The table above. */
  #reconcile(flow: Flow, nowMs: number): void {
    const { upSinceMs, fellAtMs } = this.#pathsOf(flow.peer);
    const carry = this.#carryOf(flow);
    this.#later.delete(flow);
    if (carry.length === 0 || this.#parts.sampler.sample(flow) < 0) {
      this.#kept.delete(flow);
      return;
    }
    const { sinceMs } = this.#decisions[flow.peer] ?? { sinceMs: 0 };
    const staleUntilMs = flow.weDialled ? upSinceMs : fellAtMs.map((fellMs) => fellMs + 1);
    const isStale = (one: SubflowFigures) => one.bornAtMs < (staleUntilMs[one.path] ?? 0);
    const standing = flow.subflows.filter((one) => one.state === TCP_ESTABLISHED && this.#carries(flow, one));
    const young = standing.filter((one) => !isStale(one));
    const isSettled = nowMs - sinceMs > SETTLE_MS;
    const stands = young.length > 0 || (standing.length > 0 && (isSettled || !flow.weDialled));
    let isWaiting = false;
    let isKept = false;
    for (const one of flow.subflows) {
      if (!isLiving(one.state)) continue;
      const carries = this.#carries(flow, one);
      if (carries && !isStale(one)) continue;
      // What it had goes to the others: they must not be flooded now (send-window.ts).
      flow.isFlooding = false;
      flow.creditBytes = 0;
      const isReplaced = () => young.some((other) => other.bornAtMs >= (staleUntilMs[one.path] ?? 0));
      if (!carries && stands && !upSinceMs[one.path] && this.#keeps(flow, one, sinceMs, nowMs)) isKept = true;
      else if (carries ? isReplaced() : stands) this.#destroy(flow, one);
      else isWaiting ||= !carries || flow.weDialled;
    }
    let againAtMs = isWaiting ? nowMs + lookAgainMs(flow, nowMs - sinceMs) : Number.POSITIVE_INFINITY;
    if (isKept) againAtMs = Math.min(againAtMs, nowMs + KEPT_LOOK_MS);
    else if (this.#kept.delete(flow)) flow.heldUpUntilMs = 0;
    if (flow.weDialled && (flow.widened || isWaiting)) {
      flow.widened = true;
      for (const path of carry)
        if (this.#canDial(flow.peer, path)) againAtMs = Math.min(againAtMs, this.#join(flow, path, upSinceMs[path] ?? 0, nowMs));
    }
    if (flow.isForeign) {
      const { paths } = this.#parts.site.peers[flow.peer]!;
      const isAll = this.#told.tell(
        flow,
        carry.map((path) => paths[path]!),
      );
      if (!isAll) againAtMs = Math.min(againAtMs, nowMs + joinPauseMs(0));
    }
    if (againAtMs < Number.POSITIVE_INFINITY) this.#lookAt(flow, againAtMs);
  }

  #keeps(flow: Flow, one: SubflowFigures, sinceMs: number, nowMs: number): boolean {
    if (this.#kept.size >= KEPT_MOST && !this.#kept.has(flow)) return false;
    if (!stillArrives(flow, one, sinceMs, nowMs)) return false;
    this.#kept.add(flow);
    holdUp(flow, nowMs);
    return true;
  }

  /** Where the peer only comes from, there is nobody to call. */
  #canDial(peer: number, path: number): boolean {
    return this.#parts.site.peers[peer]!.paths[path]?.learned === false;
  }

  /** One path of a flow that should have a subflow on it. @returns when to look again. */
  #join(flow: Flow, path: number, upSinceMs: number, nowMs: number): number {
    const { generation } = this.#decisions[flow.peer] ?? { generation: 0 };
    let join = flow.joins?.find((one) => one.path === path);
    const there = flow.subflows.find((one) => one.path === path && one.bornAtMs >= upSinceMs && one.state <= TCP_SYN_SENT);
    const index = pathIndexOf(flow.peer, path);
    // For the peer it never stood: a middlebox took the option from the last packet of the handshake, or from what followed.
    const isUnproven = join?.hasStood === true && !join.isProven && join.generation === generation;
    if (isUnproven && there) return Number.POSITIVE_INFINITY;
    if (isUnproven) {
      join!.hasStood = false;
      this.#failed(flow, join!, 'reset as soon as they stand', nowMs);
    } else if (join?.hasStood || (join && !there && join.generation !== generation)) {
      if (join.hasStood) this.#trouble.forget(index);
      flow.joins = flow.joins!.filter((one) => one !== join);
      join = undefined;
    }
    if (there?.state === TCP_ESTABLISHED) return Number.POSITIVE_INFINITY;
    if (join && join.createdAtMs > 0) {
      const patienceMs = there ? JOIN_TIMEOUT_MS : goneAfterMs(flow);
      if (nowMs - join.createdAtMs < patienceMs) return join.createdAtMs + patienceMs;
      if (there) this.#destroy(flow, there);
      this.#failed(flow, join, there ? 'no answer' : 'refused', nowMs);
    }
    if (join?.failure && nowMs >= join.againAtMs) this.#blame(flow, join, join.failure, nowMs);
    // A pause from when it had others: the kernel gives a connection without any up after a minute.
    if (join && isCutOff(flow) && join.againAtMs < Number.POSITIVE_INFINITY)
      join.againAtMs = Math.min(join.againAtMs, nowMs + joinPauseMs(0));
    const notBeforeMs = Math.max(join?.againAtMs ?? 0, isCutOff(flow) ? 0 : this.#trouble.restsUntilMs(index));
    return nowMs < notBeforeMs ? notBeforeMs : this.#create(flow, join ?? newJoin(flow, path, generation), nowMs);
  }

  #create(flow: Flow, join: Join, nowMs: number): number {
    const { localAddress, peerAddress } = this.#endsOf(flow.peer, join.path);
    const id = this.#localIds.within(flow.firstLocal, localAddress);
    const answer = this.#ask((pathManager) => pathManager.createSubflow(flow.token, localAddress, id, peerAddress));
    if (answer === 'ok') {
      join.createdAtMs = nowMs;
      return nowMs + goneAfterMs(flow);
    }
    if (answer === 'ENOTCONN' || answer === 'EAGAIN') {
      const roundTripMs = Math.max(AGAIN_LEAST_MS, flow.subflows[0]?.rttMs ?? 0);
      join.againAtMs =
        join.tries < ENOTCONN_TRIES ? nowMs + Math.min(AGAIN_MOST_MS, roundTripMs * 2 ** join.tries) : Number.POSITIVE_INFINITY;
      join.tries++;
    } else if (answer === 'EINVAL') {
      join.againAtMs = Number.POSITIVE_INFINITY; // the connection is ending
    } else {
      this.#failed(flow, join, answer, nowMs);
      this.#blame(flow, join, answer, nowMs);
    }
    return join.againAtMs;
  }

  /** A connection that ends takes no more subflows, and its end may be on its way: the path is to blame only where the flow lives on. */
  #failed(flow: Flow, join: Join, why: string, nowMs: number): void {
    join.createdAtMs = 0;
    join.againAtMs = nowMs + joinPauseMs(isCutOff(flow) ? 0 : join.tries++);
    join.failure = why;
  }

  /** Of a flow that has nothing left the peer may know nothing any more: its host was started again. */
  #blame(flow: Flow, join: Join, why: string, nowMs: number): void {
    join.failure = undefined;
    if (flow.up?.hasEnded || flow.down?.hasEnded || isCutOff(flow)) return;
    if (this.#trouble.failed(pathIndexOf(flow.peer, join.path), nowMs))
      this.#parts.post({ kind: 'join-failed', peer: flow.peer, path: join.path, why });
  }

  /** Inside the packet lane, where the path's uplink strips MPTCP. */
  #endsOf(peer: number, path: number): Pick<Path, 'localAddress' | 'peerAddress'> {
    const inner = this.#pathsOf(peer).inner?.find((one) => one.path === path && one.isUsed);
    if (!inner) return this.#parts.site.peers[peer]!.paths[path]!;
    return { localAddress: inner.local, peerAddress: { address: inner.remote, port: inner.port } };
  }

  /** What it says does not matter: gone is gone, and the next sample shows what is there. */
  #destroy(flow: Flow, one: SubflowFigures): void {
    if (flow.isForeign) this.#told.takeBack(flow, one);
    this.#ask((pathManager) => pathManager.destroySubflow(flow.token, endOf(one.local), endOf(one.remote)));
  }

  #ask(call: (pathManager: PathManager) => PathManagerAnswer): PathManagerAnswer {
    this.#calls++;
    return call(this.#parts.pathManager);
  }

  /** A connection that stands ready, or is the main threads' own, stays off metered uplinks. Only its dialler keeps to that, or the two would quarrel. */
  #carryOf(flow: Flow): readonly number[] {
    const { carry, costly } = this.#pathsOf(flow.peer);
    if (!costly || flow.isUsers || !flow.weDialled) return carry;
    const free = carry.filter((path) => !costly.includes(path));
    return free.length > 0 ? free : carry;
  }

  /** Where only the uplink is known, it counts as long as any path over it carries. */
  #carries(flow: Flow, one: SubflowFigures): boolean {
    const carry = this.#carryOf(flow);
    if (!flow.weDialled && this.#isMadeSince(one, this.#pathsOf(flow.peer).fellAtMs[one.path] ?? 0)) return true;
    if (one.path < 0 || one.isExact) return one.path < 0 || carry.includes(one.path);
    const { paths } = this.#parts.site.peers[flow.peer]!;
    const { uplink } = paths[one.path]!;
    return carry.some((path) => paths[path]!.uplink.index === uplink.index);
  }

  /** An idle flow is seldom sampled: what stood on the path before that fell, and is met after, has heard nothing since. */
  #isMadeSince({ bornAtMs, lastAckAtMs }: SubflowFigures, fellAtMs: number): boolean {
    return bornAtMs > fellAtMs && lastAckAtMs > fellAtMs;
  }

  /** Before anybody has said which paths are alive, all of them are. */
  #pathsOf(peer: number): Pick<PeerPaths, 'carry' | 'costly' | 'upSinceMs' | 'fellAtMs' | 'inner'> {
    const known = this.#decisions[peer];
    return known ? known.paths : { carry: this.#parts.site.peers[peer]!.paths.map((path) => path.index), upSinceMs: [], fellAtMs: [] };
  }

  #lookAt(flow: Flow, atMs: number): void {
    this.#later.set(flow, atMs);
    this.#nextLaterAtMs = Math.min(this.#nextLaterAtMs, atMs);
  }

  /** Those due within a few milliseconds at once: with thousands of flows each walk of the list should be worth it. */
  #takeDue(nowMs: number): void {
    this.#nextLaterAtMs = Number.POSITIVE_INFINITY;
    for (const [flow, atMs] of this.#later) {
      if (atMs > nowMs + AGAIN_LEAST_MS / 2) this.#nextLaterAtMs = Math.min(this.#nextLaterAtMs, atMs);
      else {
        this.#later.delete(flow);
        this.look(flow);
      }
    }
  }
}

function newJoin(flow: Flow, path: number, generation: number): Join {
  const join: Join = { path, generation, tries: 0, createdAtMs: 0, hasStood: false, isProven: false, againAtMs: 0, failure: undefined };
  flow.joins = [...(flow.joins ?? []), join];
  return join;
}

/** It has nothing left to live on: it tries soon again, whatever others have seen of the path. */
function isCutOff({ subflows }: Flow): boolean {
  return !subflows.some(({ state }) => isLiving(state));
}

/** Often at first, when a round trip decides; then less and less. */
function lookAgainMs(flow: Flow, waitedMs: number): number {
  return Math.min(LOOK_MOST_MS, Math.max(LOOK_EVERY_MS, flow.subflows[0]?.rttMs ?? 0, waitedMs / 2));
}

/** By then a join was answered, whatever the path; a refused one has left no trace. */
function goneAfterMs(flow: Flow): number {
  return Math.min(JOIN_TIMEOUT_MS, Math.max(250, 4 * (flow.subflows[0]?.rttMs ?? 0)));
}

function isSameDecision(one: PeerPaths, other: PeerPaths): boolean {
  return (
    one.carry.length === other.carry.length &&
    one.carry.every((path) => other.carry.includes(path) && (one.upSinceMs[path] ?? 0) === (other.upSinceMs[path] ?? 0)) &&
    String(one.costly) === String(other.costly) &&
    // Also of a path that does not carry: what the peer made there is gone.
    other.fellAtMs.every((fellAtMs, path) => fellAtMs === (one.fellAtMs[path] ?? 0))
  );
}

function endOf({ bytes, port }: SocketAddress): SubflowEnd {
  return { address: addressFromBytes(bytes), port };
}
