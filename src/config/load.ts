/**
 * From the file to the typed value, or to everything that is wrong with it.
 *
 *     text ─▶ TOML ─▶ schema ─▶ values against each other ─▶ key files ─▶ { config, keys }
 *
 * A syntax error ends it, since nothing behind it can be trusted. Everything else is collected and reported in one go.
 */
import { readFileSync } from 'node:fs';
import { parse, TomlError } from 'smol-toml';
import { BraidError } from '../error.ts';
import type { Method } from '../site/types.ts';
import { type IpAddress, type Prefix, parseAddress, parsePrefix } from '../wire/ip.ts';
import { crossProblems } from './check.ts';
import type { FileDraft } from './draft.ts';
import { type KeyDraft, readKeys } from './keys.ts';
import { type KeyPath, locate } from './locate.ts';
import { type Problem, schemaProblems, syntaxHint, throwProblems, valueAt, whyUnreadable } from './problems.ts';
import { DEFAULTS, DSCP_NAMES, protocolNumber, type SiteFile, siteSchema, splitPeerAddress, splitPorts } from './schema.ts';
import type { AllowConfig, Config, PeerAddressConfig, PeerConfig, PolicyConfig, SiteKeys, UplinkConfig } from './types.ts';

/** @throws BraidError where the file cannot be read or is no TOML; BraidErrors with everything that is wrong in it. */
export function loadConfig(file: string): { readonly config: Config; readonly keys: SiteKeys } {
  return parseConfig(file, readText(file));
}

/** The same for a text that is at hand. @param file for places, and where relative key files start. */
export function parseConfig(file: string, text: string): { readonly config: Config; readonly keys: SiteKeys } {
  const data = parseToml(file, text);
  const places = locate(text);
  const outcome = siteSchema.safeParse(data);
  const issues = outcome.error?.issues ?? [];
  const draft = prune(data, schemaProblems(data, issues));
  const { keys, problems } = readKeys(file, draft as KeyDraft, DEFAULTS.method);
  throwProblems(file, places, [...schemaProblems(data, issues), ...crossProblems(draft as FileDraft), ...problems]);
  return { config: typed(file, outcome.data!, (path) => ({ file, ...places.value(path) })), keys };
}

/** The name alone, for a verb that works also where the rest of the file, or a key, is broken by now. */
export function readSiteName(file: string): string {
  const text = readText(file);
  const outcome = siteSchema.shape.site.safeParse(valueAt(parseToml(file, text), ['site']));
  if (outcome.success) return outcome.data;
  throw new BraidError('CONFIG_VALUE', 'site: expected the name of the site', { place: { file, ...locate(text).value(['site']) } });
}

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: '`braid init` writes a first one for this host, `braid join CODE` one with the other site in it',
  EACCES: 'become root',
};

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const hint = HINTS[(error as NodeJS.ErrnoException).code ?? ''];
    throw new BraidError('CONFIG_READ', `${file}: ${whyUnreadable(error)}`, { cause: error, ...(hint !== undefined && { hint }) });
  }
}

function parseToml(file: string, text: string): unknown {
  try {
    return parse(text, { unsafeKeyBehaviour: 'throw' });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // "Invalid TOML document: expected ...\n\n<the lines around>": the place says where.
    const message = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    const hint = syntaxHint(message);
    throw new BraidError('CONFIG_SYNTAX', message, {
      place: { file, line: error.line, column: error.column },
      ...(hint !== undefined && { hint }),
    });
  }
}

/** A copy with holes for the values that problems were found at, so that later checks neither stumble over them nor report them again. */
function prune(data: unknown, problems: readonly Problem[]): unknown {
  const copy = structuredClone(data);
  for (const { path } of problems) {
    const parent = valueAt(copy, path.slice(0, -1));
    const last = path.at(-1);
    if (last === undefined || parent === null || typeof parent !== 'object') continue;
    // A list keeps its length: positions are part of what is reported. A table keeps the key: it was written, and is not missing.
    (parent as Record<string | number, unknown>)[last] = undefined;
  }
  return copy;
}

function typed(file: string, site: SiteFile, place: (path: KeyPath) => ReturnType<Config['place']>): Config {
  return {
    file,
    site: site.site,
    lan: site.lan.map(prefixOf),
    listenPort: site.listen,
    uplinks: site.uplink.map(
      (uplink): UplinkConfig => ({
        name: uplink.name,
        device: uplink.device,
        addresses: listOf(uplink.address).map(addressOf),
        gateways: listOf(uplink.gateway).map(addressOf),
        ...(uplink.public !== undefined && { publicAddress: addressOf(uplink.public) }),
        role: uplink.role,
        metered: uplink.metered,
        weight: uplink.weight,
      }),
    ),
    peers: site.peer.map(typedPeer),
    names: new Map(Object.entries(site.names).map(([name, text]) => [name.toLowerCase(), addressOf(text)])),
    network: {
      mark: site.network.mark,
      mask: site.network.mask,
      tableBase: site.network.table_base,
      rulePreference: site.network.rule_preference,
      tproxyPort: site.network.tproxy_port,
      nexthopBase: site.network.nexthop_base,
      ...(site.network.inner_addresses !== 'off' && { innerPrefix: prefixOf(site.network.inner_addresses) }),
    },
    logFlows: site.log.flows,
    place,
  };
}

function typedPeer(peer: SiteFile['peer'][number]): PeerConfig {
  const lan = peer.lan.map(prefixOf);
  const rules = peer.allow.length > 0 ? peer.allow : [{}];
  return {
    site: peer.site,
    kind: peer.kind,
    method: peer.method satisfies Method,
    lan,
    addresses: peer.addresses.map((text): PeerAddressConfig => {
      const { host, port } = splitPeerAddress(text)!;
      return { address: addressOf(host), ...(port !== undefined && { port }) };
    }),
    pairing: peer.pairing,
    transport: peer.transport,
    snat: peer.snat,
    // Only two Braids understand each other's datagrams.
    packets: peer.transport === 'ecmp' || (peer.kind === 'shadowsocks' && peer.packets === 'udp') ? 'off' : peer.packets,
    policy: peer.policy.map(typedPolicy),
    allow: rules.map(
      (rule: SiteFile['peer'][number]['allow'][number]): AllowConfig => ({
        from: rule.from?.map(prefixOf) ?? lan,
        ...(rule.to && { to: rule.to.map(prefixOf) }),
        ports: rule.ports?.map((range) => splitPorts(range)!) ?? [],
      }),
    ),
  };
}

function typedPolicy(rule: SiteFile['peer'][number]['policy'][number]): PolicyConfig {
  return {
    from: rule.from?.map(prefixOf) ?? [],
    to: rule.to?.map(prefixOf) ?? [],
    protocols: rule.protocol === undefined ? [] : [protocolNumber(rule.protocol)],
    ports: rule.ports?.map((range) => splitPorts(range)!) ?? [],
    dscps: rule.dscp?.map((one) => (typeof one === 'number' ? one : DSCP_NAMES[one]!)) ?? [],
    class: rule.class ?? 'balanced',
    ...(rule.uplink !== undefined && { uplink: rule.uplink }),
  };
}

function listOf(given: string | readonly string[] | undefined): readonly string[] {
  return given === undefined ? [] : typeof given === 'string' ? [given] : given;
}

// The schema has accepted these texts, so they parse.
const prefixOf = (text: string): Prefix => parsePrefix(text)!;
const addressOf = (text: string): IpAddress => parseAddress(text)!;
