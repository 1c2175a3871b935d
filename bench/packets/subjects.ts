/** Who carries packets between the two LANs: Braid, the kernel alone, and what else a machine may have. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { addressOf, Braids, gatewaysOf, type Lab } from '../../src/lab/index.ts';
import type { Method } from '../../src/site/types.ts';
import { isReadable, onPath } from '../programs.ts';
import type { Skipped } from '../results.ts';

export interface PacketSubject {
  readonly name: string;
  readonly what: string;
  /** Has processes on the gateways, whose CPU time is its own. */
  readonly relays: boolean;
  readonly byDefault: boolean;
  readonly start: (lab: Lab) => Promise<void>;
}

const kernel: PacketSubject = {
  name: 'kernel',
  what: 'kernel forwarding, no VPN',
  relays: false,
  byDefault: true,
  start: async (lab) => lab.plainRoute(lab.topology.uplinks[0]!.name),
};

function braid(name: string, what: string, options: { method?: Method; program?: string }, byDefault: boolean): PacketSubject {
  return {
    name,
    what,
    relays: true,
    byDefault,
    start: async (lab) => {
      const braids = new Braids(lab, options);
      await braids.startAll();
    },
  };
}

/** @param directory a checkout with its `dist` built */
export function otherBraid(name: string, directory: string): PacketSubject {
  return braid(name, `Braid of ${directory}`, { program: join(directory, 'bin/braid') }, true);
}

const WIREGUARD_PORT = 51_820;
const READY_MS = 15_000;

function wireguardGo(program: string): PacketSubject {
  return {
    name: 'wireguard-go',
    what: "Debian's wireguard-go, MTU 1,420",
    relays: true,
    byDefault: true,
    start: async (lab) => {
      const gateways = gatewaysOf(lab);
      // Its sockets are named after the device, for the whole machine.
      const devices = gateways.map(() => `wg-${randomBytes(4).toString('hex')}`);
      const keys = await Promise.all(gateways.map(async (gateway) => (await lab.must(gateway, ['wg', 'genkey'])).trim()));
      const publicKeys = await Promise.all(
        keys.map(async (key) => (await lab.must(gateways[0], ['wg', 'pubkey'], { input: `${key}\n` })).trim()),
      );
      for (const [i, gateway] of gateways.entries()) {
        const [peer, device] = [1 - i, devices[i]!];
        const env = { LOG_LEVEL: 'verbose', WG_PROCESS_FOREGROUND: '1' };
        await lab.start(gateway, [program, '-f', device], { env }).waitFor(/UAPI listener started/, READY_MS);
        const file = join(lab.directory, `${device}.conf`);
        const lines = [
          ...['[Interface]', `PrivateKey = ${keys[i]}`, `ListenPort = ${WIREGUARD_PORT}`, '[Peer]', `PublicKey = ${publicKeys[peer]}`],
          ...['AllowedIPs = 0.0.0.0/0', `Endpoint = ${uplinkAddress(lab, peer)}:${WIREGUARD_PORT}`],
        ];
        writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
        await lab.must(gateway, ['wg', 'setconf', device, file]);
        await lab.must(gateway, ['ip', 'link', 'set', device, 'mtu', '1420', 'up']);
        await routeTo(lab, gateway, peer, device);
      }
    },
  };
}

const YARDSTICK_DEVICE = 'yardstick';

/** A TUN, AES-128-GCM and one UDP path in a hundred lines of JavaScript: `SCRIPT DEVICE LOCAL PEER`. */
function packetFfi(script: string): PacketSubject {
  return {
    name: 'packet-ffi',
    what: 'a minimal packet lane in JavaScript, one packet a call at the TUN',
    relays: true,
    byDefault: true,
    start: async (lab) => {
      for (const [i, gateway] of gatewaysOf(lab).entries()) {
        lab.start(gateway, [process.execPath, script, YARDSTICK_DEVICE, uplinkAddress(lab, i), uplinkAddress(lab, 1 - i)]);
        await lab.must(gateway, [
          'sh',
          '-ec',
          `i=0; until ip link set ${YARDSTICK_DEVICE} mtu 1440 up 2>/dev/null; do i=$((i + 1)); [ $i -lt 100 ]; sleep 0.1; done`,
        ]);
        await routeTo(lab, gateway, 1 - i, YARDSTICK_DEVICE);
      }
    },
  };
}

function uplinkAddress(lab: Lab, side: number): string {
  return addressOf(lab.topology.uplinks[0]!.ends[side]!.addresses);
}

async function routeTo(lab: Lab, gateway: string, peer: number, device: string): Promise<void> {
  for (const prefix of lab.topology.sites[peer]!.lan.filter((one) => !one.includes(':')))
    await lab.must(gateway, ['ip', 'route', 'replace', prefix, 'dev', device]);
}

interface PacketSubjects {
  readonly found: readonly PacketSubject[];
  /** A line for each that is not there. */
  readonly absent: readonly Skipped[];
}

export function packetSubjects(environment: NodeJS.ProcessEnv): PacketSubjects {
  const absent: Skipped[] = [];
  const found: PacketSubject[] = [
    kernel,
    braid('braid', 'this checkout, 2022-blake3-aes-128-gcm', {}, true),
    braid('braid-256', 'this checkout, 2022-blake3-aes-256-gcm', { method: '2022-blake3-aes-256-gcm' }, false),
    braid('braid-chacha', 'this checkout, 2022-blake3-chacha20-poly1305', { method: '2022-blake3-chacha20-poly1305' }, false),
  ];
  const programs = ['wireguard-go', 'wg'].map((name) => onPath(environment, name));
  if (programs.every((file) => file !== undefined)) found.push(wireguardGo(programs[0]!));
  else absent.push({ name: 'wireguard-go', why: 'no wireguard-go and wg on PATH (Debian: wireguard-go, wireguard-tools)' });
  const script = environment.BRAID_BENCH_PACKET_FFI;
  if (script !== undefined && isReadable(resolve(script))) found.push(packetFfi(resolve(script)));
  else absent.push({ name: 'packet-ffi', why: 'BRAID_BENCH_PACKET_FFI names no script that can be read' });
  return { found, absent };
}
