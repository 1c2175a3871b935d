/** A first `SITE.toml`, with a word to each value, and where a site's files are. */
import { tomlList } from '../config/peer-section.ts';
import type { Found, FoundUplink } from './discover.ts';

export const CONFIG_DIRECTORY = '/etc/braid';

export function identityKeyFile(site: string): string {
  return `${site}.identity.key`;
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
    ...withRemark(`device = "${device}"`, has),
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
