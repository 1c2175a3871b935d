/**
 * `braid import sing-box`: from the recipe's files to a configuration and key files that Braid starts with.
 *
 * One file, or several that sing-box would join, are this host's. Two whole configurations whose keys fit each other are both ends of a pair:
 * the one that dials an address of this host is the far one, and says more about us than our own does.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import type { KeyPath } from '../config/locate.ts';
import { pathText, whyUnreadable } from '../config/problems.ts';
import { type Named, reworded } from '../config/reword.ts';
import { BraidError, BraidErrors } from '../error.ts';
import type { HostFacts } from '../site/facts.ts';
import { derive, type Given } from './derive.ts';
import type { MptcpEndpoint } from './mptcp-endpoints.ts';
import { type Reading, readSingBox, type SingBoxSite } from './sing-box-read.ts';
import { keyFileNames, type SiteDraft, siteToml } from './site-toml.ts';
import { type NewFile, writeAllOrNothing } from './write-files.ts';

export interface Import {
  readonly site: string;
  readonly peer: string;
  readonly configFile: string;
  readonly written: readonly string[];
  readonly taken: readonly string[];
  readonly leftOut: readonly string[];
  readonly warnings: readonly string[];
  /** Whether the far end runs Braid, too, as far as was said. */
  readonly far: Given['far'];
  readonly tunDevices: readonly string[];
  readonly remoteLan: readonly string[];
}

interface ImportRequest {
  readonly files: readonly string[];
  readonly directory: string;
  readonly given: Given;
  readonly facts: HostFacts;
  readonly endpoints: readonly MptcpEndpoint[];
}

/** @throws BraidError, BraidErrors what is wrong; nothing is written then. */
export function importSingBox({ files, directory, given, facts, endpoints }: ImportRequest): Import {
  const { own, counterpart } = ownAndFar(files, facts);
  if (given.far === 'braid') refuseOneKey(own.site);
  const derived = derive(own.site, counterpart?.site, facts, endpoints, given);
  const { draft } = derived;
  const texts = filesOf(
    draft,
    own.site,
    `Made by \`braid import sing-box\` from ${files
      .map((file) => basename(file))
      .sort()
      .join(' and ')}.`,
  );
  tryOut(draft, given, texts);
  const written = writeAllOrNothing(texts.map(({ path, text }) => ({ path: join(directory, path), text })));
  return {
    site: draft.site,
    peer: draft.peer.site,
    configFile: join(directory, `${draft.site}.toml`),
    written,
    taken: [
      `port ${own.site.listenPort}, ${own.site.method}, both keys: as they were`,
      ...derived.taken,
      `LAN of the peer ${own.site.remoteLan.join(', ')}: from the rules`,
    ],
    leftOut: own.leftOut,
    warnings: [...own.warnings, ...missingDevices(given, facts)],
    far: given.far,
    tunDevices: own.site.tunDevices,
    remoteLan: own.site.remoteLan,
  };
}

/** Said for another host, perhaps: that is no mistake. */
function missingDevices({ uplinks = [] }: Given, { devices }: HostFacts): string[] {
  const missing = uplinks.filter((name) => !devices.some((device) => device.name === name));
  return missing.length > 0 ? [`--uplink: this host has no device ${missing.join(', ')}`] : [];
}

/** The files of a site as `[name, text]`; keys first, so that a configuration is never there without them. */
function filesOf(draft: SiteDraft, keys: Pick<SingBoxSite, 'receiveKey' | 'sendKey' | 'identityKey'>, origin: string): NewFile[] {
  const names = keyFileNames(draft.site, draft.peer.site);
  return [
    { path: names.receive, text: `${keys.receiveKey}\n` },
    { path: names.send, text: `${keys.sendKey}\n` },
    ...(keys.identityKey === undefined ? [] : [{ path: names.identity, text: `${keys.identityKey}\n` }]),
    { path: `${draft.site}.toml`, text: siteToml(draft, origin) },
  ];
}

function ownAndFar(files: readonly string[], facts: HostFacts): { readonly own: Reading; readonly counterpart?: Reading } {
  const sources = files.map((file) => ({ file, text: readText(file) }));
  if (sources.length === 2) {
    const [one, other] = sources.map((source) => wholeOrNothing(source)) as [Reading | undefined, Reading | undefined];
    if (one && other) {
      if (!belongTogether(one.site, other.site))
        throw new BraidError(
          'CONFIG_VALUE',
          `${files[0]} and ${files[1]} are two whole configurations whose keys, methods or ports do not fit each other`,
          {
            hint: "give the file of this host, and beside it the other site's of the same pair or none",
          },
        );
      const isHere = (reading: Reading) =>
        facts.devices.some((device) => device.addresses.some(({ address }) => address.text === reading.site.server));
      return isHere(one) && !isHere(other) ? { own: other, counterpart: one } : { own: one, counterpart: other };
    }
  }
  return { own: readSingBox(sources) };
}

function wholeOrNothing(source: { readonly file: string; readonly text: string }): Reading | undefined {
  try {
    return readSingBox([source]);
  } catch (error) {
    if (error instanceof BraidErrors || error instanceof BraidError) return undefined;
    throw error;
  }
}

function belongTogether(one: SingBoxSite, other: SingBoxSite): boolean {
  const dials = (from: SingBoxSite, to: SingBoxSite) =>
    from.sendKey === [to.identityKey, to.receiveKey].filter((key) => key !== undefined).join(':');
  return dials(one, other) && dials(other, one) && one.method === other.method;
}

/** Between two Braids a key says in which direction it is used. @throws BraidError CONFIG_VALUE */
function refuseOneKey({ receiveKey, sendKey }: SingBoxSite): void {
  if (sendKey.split(':').at(-1) !== receiveKey) return;
  throw new BraidError('CONFIG_VALUE', 'the inbound and the outbound have the same key, and two Braids need one for each direction', {
    hint: 'put a new one (braid genkey) into the outbound here and the inbound there, in copies of both files, and import those; --far sing-box, where the other end stays as it is, takes one key',
  });
}

/** Reads it as `braid run` would, in a place of its own: what is written must be right. */
function tryOut(draft: SiteDraft, given: Given, files: readonly NewFile[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'braid-import-'));
  try {
    writeAllOrNothing(files.map(({ path, text }) => ({ path: join(folder, path), text })));
    loadConfig(join(folder, `${draft.site}.toml`));
  } catch (error) {
    throw reworded(error, (path) => originOf(path, draft, given));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What has no file yet is named by where it comes from. */
function originOf([key, index, inner]: KeyPath, { uplinks }: SiteDraft, given: Given): Named {
  if (key === 'uplink' && typeof index === 'number')
    return given.uplinks ? { name: `--uplink ${given.uplinks[index]}` } : { name: `uplink ${uplinks[index]?.name}` };
  if (key === 'lan') return given.lan ? { name: '--lan' } : { name: 'the LAN of this host', hint: '--lan PREFIX says otherwise' };
  if (key === 'peer' && inner === 'lan') return { name: 'the LAN of the peer, from the rules' };
  if (key === 'peer' && inner === 'addresses') return { name: 'the addresses of the peer, from its server and this host' };
  return { name: `what the file says makes no configuration: ${pathText([key, index, inner].filter((step) => step !== undefined))}` };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new BraidError('CONFIG_READ', `${file}: ${whyUnreadable(error)}`, { cause: error });
  }
}
