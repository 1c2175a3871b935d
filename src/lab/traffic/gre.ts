/**
 * One end of a GRE tunnel (RFC 2784, IPv4 in IPv4) in user space, for kernels that have none: a TUN device whose packets travel behind four
 * bytes of header as IP protocol 47. Task as JSON in argv; it runs until it is killed, and the device goes with it.
 */
import { spawnSync } from 'node:child_process';
import { openProtocol, openTun, readPacket, Waiter, writePacket } from './raw.ts';

export interface GreTask {
  readonly local: string;
  readonly remote: string;
  readonly device: string;
  /** Inside the tunnel, `ADDRESS/LENGTH`. */
  readonly address: string;
  readonly mtu: number;
}

const GRE = 47;
const HEADER = Buffer.from([0, 0, 0x08, 0x00]);

const { local, remote, device, address, mtu } = JSON.parse(process.argv[2] ?? '{}') as GreTask;
const tun = openTun(device);
const wire = openProtocol(local, remote, GRE);
const lines = [`address add ${address} dev ${device}`, `link set ${device} mtu ${mtu} up`];
const set = spawnSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n`, encoding: 'utf8' });
if (set.status !== 0) throw new Error(`ip: ${set.stderr}`);
process.stdout.write('{"event":"listening"}\n');

const waiter = new Waiter([tun, wire]);
for (;;) {
  waiter.wait(1_000);
  for (let packet = readPacket(tun); packet; packet = readPacket(tun)) writePacket(wire, Buffer.concat([HEADER, packet]));
  for (let packet = readPacket(wire); packet; packet = readPacket(wire)) {
    const behind = packet.subarray((packet[0]! & 15) * 4);
    if (behind.subarray(0, 4).equals(HEADER)) writePacket(tun, Buffer.from(behind.subarray(4)));
  }
}
