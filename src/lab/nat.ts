/** The three kinds of NAT box as nft rules. With conntrack, as in what people have at home: so errors by ICMP are translated too. */
import { bareAddress, type NatSpec } from './topology.ts';

/** For `nft -f -` in the NAT box's namespace. @param inside the gateway's own address */
export function natRules(nat: NatSpec, inside: string, outside: string): string[] {
  const address = bareAddress(nat.address);
  const chain = (name: string, type: string, hook: string, priority: string, rules: readonly string[]) =>
    `chain ${name} { type ${type} hook ${hook} priority ${priority}; ${rules.map((rule) => `${rule};`).join(' ')} }`;
  const into = `iifname "${outside}" ip daddr ${address}`;
  const forwards = nat.forwards.flatMap(({ publicPort, privatePort }) =>
    ['tcp', 'udp'].map((protocol) => `${into} ${protocol} dport ${publicPort} counter dnat to ${inside}:${privatePort}`),
  );
  const pre = { '1:1': [`${into} counter dnat to ${inside}`], ports: forwards, cgnat: [] }[nat.kind];
  return [
    'table ip nat_box {',
    chain('pre', 'nat', 'prerouting', 'dstnat', pre),
    chain('post', 'nat', 'postrouting', 'srcnat', [`oifname "${outside}" counter snat to ${address}`]),
    // Whoever guesses the inside address is not let in either.
    chain('guard', 'filter', 'forward', 'filter', [`iifname "${outside}" ct state new ct status & dnat == 0 counter drop`]),
    '}',
  ];
}
