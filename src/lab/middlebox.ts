/**
 * What a middlebox on the router of an uplink does to packets, as nft rules: the interferences that MPTCP and UDP meet in the wild.
 * Each kind is a table of its own, so that it can be switched while the lab runs.
 */
import { bareAddress, type UplinkSpec } from './topology.ts';
import { networkOf, routerAddresses } from './uplink-plan.ts';

export const MIDDLEBOXES = [
  'strip-syn',
  'strip-synack',
  'strip-join',
  'strip-established',
  'drop-syn',
  'mtu',
  'mtu-silent',
  'udp-block',
] as const;

/**
 * `strip-syn`, `strip-synack`   takes the MPTCP option out of SYNs, or out of the answers
 * `strip-join`                  out of joins only
 * `strip-established`           out of everything after the handshake
 * `drop-syn`                    drops SYNs that carry it
 * `mtu`, `mtu-silent`           lets so many bytes through (1,300) and says so by ICMP, or does not
 * `udp-block`                   drops UDP
 */
export type Middlebox = (typeof MIDDLEBOXES)[number];

const NARROW_MTU_BYTES = 1300;
/** IPv6 knows no less (RFC 8200). */
const LEAST_IPV6_MTU_BYTES = 1280;

const SYN = 'tcp flags & (syn | ack) == syn';
const SYNACK = 'tcp flags & (syn | ack) == (syn | ack)';
const STRIP = 'counter reset tcp option mptcp';
const TOO_BIG = ['icmp type destination-unreachable icmp code frag-needed counter drop', 'icmpv6 type packet-too-big counter drop'];

const FORWARD: Readonly<Partial<Record<Middlebox, readonly string[]>>> = {
  'strip-syn': [`${SYN} tcp option mptcp exists ${STRIP}`],
  'strip-synack': [`${SYNACK} tcp option mptcp exists ${STRIP}`],
  'strip-join': [`tcp flags & syn == syn tcp option mptcp subtype 1 ${STRIP}`],
  'strip-established': [`tcp flags & syn == 0 tcp option mptcp exists ${STRIP}`],
  'drop-syn': [`${SYN} tcp option mptcp exists counter drop`],
  'udp-block': ['meta l4proto udp counter drop'],
};

export function middleboxTable(kind: Middlebox): string {
  return `middlebox_${kind.replaceAll('-', '_')}`;
}

/** For `nft -f -` in the router's namespace; undefined where the kind needs no rules. */
export function middleboxRules(kind: Middlebox): string | undefined {
  const [hook, rules] = kind === 'mtu-silent' ? ['output', TOO_BIG] : ['forward', FORWARD[kind] ?? []];
  if (rules.length === 0) return undefined;
  return `table inet ${middleboxTable(kind)} { chain box { type filter hook ${hook} priority mangle;\n${rules.join('\n')}\n}\n}\n`;
}

/** `ip` arguments that narrow or widen the router's way on both sides; devices keep their MTU, or big packets would be lost on arrival. */
export function narrowRoutes(kind: Middlebox, uplink: UplinkSpec, on: boolean, mtuBytes = NARROW_MTU_BYTES): string[] {
  if (kind !== 'mtu' && kind !== 'mtu-silent') return [];
  const mtu = (bytes: number) => (on ? ` mtu ${bytes}` : '');
  return uplink.ends.flatMap((end) =>
    routerAddresses(end).map((address) =>
      address.includes(':')
        ? `-6 route replace ${networkOf(address)} dev ${end.site} proto kernel metric 256${mtu(Math.max(mtuBytes, LEAST_IPV6_MTU_BYTES))}`
        : `route replace ${networkOf(address)} dev ${end.site} proto kernel scope link src ${bareAddress(address)}${mtu(mtuBytes)}`,
    ),
  );
}
