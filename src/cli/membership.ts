/** The verbs by which sites become peers, and stop being it. */
import { buildCommand, buildRouteMap } from '@stricli/core';
import { INVITE_LEAST_SECONDS, INVITE_MOST_SECONDS } from '../api/peers.ts';
import { alias, argument, config, flag, json, optionalSite, runDir, siteName, text, texts } from './parameters.ts';
import type { Cli } from './rooms.ts';
import { BRIEF } from './text.ts';
import type { InitFlags } from './verbs/init.ts';
import type { JoinFlags } from './verbs/join.ts';
import type { PeerFlags } from './verbs/peer.ts';

const whatTheHostSays = {
  site: { ...text('NAME', BRIEF.initSite), parse: siteName },
  uplink: texts('DEVICE', BRIEF.initUplink),
  lan: texts('PREFIX', BRIEF.initLan),
  public: texts('UPLINK=ADDRESS', BRIEF.initPublic),
  listen: { kind: 'parsed', parse: port, brief: BRIEF.initListen, placeholder: 'PORT', optional: true },
  config: { ...config, brief: BRIEF.initConfig, optional: true },
  run: flag(BRIEF.initRun),
  json,
  runDir,
} as const;

const expires = { kind: 'parsed', parse: seconds, brief: BRIEF.peerExpires, placeholder: 'TIME', default: '1h' } as const;

export const membershipVerbs = {
  init: buildCommand<InitFlags, [], Cli>({
    loader: async () => (await import('./verbs/init.ts')).default,
    parameters: { flags: { ...whatTheHostSays, expires, force: flag(BRIEF.initForce) }, aliases: alias },
    docs: { brief: BRIEF.init },
  }),
  join: buildCommand<JoinFlags, [string], Cli>({
    loader: async () => (await import('./verbs/join.ts')).default,
    parameters: {
      flags: whatTheHostSays,
      aliases: alias,
      positional: { kind: 'tuple', parameters: [argument('CODE', BRIEF.joinCode)] },
    },
    docs: { brief: BRIEF.join },
  }),
  reload: buildCommand<PeerFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/peer.ts')).reload,
    parameters: { flags: { json, runDir }, positional: { kind: 'tuple', parameters: [optionalSite] } },
    docs: { brief: BRIEF.reload },
  }),
};

export const peerRoutes = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.peer },
  routes: {
    list: buildCommand<PeerFlags, [string?], Cli>({
      loader: async () => (await import('./verbs/peer.ts')).list,
      parameters: { flags: { json, runDir }, positional: { kind: 'tuple', parameters: [optionalSite] } },
      docs: { brief: BRIEF.peerList },
    }),
    add: buildCommand<PeerFlags & { readonly expires: number }, [string?], Cli>({
      loader: async () => (await import('./verbs/peer.ts')).add,
      parameters: { flags: { expires, json, runDir }, positional: { kind: 'tuple', parameters: [optionalSite] } },
      docs: { brief: BRIEF.peerAdd },
    }),
    revoke: buildCommand<PeerFlags, [string, string?], Cli>({
      loader: async () => (await import('./verbs/peer.ts')).revoke,
      parameters: {
        flags: { json, runDir },
        positional: { kind: 'tuple', parameters: [argument('NAME', BRIEF.peerName), optionalSite] },
      },
      docs: { brief: BRIEF.peerRevoke },
    }),
  },
});

const UNIT_SECONDS: Readonly<Record<string, number>> = { m: 60, h: 3_600, d: 86_400 };

function seconds(given: string): number {
  const match = /^(\d{1,6})([mhd])$/.exec(given);
  const found = match ? Number(match[1]) * UNIT_SECONDS[match[2]!]! : Number.NaN;
  if (found >= INVITE_LEAST_SECONDS && found <= INVITE_MOST_SECONDS) return found;
  throw new Error('expected a time from 1m to 7d: 30m, 1h, 2d');
}

function port(given: string): number {
  if (/^\d{1,5}$/.test(given) && Number(given) >= 1 && Number(given) <= 65_535) return Number(given);
  throw new Error('expected a port, 1 to 65535');
}
