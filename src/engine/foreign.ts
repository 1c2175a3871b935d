/**
 * Peers that speak Shadowsocks 2022 and nothing of ours: sing-box, shadowsocks-rust, shadowsocks-go. What is different with them:
 *
 *   near   the request's target is the destination itself, and no PROXY header goes with it
 *   far    the target is an address in our lan, or a name that the configuration gives one; whose flow it is nobody says, so it is connected
 *          from our own LAN address. Our reserved names are not for them
 *   end    a bare FIN. sing-box takes it for the end of both directions and throws the answer away, so a client's end is kept for a while:
 *
 *          client ends ──▶ kept ──▶ the peer has ended, too: both legs are closed, nothing was lost
 *                            └──▶ the peer has said nothing for QUIET_MS ──▶ passed on: the target may be waiting for it
 */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Target } from '../shadowsocks/address.ts';
import { UOT_NAMES } from '../shadowsocks/uot.ts';
import type { Peer, Site } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { addressFromBytes, endpointText, parseAddress } from '../wire/ip.ts';
import { refusal } from './allowed.ts';
import { Deadlines } from './deadlines.ts';
import type { Flow } from './flow.ts';

/** A server that answers at all begins by then; one that waits for the end of the request gets it so much later. */
const QUIET_MS = 5_000;

/** What we ask for to bring UDP. */
export const UOT_REQUEST: Target = { kind: 'name', name: UOT_NAMES.v2, port: 0 };
const MUX_NAME = 'sp.mux.sing-box.arpa';

/** What a flow of ours asks such a peer for. */
export function targetOf({ bytes, port }: SocketAddress): Target {
  return { kind: bytes.length === 4 ? 'ipv4' : 'ipv6', bytes, port };
}

/** Where a flow of such a peer leads, or what it did wrong. */
export function destinationOf(site: Site, peer: Peer, target: Target): SocketAddress | Fault {
  const destination = target.kind === 'name' ? namedBy(site, target.name, target.port) : { bytes: target.bytes, port: target.port };
  if (typeof destination === 'string') return destination;
  return refusal(site, peer, undefined, destination) ?? destination;
}

/** @returns which version of UDP over TCP is asked for; 0 for something else. */
export function uotVersionOf(target: Target): 0 | 1 | 2 {
  if (target.kind !== 'name') return 0;
  return target.name === UOT_NAMES.v2 ? 2 : target.name === UOT_NAMES.v1 ? 1 : 0;
}

/** For the log: what was asked for. */
export function targetText(target: Target): string {
  return target.kind === 'name' ? `${target.name}:${target.port}` : endpointText(addressFromBytes(target.bytes), target.port);
}

function namedBy({ names }: Site, text: string, port: number): SocketAddress | Fault {
  const name = text.toLowerCase().replace(/\.$/, '');
  if (name === MUX_NAME) return 'mux-refused';
  if (uotVersionOf({ kind: 'name', name, port }) > 0) return 'uot-refused';
  // Some programs write an address as a name.
  const address = parseAddress(name) ?? names.get(name);
  return address ? { bytes: address.bytes, port } : 'unknown-target';
}

interface KeptEndsParts {
  readonly nowMs: number;
  enqueue(flow: Flow): void;
}

/** The ends of clients that are not passed on yet. */
export class KeptEnds {
  readonly #loop: KeptEndsParts;
  readonly #quiet = new Deadlines<Flow>(QUIET_MS);
  readonly #heardBytes = new Map<Flow, number>();

  constructor(loop: KeptEndsParts) {
    this.#loop = loop;
  }

  /** After each turn of a flow whose client's end is to be kept. */
  moved(flow: Flow): void {
    if (!flow.keepsEnd || !flow.up!.sourceHasEnded || flow.up!.hasEnded) return;
    if (flow.down!.hasEnded) return this.#loop.enqueue(flow);
    if (this.#heardBytes.get(flow) === flow.rxBytes) return;
    this.#heardBytes.set(flow, flow.rxBytes);
    this.#quiet.add(flow, this.#loop.nowMs);
  }

  forget(flow: Flow): void {
    this.#heardBytes.delete(flow);
    this.#quiet.remove(flow);
  }

  nextAtMs(): number {
    return this.#quiet.nextAtMs();
  }

  seeWhatIsDue(nowMs: number): void {
    for (let flow = this.#quiet.take(nowMs); flow; flow = this.#quiet.take(nowMs)) {
      this.#heardBytes.delete(flow);
      flow.keepsEnd = false;
      this.#loop.enqueue(flow);
    }
  }
}
