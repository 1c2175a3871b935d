/** The site of a daemon that runs: the configuration joined again with what the host has, each time that changed. */
import type { Config } from '../config/types.ts';
import { type Learned, withLearned } from './append-paths.ts';
import type { HostFacts } from './facts.ts';
import { resolveSite } from './resolve.ts';
import type { Path, Site, Uplink } from './types.ts';

export class LiveSite {
  #config: Config;
  #site: Site;

  /** @throws BraidErrors what keeps the daemon from starting. */
  constructor(config: Config, facts: HostFacts) {
    this.#config = config;
    this.#site = resolveSite(config, facts);
  }

  get now(): Site {
    return this.#site;
  }

  /** @returns what changed, in words; empty: nothing did, and `now` is the same object. */
  refresh(facts: HostFacts): string[] {
    const before = this.#site;
    const after = resolveSite(this.#config, facts, before);
    if (textOf(after) === textOf(before)) return [];
    this.#site = after;
    const words = after.uplinks.flatMap((uplink, i) => uplinkWords(before.uplinks[i]!, uplink));
    return words.length > 0 ? words : ['routes of an uplink changed'];
  }

  /** Peers came or went; all that were there keep their place. */
  useConfig(config: Config, facts: HostFacts): void {
    this.#config = config;
    this.#site = resolveSite(config, facts, this.#site);
  }

  /** @returns the path, or undefined where there is no room for it. */
  learn(learned: Learned): Path | undefined {
    const outcome = withLearned(this.#site, learned);
    if (outcome) this.#site = outcome.site;
    return outcome?.path;
  }
}

/** Everything that rooms below act on, compared as text: a site is small. */
function textOf(site: Site): string {
  return JSON.stringify(site, (_key, value: unknown) => (value instanceof Uint8Array ? undefined : value));
}

function uplinkWords(before: Uplink, after: Uplink): string[] {
  const had = before.addresses.map((one) => one.text);
  const has = after.addresses.map((one) => one.text);
  if (had.join() === has.join())
    return before.mtu === after.mtu ? [] : [`${after.device} of ${after.name} takes packets of ${after.mtu} bytes now, was ${before.mtu}`];
  if (has.length === 0) return [`${after.name} lost its address: ${after.reason}`];
  return [`${after.name} has ${has.join(', ')} now${had.length > 0 ? `, had ${had.join(', ')}` : ''}`];
}
