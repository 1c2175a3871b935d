/** What the rules of `[[peer.policy]]` say about uplinks, prefixes and each other. */
import { contains, type Prefix, parsePrefix } from '../wire/ip.ts';
import { entries, type FileDraft, type PolicyDraft, prefixes, value } from './draft.ts';
import type { KeyPath } from './locate.ts';
import type { Problem } from './problems.ts';
import { DSCP_NAMES, PROTOCOLS, splitPorts } from './schema.ts';

const WITH_PORTS: ReadonlySet<number> = new Set([PROTOCOLS.udp, PROTOCOLS.sctp]);
const TCP = 6;

export function policyProblems(file: FileDraft): Problem[] {
  const names = entries(file.uplink).flatMap(([, { name }]) => name ?? []);
  return entries(file.peer).flatMap(([i, peer]) => {
    const rules = entries(peer.policy);
    if (rules.length > 0 && peer.packets === 'off')
      return [{ ...value(['peer', i, 'packets'], '"off" leaves nothing for `policy` to decide'), hint: 'remove the rules, or set "udp"' }];
    return rules.flatMap(([j, rule]) => {
      const path = ['peer', i, 'policy', j];
      const covering = rules.find(([k, other]) => k < j && isWhole(other) && isWhole(rule) && covers(other, rule));
      return [
        ...ruleProblems(path, rule, names),
        ...outside(rule.from, file.lan, [...path, 'from'], 'our lan'),
        ...outside(rule.to, peer.lan, [...path, 'to'], "the peer's lan"),
        ...(covering
          ? [{ ...value(path, `never applies: policy[${covering[0]}] takes all of its packets`), hint: 'put the narrower rule first' }]
          : []),
      ];
    });
  });
}

function ruleProblems(path: KeyPath, rule: PolicyDraft, uplinks: readonly string[]): Problem[] {
  const found: Problem[] = [];
  const protocol = numberOf(rule.protocol);
  if (protocol === TCP)
    found.push({
      ...value([...path, 'protocol'], 'TCP is no packet of this lane'),
      hint: 'it travels in the stream lane, over all uplinks at once',
    });
  else if (rule.ports !== undefined && protocol !== undefined && !WITH_PORTS.has(protocol))
    found.push({ ...value([...path, 'ports'], `protocol ${rule.protocol} has no ports`), hint: 'only UDP and SCTP have' });
  if (rule.class === undefined && rule.uplink === undefined && isWhole(rule))
    found.push({ ...value(path, 'decides nothing'), hint: 'it needs `class` or `uplink`' });
  if (rule.uplink !== undefined && !uplinks.includes(rule.uplink))
    found.push({ ...value([...path, 'uplink'], `there is no uplink ${rule.uplink}`), hint: `there are ${uplinks.join(', ')}` });
  if (rule.uplink !== undefined && rule.class !== undefined && rule.class !== 'balanced')
    found.push({
      ...value([...path, 'class'], `"${rule.class}" chooses among all paths, \`uplink\` allows one`),
      hint: 'leave one of the two out',
    });
  return found;
}

/** No part of it was refused: what is missing was never there. */
function isWhole(rule: PolicyDraft): boolean {
  return Object.values(rule).every((part) => part !== undefined && !(Array.isArray(part) && part.includes(undefined)));
}

function outside(texts: PolicyDraft['from'], within: PolicyDraft['from'], path: KeyPath, whose: string): Problem[] {
  const lan = prefixes(within, []).map((one) => one.value);
  if (!within || lan.length < within.length) return []; // the lan itself is wrong; one problem is enough
  return prefixes(texts, path)
    .filter(({ value: prefix }) => !lan.some((one) => holds(one, prefix)))
    .map((at) => ({
      ...value(at.path, `${at.value.text} does not lie in ${whose}`),
      hint: `${whose} is ${lan.map(({ text }) => text).join(', ')}`,
    }));
}

/** Whether every packet that fits `later` fits `earlier` too. */
function covers(earlier: PolicyDraft, later: PolicyDraft): boolean {
  return (
    allWithin(prefixesOf(earlier.from), prefixesOf(later.from), holds) &&
    allWithin(prefixesOf(earlier.to), prefixesOf(later.to), holds) &&
    (earlier.protocol === undefined || numberOf(earlier.protocol) === numberOf(later.protocol)) &&
    allWithin(portsOf(earlier), portsOf(later), (one, other) => one.first <= other.first && one.last >= other.last) &&
    allWithin(dscpOf(earlier), dscpOf(later), (one, other) => one === other)
  );
}

/** No list at all holds everything. */
function allWithin<T>(outer: readonly T[] | undefined, inner: readonly T[] | undefined, contained: (one: T, other: T) => boolean): boolean {
  if (outer === undefined) return true;
  return inner?.every((other) => outer.some((one) => contained(one, other))) ?? false;
}

function holds(one: Prefix, other: Prefix): boolean {
  return one.family === other.family && one.length <= other.length && contains(one, other.bytes);
}

function prefixesOf(texts: PolicyDraft['from']): Prefix[] | undefined {
  return texts?.flatMap((text) => (text === undefined ? [] : (parsePrefix(text) ?? [])));
}

function portsOf({ ports }: PolicyDraft) {
  return ports?.flatMap((one) => (one === undefined ? [] : (splitPorts(one) ?? [])));
}

function dscpOf({ dscp }: PolicyDraft): (number | undefined)[] | undefined {
  return dscp?.map((one) => (typeof one === 'string' ? DSCP_NAMES[one] : one));
}

function numberOf(protocol: string | number | undefined): number | undefined {
  return typeof protocol === 'string' ? PROTOCOLS[protocol as keyof typeof PROTOCOLS] : protocol;
}
