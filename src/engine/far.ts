/**
 * The side of the server: hears a caller out, learns from the key who it is and from the PROXY header whose connection it brings, and dials
 * the target as that client.
 *
 * A caller that proved nothing is never answered: its bytes are read and thrown away, and when its time is up it is reset, as one that
 * said nothing at all. So nobody can tell from our manners which byte was wrong, or whether any was.
 */
import { EAGAIN } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Target } from '../shadowsocks/address.ts';
import { type AcceptedRequest, REQUEST_MOST_BYTES, RequestOpener } from '../shadowsocks/request.ts';
import type { Fault } from '../status/counters.ts';
import { sameAddress } from '../wire/ip.ts';
import { parseProxyHeader } from '../wire/proxy-header.ts';
import { refusal } from './allowed.ts';
import { Held } from './blocks.ts';
import { Deadlines } from './deadlines.ts';
import type { Flow } from './flow.ts';
import { destinationOf, targetText, uotVersionOf } from './foreign.ts';
import { OpenPump } from './open-pump.ts';
import { FRONT_BYTES } from './scratch.ts';
import { SealPump } from './seal-pump.ts';
import { CONTROL_TARGET, FLOW_TARGET, PACKETS_TARGET, REVERSE_TARGET } from './targets.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** From accept to a complete request. The same for whoever is not authentic, whatever it sent. */
const CALL_TIMEOUT_MS = 10_000;
/** Callers that have proved nothing yet; the oldest makes room. */
const CALLERS_MOST = 4_096;
/** A LAN host that does not answer a SYN for this long is not there. */
const CONNECT_TIMEOUT_MS = 10_000;

/** What a caller has said so far. */
interface Call {
  readonly opener: RequestOpener;
  readonly heard: Held;
}

export class FarSide {
  readonly #loop: WorkerLoop;
  readonly #calls = new Map<Flow, Call>();
  readonly #calling = new Deadlines<Flow>(CALL_TIMEOUT_MS);
  readonly #connecting = new Deadlines<Flow>(CONNECT_TIMEOUT_MS);

  constructor(loop: WorkerLoop) {
    this.#loop = loop;
  }

  accepted(fd: number): void {
    const { sockets, site } = this.#loop;
    const local = sockets.localAddress(fd);
    if (!local || !site.uplinks.some((uplink) => uplink.addresses.some((address) => sameAddress(address.bytes, local.bytes)))) {
      this.#loop.fault('not-on-uplink');
      sockets.reset(fd);
      return;
    }
    if (this.#calling.size >= CALLERS_MOST) this.#refuse(this.#calling.oldest()!, 'too-many-callers');
    const flow = this.#loop.newFlow('far');
    flow.wanFd = fd;
    this.#calls.set(flow, { opener: new RequestOpener(this.#loop.codec), heard: new Held(this.#loop.pool) });
    this.#calling.add(flow, this.#loop.nowMs);
    this.#loop.own(flow, fd);
  }

  /** A turn of a flow that is not open yet. */
  step(flow: Flow): void {
    if (flow.phase === 'calling') this.#hear(flow);
    else if (flow.phase === 'draining') this.#drain(flow);
    else this.#connected(flow);
  }

  forget(flow: Flow): void {
    this.#endCall(flow);
    this.#calling.remove(flow);
    this.#connecting.remove(flow);
  }

  nextAtMs(): number {
    return Math.min(this.#calling.nextAtMs(), this.#connecting.nextAtMs());
  }

  seeWhatIsDue(nowMs: number): void {
    for (let flow = this.#calling.take(nowMs); flow; flow = this.#calling.take(nowMs))
      this.#refuse(flow, flow.phase === 'calling' ? 'silent-caller' : undefined);
    for (let flow = this.#connecting.take(nowMs); flow; flow = this.#connecting.take(nowMs)) {
      this.#loop.fault('connect-timeout');
      if (flow.client) this.#loop.notice({ what: 'connect-timeout', peer: flow.peer, client: flow.client, target: flow.target! });
      this.#loop.end(flow, 'the target did not answer', 'reset');
    }
  }

  #hear(flow: Flow): void {
    const { scratch, sockets } = this.#loop;
    const { opener, heard } = this.#calls.get(flow)!;
    while (flow.wanReadable) {
      const before = heard.length;
      if (before > 0) heard.slab.bytes.copy(scratch.slab.bytes, FRONT_BYTES, heard.start, heard.start + before);
      const n = sockets.read(flow.wanFd, scratch.slab, FRONT_BYTES + before, REQUEST_READ_BYTES - before);
      if (n === -EAGAIN) {
        flow.wanReadable = false;
        return;
      }
      if (n <= 0) return this.#callEnded(flow, n, before);
      const outcome = opener.open(scratch.slab, FRONT_BYTES, before + n);
      if (outcome.state === 'accepted') return this.#answer(flow, outcome, before + n);
      if (outcome.state === 'failed') return this.#startDraining(flow, outcome.reason);
      if (outcome.state === 'invited') return this.#handOver(flow, outcome.invitation, before + n);
      if (!heard.put(scratch.slab, FRONT_BYTES, before + n)) return this.#refuse(flow, 'memory-limit');
    }
    if (flow.failed) this.#refuse(flow, undefined);
  }

  /** A connect check comes and goes without a word: no fault. */
  #callEnded(flow: Flow, n: number, heardBytes: number): void {
    if (heardBytes > 0) this.#loop.fault('cut-short');
    this.#loop.end(flow, n < 0 ? errnoName(n) : 'the caller left', n < 0 ? 'reset' : 'close');
  }

  /** Who holds a code is no peer, and nothing it says concerns a flow: the main thread hears it out (join/). */
  #handOver(flow: Flow, invitation: number, heardBytes: number): void {
    const { scratch, sockets } = this.#loop;
    const fd = flow.wanFd;
    const heard = Uint8Array.from(scratch.slab.bytes.subarray(FRONT_BYTES, FRONT_BYTES + heardBytes));
    this.#loop.disown(fd);
    sockets.handOver(fd);
    flow.wanFd = -1;
    this.#loop.end(flow, 'a guest', 'close');
    this.#loop.post({ kind: 'guest', invitation, fd, heard });
  }

  #startDraining(flow: Flow, reason: Fault): void {
    this.#loop.fault(reason);
    const from = this.#loop.sockets.remoteAddress(flow.wanFd);
    const peer = this.#calls.get(flow)!.opener.untimelyPeer;
    // Strangers knock on every port of the internet: they are counted; a peer's key or address is worth a word.
    if (from && (peer !== undefined || this.#isPeers(from)))
      this.#loop.notice({ what: 'refused', fault: reason, from, ...(peer !== undefined && { peer }) });
    this.#endCall(flow);
    flow.phase = 'draining';
    this.#drain(flow);
  }

  #isPeers(from: SocketAddress): boolean {
    return this.#loop.site.peers.some(({ addresses }) => addresses.some(({ address }) => sameAddress(address.bytes, from.bytes)));
  }

  #drain(flow: Flow): void {
    const { scratch, sockets } = this.#loop;
    for (let reads = 0; flow.wanReadable && reads < 4; reads++) {
      const n = sockets.read(flow.wanFd, scratch.slab, FRONT_BYTES, REQUEST_READ_BYTES);
      if (n === -EAGAIN) flow.wanReadable = false;
      else if (n <= 0) return this.#loop.end(flow, 'the caller left', n < 0 ? 'reset' : 'close');
    }
    if (flow.wanReadable) this.#loop.enqueue(flow);
  }

  #answer(flow: Flow, request: AcceptedRequest, heardBytes: number): void {
    const loop = this.#loop;
    const { slab } = loop.scratch;
    // Revoked a moment ago, or so new that this worker has only its key yet.
    const peer = loop.site.peers[request.peer];
    if (!peer || peer.revoked) {
      request.opener.close();
      request.sealer.close();
      return this.#refuse(flow, 'unknown-user');
    }
    this.#endCall(flow);
    this.#calling.remove(flow);
    flow.peer = request.peer;
    flow.up = new SealPump(flow, loop, request.sealer, request.sealer);
    flow.down = new OpenPump(flow, loop, request.opener);
    const { payloadOffset: at, payloadBytes, target } = request;
    const behind = FRONT_BYTES + request.consumedBytes;
    const behindBytes = heardBytes - request.consumedBytes;
    if (peer.kind === 'shadowsocks') {
      if (!flow.down.preload(slab, at, payloadBytes, behind, behindBytes)) return this.#refuse(flow, 'memory-limit');
      flow.uotVersion = peer.packets === 'uot' ? uotVersionOf(target) : 0;
      if (flow.uotVersion === 0) return this.#bringForeign(flow, target);
      flow.isForeign = true;
      const fault = loop.streams.accept(flow);
      if (fault) this.#refuse(flow, fault);
      return;
    }
    const name = target.kind === 'name' ? target.name : '';
    const isStream = name === CONTROL_TARGET || (name === PACKETS_TARGET && peer.packets !== 'off');
    if (name !== FLOW_TARGET && name !== REVERSE_TARGET && !isStream) return this.#refuse(flow, 'unknown-target');
    if (!flow.down.preload(slab, at, payloadBytes, behind, behindBytes)) return this.#refuse(flow, 'memory-limit');
    if (name === FLOW_TARGET && payloadBytes === 0) return loop.pooled.parked.add(flow);
    if (name === FLOW_TARGET) return this.bring(flow, slab.bytes.subarray(at, at + payloadBytes));
    flow.isPinned = name === PACKETS_TARGET;
    const fault = isStream ? loop.streams.accept(flow) : loop.pooled.accept(flow, payloadBytes + behindBytes);
    if (fault) this.#refuse(flow, fault);
  }

  /** The peer brings a LAN connection: `said` begins with the PROXY header, and so does what the pump towards the LAN holds. */
  bring(flow: Flow, said: Uint8Array): void {
    const loop = this.#loop;
    loop.belongsTo(flow, flow.peer);
    const proxy = parseProxyHeader(said);
    if (!proxy) return this.#refuse(flow, 'bad-proxy-header');
    flow.client = proxy.source;
    flow.target = proxy.destination;
    const peer = loop.site.peers[flow.peer]!;
    const fault = refusal(loop.site, peer, proxy.source, proxy.destination);
    if (fault) return this.#refuse(flow, fault);
    flow.down!.heardOut(proxy.headerBytes);
    this.#connect(flow, peer.snat);
  }

  /** The same of a peer that says no more than where to (foreign.ts). */
  #bringForeign(flow: Flow, target: Target): void {
    const loop = this.#loop;
    loop.belongsTo(flow, flow.peer);
    const peer = loop.site.peers[flow.peer]!;
    const destination = destinationOf(loop.site, peer, target);
    if (typeof destination === 'string') {
      loop.notice({ what: 'refused-target', peer: flow.peer, fault: destination, target: targetText(target) });
      return this.#refuse(flow, destination);
    }
    // Whose flow it is only the peer knows: in logs the peer stands for it.
    flow.client = loop.sockets.remoteAddress(flow.wanFd);
    flow.target = destination;
    this.#connect(flow, true);
  }

  #connect(flow: Flow, snat: boolean): void {
    const { sockets, site } = this.#loop;
    const target = flow.target!;
    const own = snat ? site.lanAddresses.find((address) => address.bytes.length === target.bytes.length) : undefined;
    if (snat && !own) {
      this.#loop.fault('connect-failed');
      return this.#loop.end(flow, 'snat without a LAN address of this family', 'reset');
    }
    const fd = own ? sockets.dialFrom({ bytes: own.bytes, port: 0 }, target) : sockets.dialAs(flow.client as SocketAddress, target);
    if (fd < 0) {
      this.#loop.fault('connect-failed');
      return this.#loop.end(flow, errnoName(fd), 'reset');
    }
    flow.lanFd = fd;
    flow.phase = 'connecting';
    this.#loop.own(flow, fd);
    this.#connecting.add(flow, this.#loop.nowMs);
  }

  #connected(flow: Flow): void {
    const { sockets } = this.#loop;
    if (flow.failed && sockets.pendingError(flow.wanFd) > 0) return this.#loop.end(flow, 'the near side gave up', 'reset');
    if (!flow.failed && !flow.lanWritable && !flow.lanHungUp) return;
    const error = flow.failed || flow.lanHungUp ? sockets.pendingError(flow.lanFd) : 0;
    if (error > 0) {
      this.#loop.fault('connect-failed');
      return this.#loop.end(flow, errnoName(error), 'reset');
    }
    flow.failed = false;
    if (!flow.lanWritable) return;
    this.#connecting.remove(flow);
    this.#loop.opened(flow);
    if (flow.isForeign) this.#loop.near.mayWiden(flow);
  }

  #refuse(flow: Flow, fault: Fault | undefined): void {
    if (fault) this.#loop.fault(fault);
    this.#loop.end(flow, fault ?? 'reset', 'reset');
  }

  #endCall(flow: Flow): void {
    const call = this.#calls.get(flow);
    if (!call) return;
    call.opener.close();
    call.heard.clear();
    this.#calls.delete(flow);
  }
}

/** The longest request, and what may come right behind it. */
const REQUEST_READ_BYTES = REQUEST_MOST_BYTES + 8_192;
