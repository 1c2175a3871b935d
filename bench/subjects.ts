/**
 * What is measured: Braid, and what every machine can have beside it. Yardsticks from outside the project are in yardsticks.ts.
 *
 * A subject is started in a lab nobody else has used, so that no one meets another's rules, ports in TIME_WAIT or route metrics.
 */
import { join } from 'node:path';
import { type Between, Braids, dialled, gatewaysOf, inKernelPaths, type Lab } from '../src/lab/index.ts';
import type { Method } from '../src/site/types.ts';
import { FAR_PORT, freshKey, gatewaySettings, NEAR_PORT, noJoins, privateFile, startRelays } from './recipe.ts';

export interface Subject {
  readonly name: string;
  readonly what: string;
  /** Has processes on the gateways, whose CPU time is its own. */
  readonly relays: boolean;
  /** Measured without being named. */
  readonly byDefault: boolean;
  /** Measured over shaped uplinks too without being named. */
  readonly shaped: boolean;
  /** Carries LAN traffic, so that wrk and nginx can be hosts. */
  readonly lan: boolean;
  /** Ours: its memory is measured too. */
  readonly braid?: true;
  readonly start: (lab: Lab) => Promise<Started>;
}

export interface Started {
  readonly between?: Between;
  /** In front of both ends of iperf3. */
  readonly wrapper?: readonly string[];
  /** Makes connections that come afterwards keep to one subflow; absent where they do anyway. */
  readonly withoutJoins?: () => Promise<void>;
}

const kernel: Subject = {
  name: 'kernel',
  what: 'kernel forwarding over one uplink, no VPN',
  relays: false,
  byDefault: true,
  shaped: true,
  lan: true,
  start: async (lab) => {
    lab.plainRoute(lab.topology.uplinks[0]!.name);
    return {};
  },
};

const mptcp: Subject = {
  name: 'mptcp',
  what: 'raw MPTCP between the gateways (mptcpize run iperf3), no LAN legs, no encryption',
  relays: false,
  byDefault: true,
  shaped: true,
  lan: false,
  start: async (lab) => {
    const [from, to] = gatewaysOf(lab);
    await gatewaySettings(lab);
    await inKernelPaths(lab);
    return { between: { from, to, address: dialled(lab) }, wrapper: ['mptcpize', 'run'] };
  },
};

/** shadowsocks-libev as Debian has it, its AEAD protocol (before 2022), made to speak MPTCP from outside. */
function libev(method: string, byDefault: boolean): Subject {
  return {
    name: `libev-${/\d+/.exec(method)}`,
    what: `Debian's shadowsocks-libev over mptcpize, ${method}`,
    relays: true,
    byDefault,
    shaped: byDefault,
    lan: true,
    start: async (lab) => {
      const common = { password: freshKey(16), method, timeout: 600, no_delay: true, mode: 'tcp_only' };
      const far = privateFile(lab, 'ss-server.json', { ...common, server: '0.0.0.0', server_port: FAR_PORT });
      const near = privateFile(lab, 'ss-redir.json', {
        ...common,
        server: dialled(lab),
        server_port: FAR_PORT,
        local_address: '0.0.0.0',
        local_port: NEAR_PORT,
        tcp_tproxy: true,
      });
      await startRelays(lab, {
        near: { argv: ['mptcpize', 'run', 'ss-redir', '-T', '-c', near] },
        far: { argv: ['mptcpize', 'run', 'ss-server', '-c', far] },
      });
      return { withoutJoins: () => noJoins(lab) };
    },
  };
}

function braid(name: string, what: string, options: { method?: Method; program?: string; byDefault: boolean }): Subject {
  const { byDefault, ...rest } = options;
  return {
    name,
    what,
    relays: true,
    byDefault,
    shaped: byDefault,
    lan: true,
    braid: true,
    start: async (lab) => {
      const braids = new Braids(lab, rest);
      await braids.startAll();
      return {};
    },
  };
}

/** @param directory a checkout with its `dist` built */
export function otherBraid(name: string, directory: string): Subject {
  return braid(name, `Braid of ${directory}`, { program: join(directory, 'bin/braid'), byDefault: true });
}

export const SUBJECTS: readonly Subject[] = [
  kernel,
  mptcp,
  libev('aes-128-gcm', true),
  libev('aes-256-gcm', false),
  braid('braid', 'this checkout, 2022-blake3-aes-128-gcm', { byDefault: true }),
  braid('braid-256', 'this checkout, 2022-blake3-aes-256-gcm', { method: '2022-blake3-aes-256-gcm', byDefault: false }),
  braid('braid-chacha', 'this checkout, 2022-blake3-chacha20-poly1305', {
    method: '2022-blake3-chacha20-poly1305',
    byDefault: false,
  }),
];
