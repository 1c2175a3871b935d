/**
 * Other people's tunnels and protocols between two hosts of a lab: GRE, WireGuard, ESP and whatever else has an IP protocol number. And
 * packets that no honest host sends.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './build.ts';
import type { LabProcess } from './netns.ts';
import type { GreTask } from './traffic/gre.ts';
import type { Injected, InjectTask } from './traffic/inject.ts';
import type { ProtocolResult, ProtocolTask } from './traffic/protocol.ts';
import { type Between, Ends, endsOf, lanAddress, lastEvent, PATIENCE_MS, program, STARTED } from './traffic.ts';

/** A tunnel that stands between two hosts. */
interface Tunnel extends AsyncDisposable {
  readonly device: string;
  /** Of `from` and of `to`, inside. */
  readonly addresses: readonly [string, string];
}

const GRE_DEVICE = 'gre-lab';
/** Outer header and GRE's own. */
const GRE_OVERHEAD_BYTES = 24;

/** GRE over IPv4 (RFC 2784), by a program of ours at both ends: no kernel module is needed. */
export async function greTunnel(lab: Lab, options: Between & { readonly pathMtu?: number } = {}): Promise<Tunnel> {
  const { from, to } = endsOf(lab.topology, options, 0);
  const mtu = (options.pathMtu ?? 1440) - GRE_OVERHEAD_BYTES;
  const inside = ['192.168.90.1', '192.168.90.2'] as const;
  const end = (here: string, there: string, i: 0 | 1): [string, string[]] => [
    here,
    program('gre', {
      local: lanAddress(lab.topology, here),
      remote: lanAddress(lab.topology, there),
      device: GRE_DEVICE,
      address: `${inside[i]}/24`,
      mtu,
    } satisfies GreTask),
  ];
  return tunnel(lab, GRE_DEVICE, inside, [end(from, to, 0), end(to, from, 1)], STARTED);
}

const WIREGUARD_PORT = 51_820;
const WIREGUARD_READY = /Device started|UAPI listener started/;

/** WireGuard by Debian's `wireguard-go`, for kernels without it. */
export async function wireguardTunnel(lab: Lab, options: Between = {}): Promise<Tunnel> {
  const { from, to } = endsOf(lab.topology, options, 0);
  const inside = ['192.168.91.1', '192.168.91.2'] as const;
  // Its sockets are named after the device, for the whole machine.
  const device = (i: 0 | 1) => `wg${i}-${randomBytes(3).toString('hex')}`;
  const devices = [device(0), device(1)] as const;
  const keys = await Promise.all([0, 1].map(async () => (await lab.must(from, ['wg', 'genkey'])).trim()));
  const publicKeys = await Promise.all(keys.map(async (key) => (await lab.must(from, ['wg', 'pubkey'], { input: `${key}\n` })).trim()));
  const hosts = [from, to] as const;
  const env = { LOG_LEVEL: 'verbose', WG_PROCESS_FOREGROUND: '1' };
  const programs: LabProcess[] = [];
  const stop = async () => void (await Promise.all(programs.map((one) => one.stop('SIGKILL'))));
  try {
    for (const i of [0, 1] as const) {
      const program = lab.start(hosts[i], ['wireguard-go', '-f', devices[i]], { env });
      programs.push(program);
      await program.waitFor(WIREGUARD_READY, PATIENCE_MS);
      const peer = (1 - i) as 0 | 1;
      const file = join(lab.directory, `${devices[i]}.conf`);
      mkdirSync(lab.directory, { recursive: true });
      writeFileSync(
        file,
        `[Interface]\nPrivateKey = ${keys[i]}\nListenPort = ${WIREGUARD_PORT}\n[Peer]\nPublicKey = ${publicKeys[peer]}\nAllowedIPs = ${inside[peer]}/32\nEndpoint = ${lanAddress(lab.topology, hosts[peer])}:${WIREGUARD_PORT}\n`,
        { mode: 0o600 },
      );
      await lab.must(hosts[i], ['wg', 'setconf', devices[i], file]);
      await lab.must(hosts[i], ['ip', '-batch', '-'], {
        input: `address add ${inside[i]}/24 dev ${devices[i]}\nlink set ${devices[i]} mtu 1360 up\n`,
      });
    }
    return { device: devices[0], addresses: inside, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function tunnel(
  lab: Lab,
  device: string,
  addresses: readonly [string, string],
  ends: readonly (readonly [string, readonly string[]])[],
  ready: RegExp,
): Promise<Tunnel> {
  const programs = ends.map(([node, argv]) => lab.start(node, argv));
  const stop = async () => void (await Promise.all(programs.map((one) => one.stop('SIGKILL'))));
  try {
    for (const program of programs) await program.waitFor(ready, PATIENCE_MS);
    return { device, addresses, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const ESP = 50;

interface ProtocolOptions extends Between {
  readonly protocol?: number;
  readonly packets?: number;
  readonly sizeBytes?: number;
  readonly intervalMs?: number;
}

/** Numbered packets of an IP protocol, there and back, over IPv4. */
export async function protocolExchange(lab: Lab, options: ProtocolOptions = {}): Promise<ProtocolResult> {
  const { from, to } = endsOf(lab.topology, options, 0);
  const { protocol = ESP, packets = 20, sizeBytes = 1_000, intervalMs = 5 } = options;
  const [near, far] = [lanAddress(lab.topology, from), lanAddress(lab.topology, to)];
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, program('protocol', { role: 'serve', local: far, remote: near, protocol } satisfies ProtocolTask));
    await server.waitFor(STARTED, PATIENCE_MS);
    const client = ends.start(
      from,
      program('protocol', { role: 'run', local: near, remote: far, protocol, packets, sizeBytes, intervalMs } satisfies ProtocolTask),
    );
    const { stdout } = await client.finished(packets * intervalMs + PATIENCE_MS);
    return lastEvent<ProtocolResult>(client, stdout, 'answered');
  });
}

/** Sends whole IP packets from a node, whatever they say. Only what our own kernel thinks about their destination can hold them up. */
export async function inject(
  lab: Lab,
  node: string,
  packets: readonly { readonly bytes: Buffer; readonly destination: string }[],
  packetsPerSecond = 1_000,
): Promise<Injected> {
  const task: InjectTask = {
    packets: packets.map(({ bytes, destination }) => ({ base64: bytes.toString('base64'), destination })),
    packetsPerSecond,
  };
  const [runtime, file] = program('inject', {});
  const stdout = await lab.must(node, [runtime!, file!], {
    input: JSON.stringify(task),
    timeoutMs: PATIENCE_MS + (packets.length * 1000) / packetsPerSecond,
  });
  return JSON.parse(stdout) as Injected;
}
