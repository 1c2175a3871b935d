/**
 * Asks the kernel, some flows a tick and every flow at its end, what each subflow carried, and adds the difference to its path's figures.
 * Bytes and round-trip times in `status` are these, never our own sums.
 */

import type { SubflowSnapshot } from '../kernel/mptcp-info.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Site } from '../site/types.ts';
import { type Counters, pathIndexOf } from '../status/counters.ts';
import { sameAddress } from '../wire/ip.ts';
import type { Flow, SubflowFigures } from './flow.ts';

/** At some 5 µs each this stays below 0.1 % of a core, and a hundred flows are seen each tick. */
const FLOWS_A_TICK = 100;

export interface SamplerParts {
  readonly site: Site;
  readonly sockets: Sockets;
  readonly counters: Counters;
  readonly flows: ReadonlySet<Flow>;
  readonly nowMs: number;
}

export class Sampler {
  readonly #parts: SamplerParts;
  #turn: Iterator<Flow> | undefined;

  constructor(parts: SamplerParts) {
    this.#parts = parts;
  }

  /** The next flows, round robin over all of them. */
  tick(): void {
    for (let i = 0; i < FLOWS_A_TICK; i++) {
      this.#turn ??= this.#parts.flows.values();
      const next = this.#turn.next();
      if (next.done) {
        this.#turn = undefined;
        return;
      }
      if (next.value.stands) this.sample(next.value);
    }
  }

  /** @returns the living subflows; -1 where this is no MPTCP connection (any more). */
  sample(flow: Flow): number {
    if (flow.isUsers) this.#parts.counters.addPeerBytes(flow.peer, flow.txBytes - flow.countedTxBytes, flow.rxBytes - flow.countedRxBytes);
    flow.countedTxBytes = flow.txBytes;
    flow.countedRxBytes = flow.rxBytes;
    const snapshot = this.#parts.sockets.mptcp(flow.wanFd);
    if (!snapshot) return -1;
    for (const known of flow.subflows) known.seen = false;
    for (const subflow of snapshot.subflows) this.#account(flow, subflow);
    this.#dropUnseen(flow);
    flow.subflowsMost = Math.max(flow.subflowsMost, snapshot.subflows.length);
    return snapshot.subflows.length;
  }

  /** The final sample: the flow's subflows leave the figures. @returns the most there were at once; a flow that was reset has none left. */
  last(flow: Flow): number {
    this.sample(flow);
    for (const known of flow.subflows) known.seen = false;
    this.#dropUnseen(flow);
    return Math.max(1, flow.subflowsMost);
  }

  #account(flow: Flow, { local, remote, rttMicroseconds, bytesAcked, bytesReceived }: SubflowSnapshot): void {
    const key = keyOf(local.bytes, local.port, remote.bytes, remote.port);
    let known = flow.subflows.find((one) => one.key === key);
    if (!known) {
      known = { key, path: this.#pathOf(flow, local.bytes, remote.bytes, remote.port), ackedBytes: 0, receivedBytes: 0, seen: true };
      flow.subflows.push(known);
      if (known.path >= 0) this.#parts.counters.addSubflows(known.path, 1);
    }
    known.seen = true;
    const moved = known.ackedBytes !== bytesAcked || known.receivedBytes !== bytesReceived;
    if (known.path >= 0 && moved) {
      this.#parts.counters.addPathBytes(known.path, grown(known.ackedBytes, bytesAcked), grown(known.receivedBytes, bytesReceived));
      if (rttMicroseconds > 0) this.#parts.counters.setPathRtt(known.path, rttMicroseconds / 1000, this.#parts.nowMs);
    }
    known.ackedBytes = bytesAcked;
    known.receivedBytes = bytesReceived;
  }

  #dropUnseen(flow: Flow): void {
    for (let i = flow.subflows.length - 1; i >= 0; i--) {
      const known: SubflowFigures = flow.subflows[i]!;
      if (known.seen) continue;
      if (known.path >= 0) this.#parts.counters.addSubflows(known.path, -1);
      flow.subflows.splice(i, 1);
    }
  }

  /** For what we dialled the port belongs to the path; a caller's port is any. */
  #pathOf(flow: Flow, local: Uint8Array, remote: Uint8Array, remotePort: number): number {
    const { paths } = this.#parts.site.peers[flow.peer]!;
    const exact = paths.findIndex(
      (path) =>
        sameAddress(path.localAddress.bytes, local) &&
        sameAddress(path.peerAddress.address.bytes, remote) &&
        (!flow.weDialled || path.peerAddress.port === remotePort),
    );
    if (exact >= 0) return pathIndexOf(flow.peer, exact);
    // A caller behind NAT shows an address that nobody configured: it came over this uplink all the same.
    const uplink = !flow.weDialled ? paths.findIndex((path) => sameAddress(path.localAddress.bytes, local)) : -1;
    return uplink >= 0 ? pathIndexOf(flow.peer, uplink) : -1;
  }
}

/** A subflow that was closed and opened again on the same ports counts from zero: what it had before stays counted. */
function grown(before: number, now: number): number {
  return now >= before ? now - before : now;
}

function keyOf(local: Uint8Array, localPort: number, remote: Uint8Array, remotePort: number): string {
  return `${local.join('.')}:${localPort} ${remote.join('.')}:${remotePort}`;
}
