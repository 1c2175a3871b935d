/**
 * A configuration that was read again, in the order that a running daemon has: a peer keeps its place for the daemon's life, because workers,
 * counters and sessions call it by its number. Who is gone leaves an empty place, who is new comes behind.
 *
 *   in both, same keys and method    ──▶ its place, with what the file says now
 *   in both, other keys or method    ──▶ revoked, and new
 *   only before                      ──▶ revoked
 *   only now                         ──▶ new
 */
import type { Secret } from '../crypto/secret.ts';
import type { Config, PeerConfig, PeerKeys, SiteKeys } from './types.ts';

export interface Loaded {
  readonly config: Config;
  readonly keys: SiteKeys;
}

export interface PeerChanges {
  /** By name; one with other keys is in both of the first two. */
  readonly added: readonly string[];
  readonly revoked: readonly string[];
  readonly changed: readonly string[];
  /** What else differs, as the file calls it: only a restart takes it. */
  readonly needRestart: readonly string[];
}

/** @returns what the daemon uses from now on: all but the peers as it was. */
export function arrange(before: Loaded, now: Loaded): Loaded & { readonly changes: PeerChanges } {
  const left = new Map(now.config.peers.map((peer, i) => [peer.site, { peer, keys: now.keys.peers[i]! }]));
  const added: string[] = [];
  const revoked: string[] = [];
  const changed: string[] = [];
  const peers: PeerConfig[] = [];
  const keys: PeerKeys[] = [];
  for (const [i, old] of before.config.peers.entries()) {
    const oldKeys = before.keys.peers[i]!;
    const found = old.revoked ? undefined : left.get(old.site);
    if (found && isSameCaller(old, oldKeys, found)) {
      left.delete(old.site);
      if (textOf(found.peer) !== textOf(old)) changed.push(old.site);
      peers.push(found.peer);
    } else {
      if (!old.revoked) revoked.push(old.site);
      peers.push({ ...old, lan: [], addresses: [], allow: [], revoked: true });
    }
    keys.push(oldKeys);
  }
  for (const { peer, keys: fresh } of left.values()) {
    added.push(peer.site);
    peers.push(peer);
    keys.push(fresh);
  }
  return {
    config: { ...before.config, peers },
    keys: { ...before.keys, peers: keys },
    changes: { added, revoked, changed, needRestart: needRestart(before, now) },
  };
}

function isSameCaller(old: PeerConfig, oldKeys: PeerKeys, { peer, keys }: { readonly peer: PeerConfig; readonly keys: PeerKeys }): boolean {
  const same = (one: Secret | undefined, other: Secret | undefined) => (one && other ? one.equals(other) : one === other);
  return (
    old.method === peer.method &&
    old.kind === peer.kind &&
    same(oldKeys.receive, keys.receive) &&
    same(oldKeys.send, keys.send) &&
    same(oldKeys.sendIdentity, keys.sendIdentity)
  );
}

/** Where the file calls it otherwise than we do. */
const NAMES: Readonly<Record<string, string>> = { listenPort: 'listen', uplinks: 'uplink', logFlows: 'log' };
const NOT_COMPARED: ReadonlySet<string> = new Set(['file', 'peers', 'place'] satisfies (keyof Config)[]);

function needRestart(before: Loaded, now: Loaded): string[] {
  const keys = [...new Set([...Object.keys(before.config), ...Object.keys(now.config)])] as (keyof Config)[];
  const differ = keys.filter((key) => !NOT_COMPARED.has(key) && textOf(before.config[key]) !== textOf(now.config[key]));
  const [one, other] = [before.keys.identity, now.keys.identity];
  const isSameIdentity = one && other ? one.equals(other) : one === other;
  return [...differ.map((key) => NAMES[key] ?? key), ...(isSameIdentity ? [] : ['identity_key'])];
}

function textOf(value: unknown): string {
  return JSON.stringify(value) ?? '';
}
