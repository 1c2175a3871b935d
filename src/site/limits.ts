/** What there cannot be with a peer because of what it is, in words: one side alone does what one side can. `status` and `check` say so. */
import type { Peer } from './types.ts';

/** Of a Braid over MPTCP there is nothing to say. */
export function limitsOf({ kind, transport, packets }: Peer): readonly string[] {
  if (kind === 'shadowsocks') return [...FOREIGN_LIMITS, ...packetLimits(packets)];
  return transport === 'ecmp' ? ECMP_LIMITS : [];
}

const ECMP_LIMITS: readonly string[] = [
  'nothing is encrypted: the kernel forwards the packets as they are',
  'one flow uses one uplink, chosen by its addresses and ports: many flows share the uplinks, one is never faster than one of them',
  'flows on an uplink that dies go on over another within a second, those of other uplinks stay where they are',
  'no flows are counted here, and no `allow`, `policy` or `snat` applies: use the firewall',
];

/** What it takes two Braids for. */
const FOREIGN_LIMITS: readonly string[] = [
  "no heartbeats: a silent path is left after about 0.3 s where it carries our data, 0.5 s where it carries the other side's, and 3 to 6 s where it is idle",
  'its flows arrive without the address of their client',
];

function packetLimits(packets: Peer['packets']): readonly string[] {
  if (packets === 'ss-udp') return [UDP_LIMIT, ...SS_UDP_LIMITS];
  return [packets === 'uot' ? UDP_LIMIT : TCP_LIMIT];
}

const TCP_LIMIT = 'TCP only: other packets are answered "unreachable"';
const UDP_LIMIT = 'TCP and UDP only; its UDP arrives from the first address of its lan';
const SS_UDP_LIMITS: readonly string[] = [
  'a LAN socket uses one uplink for its UDP, and another one once that is dead, which only connections tell: where UDP alone is at work, after 3 to 6 s',
  'UDP that its side begins comes to the one address of ours that it dials, and is answered from there: while that uplink is dead there is none',
  'nobody tells whether UDP is blocked on the way',
];
