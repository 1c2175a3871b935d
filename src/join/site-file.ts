/** A first `SITE.toml`, with a word to each value, and where a site's files are. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { tomlList } from '../config/peer-section.ts';
import { BraidError } from '../error.ts';
import type { Found, FoundUplink } from './discover.ts';

export const CONFIG_DIRECTORY = '/etc/braid';

export function identityKeyFile(site: string): string {
  return `${site}.identity.key`;
}

/** The sites that this host is already: every file that a site's could be, right or wrong. */
export function sitesThere(directory: string = CONFIG_DIRECTORY): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
      .map((name) => join(directory, name))
      .sort();
  } catch {
    return []; // whoever reads or writes one says why that cannot be
  }
}

/**
 * Which file a join is about: what was said, else the one that is there, however its site is called, else one called as the host.
 * @throws BraidError USAGE where there are several to choose from.
 */
export function fileToJoin(
  given: { readonly config?: string; readonly site?: string },
  ofHost: () => string,
  directory: string = CONFIG_DIRECTORY,
): string {
  if (given.config !== undefined) return given.config;
  if (given.site !== undefined) return join(directory, `${given.site}.toml`);
  const there = sitesThere(directory);
  if (there.length > 1)
    throw new BraidError('USAGE', `which site joins? ${directory} has ${there.map((file) => basename(file)).join(', ')}`, {
      hint: '--site NAME, or --config FILE',
    });
  return there[0] ?? join(directory, `${ofHost()}.toml`);
}

/**
 * Which file a first configuration goes to. A host that is a site already becomes another one only where that was said.
 * @throws BraidError CONFIG_WRITE
 */
export function fileToInit(
  given: { readonly config?: string; readonly site?: string },
  site: string,
  directory: string = CONFIG_DIRECTORY,
): string {
  const file = given.config ?? join(directory, `${site}.toml`);
  const [other] = given.config === undefined && given.site === undefined ? sitesThere(directory) : [];
  if (other === undefined || existsSync(file)) return file;
  throw new BraidError('CONFIG_WRITE', `this host is a site already: ${other}`, {
    hint: `for one more peer: \`braid peer add\`; --site ${site} makes one more site beside it`,
  });
}

/** @returns a note where a host becomes one more site. */
export function besideOthers(file: string, directory: string = CONFIG_DIRECTORY): string[] {
  const others = sitesThere(directory).filter((one) => one !== file);
  if (others.length === 0 || dirname(file) !== directory) return [];
  return [`${others.join(', ')} is there too: where both run, \`listen\` and all of [network] must differ`];
}

/** @param origin what wrote it. */
export function siteFile({ site, lan, uplinks }: Found, listen: number, origin: string): string {
  const behind = [...new Set(lan.flatMap(({ device }) => device ?? []))];
  const lines = [
    `# ${origin}. Every key is explained in docs/config.md;`,
    '# `braid check FILE` looks at the file and this host, `braid reload` takes over what changed of peers.',
    '',
    `site   = "${site}"`,
    ...withRemark(`lan    = ${tomlList(lan.map(({ prefix }) => prefix.text))}`, behind.length > 0 ? `behind ${behind.join(', ')}` : ''),
    ...withRemark(`listen = ${listen}`, 'TCP and UDP: what a firewall must let in, on every uplink'),
    ...withRemark(`identity_key = { file = "${identityKeyFile(site)}" }`, 'the other sites know it, and nobody else'),
    ...uplinks.flatMap((uplink) => ['', ...uplinkLines(uplink)]),
    '',
    '[log]',
    ...withRemark('flows = false', 'true: one line at the end of each flow'),
  ];
  return `${lines.join('\n')}\n`;
}

function uplinkLines({ name, device, addresses, gateways, publicAddress }: FoundUplink): string[] {
  const has = [...addresses.map(({ text }) => text), ...gateways.map(({ text }) => `next hop ${text}`)].join(', ');
  return [
    '[[uplink]]',
    `name   = "${name}"`,
    ...withRemark(`device = ${JSON.stringify(device)}`, has),
    publicAddress
      ? `public = "${publicAddress.text}"`
      : '# public  = "203.0.113.1"   where a router translates the address 1:1: what the world sees',
    '# role    = "backup"        carries only while no active one lives',
    '# metered = true            every byte costs',
  ];
}

function withRemark(line: string, remark: string): string[] {
  return [remark === '' ? line : `${line.padEnd(34)} # ${remark}`];
}
