/**
 * The in-memory twin of a host's network state: understands the commands of steps.ts and the questions of host-state.ts, and refuses as the
 * kernel does (EEXIST, ESRCH, no such table). `snapshot` is everything a test can compare.
 */
import type { Family } from '../wire/ip.ts';
import type { Program, Runner, RunResult } from './runner.ts';

type Json = Record<string, unknown>;

export class MemoryHost implements Runner {
  readonly sysctls = new Map<string, string>();
  readonly tables = new Map<string, string>();
  readonly rules: Record<Family, Json[]> = { 4: [], 6: [] };
  readonly routes: Record<Family, Json[]> = { 4: [], 6: [] };
  /** Devices that are there and up; routes over others are refused. */
  readonly devices = new Set(['lo']);
  /** Those of them that are bridges, and the VLANs: name, and what each is on. */
  readonly bridges = new Set<string>();
  readonly vlans = new Map<string, string>();
  readonly nexthops = new Map<number, Json>();
  /** TUN devices that somebody made; in `devices` once they are up. */
  readonly tuns = new Map<string, { mtu: number; txqlen: number }>();
  /** What `nft -j list ruleset` answers. */
  ruleset = '{"nftables":[]}';
  /** Changes that the kernel will not take. */
  refuses: (what: string) => boolean = () => false;
  /** Called before each change; throw to be killed there. */
  beforeChange: (what: string) => void = () => undefined;
  /** Called after each change; throw to be killed there. */
  afterChange: (what: string) => void = () => undefined;

  snapshot(): unknown {
    const sorted = (list: readonly Json[]) => list.map((one) => JSON.stringify(Object.entries(one).sort())).sort();
    return {
      sysctls: Object.fromEntries(this.sysctls),
      tables: Object.fromEntries(this.tables),
      rules: [sorted(this.rules[4]), sorted(this.rules[6])],
      routes: [sorted(this.routes[4]), sorted(this.routes[6])],
      nexthops: sorted([...this.nexthops.values()]),
    };
  }

  readSysctl(name: string): string | undefined {
    return this.sysctls.get(name);
  }

  writeSysctl(name: string, value: string): void {
    this.#change(`sysctl ${name}`, () => {
      this.sysctls.set(name, value);
      return ok();
    });
  }

  run(program: Program, args: readonly string[], stdin = ''): Promise<RunResult> {
    try {
      return Promise.resolve(program === 'nft' ? this.#nft(args, stdin) : this.#ip(args));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #nft(args: readonly string[], stdin: string): RunResult {
    const [verb, , , name = ''] = args;
    if (verb === '-j') return ok(this.ruleset);
    if (verb === 'list') return this.tables.has(name) ? ok(this.tables.get(name)) : refused('No such file or directory');
    if (verb === 'delete')
      return this.tables.has(name)
        ? this.#change(args.join(' '), () => void this.tables.delete(name))
        : refused('No such file or directory');
    const table = /^table inet (\S+) \{/m.exec(stdin)?.[1];
    if (table === undefined) return refused('syntax error');
    return this.#change('nft -f -', () => void this.tables.set(table, stdin.slice(stdin.indexOf(`table inet ${table} {`))));
  }

  #ip(args: readonly string[]): RunResult {
    if (args[0] === 'nexthop' || args[2] === 'nexthop') return this.#nexthop(args);
    if (args[0] === 'link') return this.#setLink(args);
    if (args.includes('link'))
      return ok(JSON.stringify([...new Set([...this.devices, ...this.tuns.keys()])].map((ifname) => this.#link(ifname))));
    const words = args.filter((word) => word !== '-j' && word !== '-N');
    const family: Family = words[0] === '-6' ? 6 : 4;
    const [, object, verb, ...rest] = words;
    const list = object === 'rule' ? this.rules[family] : this.routes[family];
    if (verb === 'show') return ok(JSON.stringify(list));
    const wanted = object === 'rule' ? parseRule(rest) : parseRoute(rest, family);
    const same = list.findIndex((one) => keyOf(one, object!) === keyOf(wanted, object!));
    if (verb === 'del')
      return same < 0 ? refused('RTNETLINK answers: No such process') : this.#change(args.join(' '), () => void list.splice(same, 1));
    if (wanted.nhid !== undefined && !this.nexthops.has(Number(wanted.nhid))) return refused('Nexthop id does not exist.');
    if (wanted.dev !== undefined && !this.devices.has(String(wanted.dev))) return refused(`Cannot find device "${wanted.dev}"`);
    if (verb === 'add' && same >= 0) return refused('RTNETLINK answers: File exists');
    return this.#change(args.join(' '), () => void list.splice(same < 0 ? list.length : same, same < 0 ? 0 : 1, wanted));
  }

  /** `nexthop add|replace id N via GATEWAY dev DEVICE`, or `... group A,W/B type resilient ...`; `nexthop del id N`. */
  #nexthop(args: readonly string[]): RunResult {
    if (args.includes('show')) return ok(JSON.stringify([...this.nexthops.values()]));
    const [, verb, , idText = '', kind, value = '', , device = ''] = args;
    const id = Number(idText);
    if (verb === 'del')
      return this.nexthops.has(id) ? this.#change(args.join(' '), () => this.#dropNexthop(id)) : refused('No such file or directory');
    if (verb === 'add' && this.nexthops.has(id)) return refused('RTNETLINK answers: File exists');
    if (kind === 'via') {
      if (!this.devices.has(device)) return refused(`Cannot find device "${device}"`);
      return this.#change(args.join(' '), () => void this.nexthops.set(id, { id, gateway: value, dev: device, scope: '253', flags: [] }));
    }
    const group = value.split('/').map((member) => {
      const [one, weight] = member.split(',').map(Number);
      return { id: one!, ...(weight !== undefined && { weight }) };
    });
    if (group.some((one) => !this.nexthops.has(one.id))) return refused('Invalid nexthop id.');
    const number = (word: string) => Number(args[args.indexOf(word) + 1]);
    const resilient_args = { buckets: number('buckets'), idle_timer: number('idle_timer'), unbalanced_timer: number('unbalanced_timer') };
    return this.#change(args.join(' '), () => void this.nexthops.set(id, { id, group, type: 'resilient', resilient_args, flags: [] }));
  }

  /** A group goes with its last member, and routes with their group. */
  #dropNexthop(id: number): void {
    this.nexthops.delete(id);
    for (const [other, { group }] of this.nexthops) {
      if (!Array.isArray(group)) continue;
      const left = group.filter((member: Json) => member.id !== id);
      if (left.length === 0) this.#dropNexthop(other);
      else this.nexthops.set(other, { ...this.nexthops.get(other)!, group: left });
    }
    for (const family of [4, 6] as const) this.routes[family] = this.routes[family].filter(({ nhid }) => nhid !== `${id}`);
  }

  /** `link set dev NAME [mtu N txqueuelen N] up|down` */
  #setLink(args: readonly string[]): RunResult {
    const [, , , name = '', ...words] = args;
    const tun = this.tuns.get(name);
    if (!tun) return refused(`Cannot find device "${name}"`);
    return this.#change(args.join(' '), () => {
      if (words.at(-1) === 'down') {
        this.devices.delete(name);
        for (const family of [4, 6] as const) this.routes[family] = this.routes[family].filter(({ dev }) => dev !== name);
        return;
      }
      this.tuns.set(name, { mtu: Number(words[1]), txqlen: Number(words[3]) });
      this.devices.add(name);
    });
  }

  #link(ifname: string): Json {
    const kind = this.bridges.has(ifname) ? 'bridge' : this.vlans.has(ifname) ? 'vlan' : this.tuns.has(ifname) ? 'tun' : undefined;
    const { mtu, txqlen } = this.tuns.get(ifname) ?? { mtu: 1500, txqlen: 1000 };
    const flags = this.devices.has(ifname) ? ['UP'] : [];
    return { ifname, flags, mtu, txqlen, link: this.vlans.get(ifname), ...(kind !== undefined && { linkinfo: { info_kind: kind } }) };
  }

  #change(what: string, change: () => unknown): RunResult {
    if (this.refuses(what)) return refused('RTNETLINK answers: Invalid argument');
    this.beforeChange(what);
    change();
    this.afterChange(what);
    return ok();
  }
}

function ok(stdout = ''): RunResult {
  return { code: 0, stdout, stderr: '' };
}

function refused(why: string): RunResult {
  return { code: 2, stdout: '', stderr: `Error: ${why}\n` };
}

/** A rule is its every selector; a route its destination, table and metric, as the kernel replaces them. */
function keyOf(one: Json, object: string): string {
  const words = object === 'rule' ? Object.entries(one).sort() : [one.dst, one.table ?? '254', one.metric ?? 0];
  return JSON.stringify(words);
}

const RULE_KEYS: Readonly<Record<string, string>> = { pref: 'priority', lookup: 'table', iif: 'iif', ipproto: 'ipproto' };

function parseRule(words: readonly string[]): Json {
  const rule: Json = { src: 'all' };
  for (let at = 0; at < words.length; at += 2) {
    const [word, value] = [words[at]!, words[at + 1]!];
    const [head, tail] = value.split('/');
    if (word === 'fwmark') Object.assign(rule, { fwmark: trimmed(head!), fwmask: trimmed(tail!) });
    else if (word === 'from' || word === 'to') {
      const side = word === 'from' ? 'src' : 'dst';
      Object.assign(rule, { [side]: head, ...(tail !== undefined && { [`${side}len`]: Number(tail) }) });
    } else if (word === 'ipproto') rule.ipproto = 'ipproto-6';
    else rule[RULE_KEYS[word]!] = word === 'pref' ? Number(value) : value;
  }
  return rule;
}

/** As `ip` prints numbers: without leading zeros. */
function trimmed(hex: string): string {
  return `0x${Number(hex).toString(16)}`;
}

const TYPES: Readonly<Record<string, string>> = { local: '2', unreachable: '7', throw: '9' };
const ROUTE_KEYS: Readonly<Record<string, string>> = {
  via: 'gateway',
  dev: 'dev',
  src: 'prefsrc',
  table: 'table',
  metric: 'metric',
  mtu: 'mtu',
  nhid: 'nhid',
};

function parseRoute(words: readonly string[], family: Family): Json {
  const type = TYPES[words[0]!];
  const [dst, ...rest] = type === undefined ? words : words.slice(1);
  const route: Json = { ...(type !== undefined && { type }), dst };
  for (let at = 0; at < rest.length; at += 2) route[ROUTE_KEYS[rest[at]!]!] = rest[at] === 'metric' ? Number(rest[at + 1]) : rest[at + 1];
  if (route.mtu !== undefined) {
    route.metrics = [{ mtu: Number(route.mtu) }];
    delete route.mtu;
  }
  if (family === 6) route.metric ??= 1024;
  // IPv6 shows `lo` for what leads nowhere; it is no device that could be missing.
  if (family === 6 && (type === '7' || type === '9')) route.dev = 'lo';
  return { ...route, flags: [] };
}
