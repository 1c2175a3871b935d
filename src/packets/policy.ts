/**
 * How a packet to a peer travels: the peer's `[[peer.policy]]` rules, compiled. The first that fits decides; behind them stand two of our
 * own: what is marked EF (a voice call) takes the quickest path, everything else stays with its flow on one.
 *
 * Only a datagram's first fragment has ports. So what was decided for it is remembered for the others; where they come before it, rules with
 * ports do not fit them.
 */
import type { PacketClass, Peer, PolicyRule, PortRange } from '../site/types.ts';
import { DESTINATION, type InnerPacket, SOURCE } from '../wire/inner-packet.ts';
import { Fragments } from './fragments.ts';
import { PrefixTable } from './prefix-table.ts';

/** DSCP "expedited forwarding", RFC 3246. */
const EXPEDITED = 46;

/** Made once for each rule: two decisions are the same where they are one object. */
export interface Decision {
  readonly class: PacketClass;
  /** The index of the uplink to use while it lives; -1: any. */
  readonly uplink: number;
}

const BALANCED: Decision = { class: 'balanced', uplink: -1 };
const QUICKEST: Decision = { class: 'lowest-latency', uplink: -1 };

interface CompiledRule {
  readonly from: PrefixTable | undefined;
  readonly to: PrefixTable | undefined;
  readonly protocols: readonly number[];
  readonly ports: readonly PortRange[];
  readonly dscps: readonly number[];
  readonly decision: Decision;
}

export class Policy {
  readonly #rules: readonly CompiledRule[];
  /** Which rule a first fragment met. Absent where no rule asks for ports: then each fragment tells by itself. */
  readonly #fragments: Fragments | undefined;

  constructor({ policy }: Pick<Peer, 'policy'>) {
    this.#rules = policy.map(compile);
    if (policy.some(({ ports }) => ports.length > 0)) this.#fragments = new Fragments();
  }

  decide(packet: InnerPacket, nowMs: number): Decision {
    const { isFragment } = packet;
    if (isFragment && this.#fragments && packet.isLaterFragment) {
      const remembered = this.#fragments.find(packet, nowMs);
      if (remembered >= 0) return this.#decisionOf(remembered, packet);
    }
    const rule = this.#firstThatFits(packet);
    if (isFragment && this.#fragments && !packet.isLaterFragment) this.#fragments.remember(packet, rule, nowMs);
    return this.#decisionOf(rule, packet);
  }

  /** @returns the rule's place; behind the last one where none fits. */
  #firstThatFits(packet: InnerPacket): number {
    const rules = this.#rules;
    let at = 0;
    while (at < rules.length && !fits(rules[at]!, packet)) at++;
    return at;
  }

  #decisionOf(rule: number, packet: InnerPacket): Decision {
    return this.#rules[rule]?.decision ?? (packet.dscp === EXPEDITED ? QUICKEST : BALANCED);
  }
}

function compile({ from, to, protocols, ports, dscps, class: packetClass, uplink = -1 }: PolicyRule): CompiledRule {
  return {
    from: from.length > 0 ? PrefixTable.ofPrefixes(from) : undefined,
    to: to.length > 0 ? PrefixTable.ofPrefixes(to) : undefined,
    protocols,
    ports,
    dscps,
    decision: { class: packetClass, uplink },
  };
}

function fits({ from, to, protocols, ports, dscps }: CompiledRule, packet: InnerPacket): boolean {
  if (protocols.length > 0 && !protocols.includes(packet.protocol)) return false;
  if (dscps.length > 0 && !dscps.includes(packet.dscp)) return false;
  if (ports.length > 0 && !(packet.hasPorts && (isWithin(ports, packet.destinationPort) || isWithin(ports, packet.sourcePort))))
    return false;
  if (from && !from.contains(packet.family, packet.addresses, SOURCE)) return false;
  return !to || to.contains(packet.family, packet.addresses, DESTINATION);
}

/** Whether `port` is in one of `ranges`. */
export function isWithin(ranges: readonly PortRange[], port: number): boolean {
  for (let i = 0; i < ranges.length; i++) if (port >= ranges[i]!.first && port <= ranges[i]!.last) return true;
  return false;
}
