/** A peer as it is written into a `SITE.toml` by a join: the section, and the two key files that it names. */
import { BraidError } from '../error.ts';
import type { Method } from '../site/types.ts';
import { DEFAULTS } from './schema.ts';

interface WrittenPeer {
  readonly site: string;
  readonly lan: readonly string[];
  /** As `addresses` has them; empty: it dials us. */
  readonly addresses: readonly string[];
  readonly method: Method;
  /** In base64; `send` as `IDENTITY:USER`. */
  readonly receiveKey: string;
  readonly sendKey: string;
}

/** A peer to be written into the file of `own`. */
export interface NewPeer {
  readonly site: string;
  /** A whole `[[peer]]` section. */
  readonly section: string;
  /** Name beside the configuration, and text. */
  readonly keyFiles: readonly (readonly [name: string, text: string])[];
}

export function newPeer(own: string, peer: WrittenPeer, today: string): NewPeer {
  const { site, lan, addresses, method, receiveKey, sendKey } = peer;
  const [toFile, fromFile] = peerKeyFiles(own, site);
  const lines = [
    `# Joined on ${today}. \`braid peer revoke ${site}\` takes it out again, its keys too.`,
    '[[peer]]',
    `site        = "${site}"`,
    `lan         = ${tomlList(lan)}`,
    addresses.length > 0 ? `addresses   = ${tomlList(addresses)}` : '# addresses = [...]      it cannot be dialled from here: it dials us',
    `receive_key = { file = "${fromFile}" }`,
    `send_key    = { file = "${toFile}" }`,
    ...(method === DEFAULTS.method ? [] : [`method      = "${method}"`]),
  ];
  return {
    site,
    section: `${lines.join('\n')}\n`,
    keyFiles: [
      [toFile, `${sendKey}\n`],
      [fromFile, `${receiveKey}\n`],
    ],
  };
}

/** Beside the configuration, named after both sites: several sites may share a directory. */
export function peerKeyFiles(own: string, peer: string): readonly [to: string, from: string] {
  return [`${own}.to-${peer}.key`, `${own}.from-${peer}.key`];
}

/** Its files would be written over, and removed again. @param text of the configuration. @throws BraidError CONFIG_EDIT */
export function refuseUsedFiles({ keyFiles }: NewPeer, text: string): void {
  const used = keyFiles.map(([name]) => name).find((name) => text.includes(name));
  if (used !== undefined)
    throw new BraidError('CONFIG_EDIT', `${used} is a key file of somebody else there`, { hint: 'give that one another name first' });
}

/** Of texts without quotes, backslashes and control characters. */
export function tomlList(texts: readonly string[]): string {
  return `[${texts.map((text) => `"${text}"`).join(', ')}]`;
}
