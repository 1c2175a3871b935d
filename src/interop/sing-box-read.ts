/**
 * From sing-box's configuration to what it says about a pair of sites: which port and key we are dialled with, whom we dial with which, and
 * which prefixes lie there. Everything that is wrong is reported at once, with its place; whatever is left out is told, with the reason.
 *
 * A password never goes into a message.
 */
import type { KeyPath } from '../config/locate.ts';
import { pathText } from '../config/problems.ts';
import { METHODS } from '../crypto/methods.ts';
import { BraidErrors, type ErrorCode } from '../error.ts';
import type { Method } from '../site/types.ts';
import { parseAddress, prefixAround } from '../wire/ip.ts';
import { parseJson } from './json.ts';
import { isPublishedKey } from './published-keys.ts';
import { LOCAL_PROXIES, NO_TUNNEL, TAKES_UP } from './sing-box-fields.ts';
import { type Item, isTable, place, type Source, TableReader, typeWord } from './sing-box-tables.ts';

export interface SingBoxSite {
  readonly listenPort: number;
  readonly method: Method;
  /** In base64, as sing-box has them: with it the peer dials us. */
  readonly receiveKey: string;
  /** Of this site, where its inbound has a user: then `receiveKey` is the user's. */
  readonly identityKey?: string;
  /** With it we dial the peer; `IDENTITY:USER` where it has an identity key. */
  readonly sendKey: string;
  readonly server: string;
  readonly serverPort: number;
  /** Prefixes, canonical, sorted, each once. */
  readonly remoteLan: readonly string[];
  /** How UDP travels to a far sing-box. */
  readonly packets: 'uot' | 'ss-udp' | 'off';
  /** The TUN devices that sing-box makes: they are neither LAN nor uplink. */
  readonly tunDevices: readonly string[];
}

export interface Reading {
  readonly site: SingBoxSite;
  readonly leftOut: readonly string[];
  readonly warnings: readonly string[];
}

/** @param sources several are one configuration, joined as `sing-box -c A -c B` does. @throws BraidErrors with everything that is wrong. */
export function readSingBox(sources: readonly { readonly file: string; readonly text: string }[]): Reading {
  return new SingBoxReader(sources.map(({ file, text }) => ({ file, ...parseJson(file, text) }))).read();
}

const METHOD_NAMES = Object.keys(METHODS) as Method[];

class SingBoxReader extends TableReader {
  readonly #sources: readonly Source[];

  constructor(sources: readonly Source[]) {
    super();
    this.#sources = sources;
  }

  read(): Reading {
    const tops = this.#sources.flatMap((source): Item[] => {
      if (isTable(source.value)) return [{ source, path: [], table: source.value }];
      this.wrong({ source, path: [], table: {} }, [], `expected a configuration in braces, got ${typeWord(source.value)}`);
      return [];
    });
    for (const top of tops) this.fields(top, 'top');
    const inbound = this.#only('inbound', this.#inbounds(tops), tops[0]);
    const outbound = this.#only('outbound', this.#outbounds(tops), tops[0]);
    const lan = outbound && this.#remoteLan(tops, outbound);
    const inner = inbound && this.#inbound(inbound);
    const outer = outbound && this.#outbound(outbound);
    if (inner?.method && outer?.method && inner.method !== outer.method)
      this.wrong(
        outbound!,
        ['method'],
        `expected ${inner.method}, which the inbound has, got ${outer.method}`,
        'a pair of sites uses one method both ways',
      );
    if (this.errors.length > 0) throw new BraidErrors(this.errors);
    const keys = { listenPort: inner!.port, method: inner!.method!, receiveKey: inner!.key!, sendKey: outer!.key! };
    if ([keys.receiveKey, ...keys.sendKey.split(':')].some(isPublishedKey))
      this.warnings.push(
        'a key of this file is one of the two that the recipe publishes: everybody has it. Give both sites new ones before this carries anything (braid genkey)',
      );
    return {
      site: {
        ...keys,
        ...(inner!.identity !== undefined && { identityKey: inner!.identity }),
        server: outer!.server!,
        serverPort: outer!.port,
        remoteLan: lan!,
        packets: outer!.packets,
        tunDevices: this.#tunDevices(tops),
      },
      leftOut: [...this.leftOut].map(([why, names]) => `${[...new Set(names)].join(', ')}: ${why}`),
      warnings: this.warnings,
    };
  }

  #inbounds(tops: readonly Item[]): Item[] {
    return this.list(tops, 'inbounds').filter((item) => {
      const type = this.text(item, 'type');
      if (type === 'shadowsocks') return true;
      if (type === 'tun') this.fields(item, 'tun inbound');
      if (type !== undefined && TAKES_UP.has(type)) this.leave('Braid takes LAN traffic up by itself', pathText(item.path));
      else if (type !== undefined && LOCAL_PROXIES.has(type))
        this.leave('it serves programs on this host, and may go on in a sing-box of its own', pathText(item.path));
      else if (type !== undefined)
        this.wrong(item, ['type'], `protocol ${type} is not supported`, 'Braid speaks shadowsocks with the 2022 methods');
      return false;
    });
  }

  #outbounds(tops: readonly Item[]): Item[] {
    return this.list(tops, 'outbounds').filter((item) => {
      const type = this.text(item, 'type');
      if (type === 'shadowsocks') return true;
      if (type !== undefined && !NO_TUNNEL.has(type))
        this.wrong(item, ['type'], `protocol ${type} is not supported`, 'Braid speaks shadowsocks with the 2022 methods');
      return false;
    });
  }

  #only(what: 'inbound' | 'outbound', items: readonly Item[], top: Item | undefined): Item | undefined {
    const [first, second] = items;
    if (!first && top && this.errors.length === 0)
      this.wrong(
        top,
        [`${what}s`],
        `expected one ${what} of type shadowsocks, got none`,
        what === 'inbound' ? 'the peer could not dial us' : 'we could not dial the peer',
      );
    if (second)
      this.wrong(
        second,
        [],
        `expected one ${what} of type shadowsocks, got ${items.length}`,
        `Braid imports one pair of sites at a time: remove ${what === 'inbound' ? 'all but one inbound' : 'the outbounds to other sites'} from a copy of the file`,
      );
    return first;
  }

  #inbound(item: Item) {
    this.fields(item, 'shadowsocks inbound');
    const port = this.port(item, 'listen_port');
    const method = this.#method(item);
    if (item.table.destinations !== undefined)
      this.wrong(item, ['destinations'], 'a relay is not supported', 'import the site that it leads to');
    if (item.table.tcp_multi_path !== true) this.leave('Braid always uses MPTCP', `${pathText(item.path)}.tcp_multi_path`);
    if (item.table.users === undefined) return { port, method, key: this.#key(item, ['password'], method, 1) };
    const users = this.tables(item, 'users');
    if (users.length !== 1)
      this.wrong(
        item,
        ['users'],
        `expected one user, got ${users.length}`,
        'Braid imports one pair of sites at a time: leave only the peer in a copy of the file',
      );
    const user = users[0];
    for (const name of Object.keys(user?.table ?? {}))
      if (name !== 'name' && name !== 'password') this.unknown(user!, name, ['name', 'password']);
    return { port, method, identity: this.#key(item, ['password'], method, 1), key: user && this.#key(user, ['password'], method, 1) };
  }

  #outbound(item: Item) {
    this.fields(item, 'shadowsocks outbound');
    const method = this.#method(item);
    const plugin = item.table.plugin;
    if (plugin !== undefined && plugin !== '') this.wrong(item, ['plugin'], 'a plugin is not supported', 'both sites must do without');
    if (item.table.tcp_multi_path !== true) this.leave('Braid always uses MPTCP', `${pathText(item.path)}.tcp_multi_path`);
    return {
      port: this.port(item, 'server_port'),
      method,
      server: this.#server(item),
      key: this.#key(item, ['password'], method, 2),
      packets: this.#packets(item),
    };
  }

  #server(item: Item): string | undefined {
    const text = this.text(item, 'server');
    if (text === undefined) return undefined;
    const address = parseAddress(text.replace(/^\[(.*)\]$/, '$1'));
    if (!address)
      this.wrong(
        item,
        ['server'],
        `expected an address, got ${JSON.stringify(text)}`,
        'write the address of the peer: a path is pinned to one, and a name could not be looked up while the uplink is down',
      );
    if (address?.family === 6)
      this.warnings.push(
        `${place(item, ['server'])}: server is an IPv6 address: sing-box dials those without MPTCP and does not say so, so it used one uplink only. Braid uses all of them`,
      );
    return address?.text;
  }

  #packets(item: Item): SingBoxSite['packets'] {
    const { udp_over_tcp: uot, network } = item.table;
    if (uot === true || (isTable(uot) && uot.enabled === true)) {
      if (isTable(uot) && uot.version === 1)
        this.warnings.push(
          `${place(item, ['udp_over_tcp'])}: version 1 is not spoken towards a peer; Braid uses 2, which every sing-box since 1.2 understands`,
        );
      return 'uot';
    }
    return network === 'tcp' || (Array.isArray(network) && !network.includes('udp')) ? 'off' : 'ss-udp';
  }

  #remoteLan(tops: readonly Item[], outbound: Item): string[] {
    const tag = outbound.table.tag;
    const routes = tops.flatMap((top) => this.tables(top, 'route', true));
    for (const route of routes) this.fields(route, 'route');
    const rules = routes.flatMap((route) => this.tables(route, 'rules'));
    const leading = rules.filter((rule) => {
      this.fields(rule, 'route rule');
      return rule.table.outbound === tag && tag !== undefined;
    });
    for (const rule of leading) {
      if (rule.table.type === 'logical' || rule.table.invert === true)
        this.wrong(rule, [], 'a logical or inverted rule is not supported', 'write the prefixes of the far LAN in `ip_cidr`');
    }
    const found = leading.flatMap((rule) => this.#prefixes(rule));
    if (found.length === 0 && this.errors.length === 0)
      this.wrong(
        routes[0] ?? outbound,
        [],
        'no rule with `ip_cidr` leads to the shadowsocks outbound: which LAN is behind it?',
        'add { "ip_cidr": ["172.16.1.0/24"], "outbound": TAG } to route.rules',
      );
    return [...new Set(found)].sort();
  }

  #prefixes(rule: Item): string[] {
    const given = rule.table.ip_cidr ?? [];
    return (Array.isArray(given) ? given : [given]).flatMap((text, i) => {
      const [head = '', length] = typeof text === 'string' ? text.split('/') : [];
      const address = parseAddress(head);
      const bits = length === undefined ? (address?.bytes.length ?? 0) * 8 : /^\d{1,3}$/.test(length) ? Number(length) : -1;
      if (address && bits > 0 && bits <= address.bytes.length * 8) return [prefixAround(address, bits).text];
      const all =
        address && bits === 0 ? 'write what lies behind the peer: Braid joins sites, and is no way out into the world' : undefined;
      this.wrong(
        rule,
        Array.isArray(given) ? ['ip_cidr', i] : ['ip_cidr'],
        `expected the prefix of a LAN, got ${JSON.stringify(text)}`,
        all,
      );
      return [];
    });
  }

  #tunDevices(tops: readonly Item[]): string[] {
    const tuns = this.list(tops, 'inbounds').filter((item) => item.table.type === 'tun');
    return tuns.map(({ table }) => (typeof table.interface_name === 'string' ? table.interface_name : 'tun0'));
  }

  #method(item: Item): Method | undefined {
    const text = this.text(item, 'method');
    const found = METHOD_NAMES.find((name) => name === text);
    if (text !== undefined && !found)
      this.wrong(item, ['method'], `method ${text} is not supported`, `Braid knows ${METHOD_NAMES.join(', ')}; change it on both sites`);
    return found;
  }

  /** @returns the key in canonical base64, or undefined where it is none of the method's. */
  #key(item: Item, path: KeyPath, method: Method | undefined, mostParts: 1 | 2): string | undefined {
    const text = this.text(item, path[0] as string);
    if (text === undefined || method === undefined) return undefined;
    const { keyBytes, identityHeaders } = METHODS[method];
    const parts = text.split(':');
    const most = identityHeaders ? mostParts : 1;
    if (parts.length > most)
      return this.#badKey(item, path, 'KEY_READ', `expected ${most === 1 ? 'one key' : 'IDENTITY:USER'}, got ${parts.length} keys`);
    const bytes = parts.map((part) => Buffer.from(part, 'base64'));
    if (!parts.every((part) => /^[A-Za-z0-9+/]+={0,2}$/.test(part)))
      return this.#badKey(item, path, 'KEY_READ', 'expected a key in base64');
    const wrong = bytes.find((one) => one.length !== keyBytes);
    if (wrong)
      return this.#badKey(
        item,
        path,
        'KEY_LENGTH',
        `key for ${method} expected ${keyBytes} bytes, got ${wrong.length}`,
        'sing-box hashes a longer key on its inbound; make a new one for both sites: braid genkey',
      );
    return bytes.map((one) => one.toString('base64')).join(':');
  }

  #badKey(item: Item, path: KeyPath, code: ErrorCode, message: string, hint?: string): undefined {
    this.wrong(item, path, message, hint, code);
    return undefined;
  }
}
