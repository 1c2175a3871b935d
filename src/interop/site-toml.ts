/** A site's configuration with one peer as the text of a file, with a word to each value that an administrator may want to change. */
import type { Method } from '../site/types.ts';

export interface SiteDraft {
  readonly site: string;
  readonly lan: readonly string[];
  readonly listenPort: number;
  readonly uplinks: readonly UplinkDraft[];
  readonly peer: PeerDraft;
  /** Whether the peer's key is a user's below an identity key of this site. */
  readonly hasIdentity: boolean;
}

export interface UplinkDraft {
  readonly name: string;
  readonly device: string;
  /** At most one a family; absent: taken from the device. */
  readonly addresses?: readonly string[];
  readonly publicAddress?: string;
}

interface PeerDraft {
  readonly site: string;
  readonly kind: 'braid' | 'shadowsocks';
  readonly lan: readonly string[];
  readonly addresses: readonly string[];
  readonly method: Method;
  readonly pairing?: 'paired';
  readonly packets?: 'uot' | 'ss-udp' | 'off';
}

interface KeyFileNames {
  readonly receive: string;
  readonly send: string;
  readonly identity: string;
}

export function keyFileNames(site: string, peer: string): KeyFileNames {
  return { receive: `from-${peer}.key`, send: `to-${peer}.key`, identity: `${site}.key` };
}

/** @param origin where it comes from, for the first line. */
export function siteToml({ site, lan, listenPort, uplinks, peer, hasIdentity }: SiteDraft, origin: string): string {
  const files = keyFileNames(site, peer.site);
  return `${[
    `# ${origin}`,
    '# Every key is explained in docs/config.md; `braid check FILE` looks at the file and this host.',
    '',
    `site   = ${text(site)}`,
    `lan    = ${list(lan)}`,
    `listen = ${listenPort}   # TCP and UDP: what a firewall must let in, on every uplink`,
    ...(hasIdentity ? [`identity_key = { file = ${text(files.identity)} }`] : []),
    ...uplinks.flatMap(({ name, device, addresses, publicAddress }) => [
      '',
      '[[uplink]]',
      `name   = ${text(name)}`,
      `device = ${text(device)}`,
      ...(addresses
        ? [`address = ${addresses.length === 1 ? text(addresses[0]!) : list(addresses)}   # the device has more than this`]
        : []),
      ...(publicAddress === undefined ? [] : [`public = ${text(publicAddress)}   # what the world sees: NAT is in front of us`]),
    ]),
    '',
    '[[peer]]',
    `site        = ${text(peer.site)}`,
    ...(peer.kind === 'braid' ? [] : [`kind        = ${text(peer.kind)}   # remove this line, and packets, once Braid runs there`]),
    `lan         = ${list(peer.lan)}`,
    `addresses   = ${list(peer.addresses)}`,
    `receive_key = { file = ${text(files.receive)} }   # it dials us with this one`,
    `send_key    = { file = ${text(files.send)} }   # we dial it with this one`,
    `method      = ${text(peer.method)}`,
    ...(peer.pairing ? [`pairing     = ${text(peer.pairing)}   # first uplink with first address, second with second`] : []),
    ...(peer.packets ? [`packets     = ${text(peer.packets)}`] : []),
  ].join('\n')}\n`;
}

/** JSON's strings are TOML's basic strings, but for one character that neither names nor addresses have. */
function text(value: string): string {
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f');
}

function list(values: readonly string[]): string {
  return `[${values.map(text).join(', ')}]`;
}
