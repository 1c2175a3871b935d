/**
 * Who has which port of this host already, as /proc/net lists it: a listener found there would make a start fail, or heartbeats stay away
 * from an uplink.
 */
import { existsSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { BraidError } from '../error.ts';
import type { Site } from '../site/types.ts';
import { addressFromBytes, type Family, type IpAddress } from '../wire/ip.ts';

export interface BoundPort {
  readonly protocol: 'TCP' | 'UDP';
  readonly family: Family;
  readonly address: IpAddress;
  readonly port: number;
}

const LISTEN = '0A';

export function readBoundPorts(): BoundPort[] {
  return (['tcp', 'tcp6', 'udp', 'udp6'] as const).flatMap((table) => {
    const file = `/proc/net/${table}`;
    // Without IPv6 in the kernel there is none.
    return existsSync(file) ? parseBoundPorts(table.startsWith('tcp') ? 'TCP' : 'UDP', readFileSync(file, 'utf8')) : [];
  });
}

/** @param text of /proc/net/tcp and the like; of TCP only listeners count. */
export function parseBoundPorts(protocol: BoundPort['protocol'], text: string): BoundPort[] {
  return text.split('\n').flatMap((line) => {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const [, digits, port] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local) ?? [];
    if (digits === undefined || port === undefined || (protocol === 'TCP' && state !== LISTEN)) return [];
    const bytes = addressBytes(digits);
    return [{ protocol, family: bytes.length === 4 ? 4 : 6, address: addressFromBytes(bytes), port: Number.parseInt(port, 16) } as const];
  });
}

/** The kernel prints each four bytes as one number of this machine. */
function addressBytes(digits: string): Uint8Array {
  const bytes = Buffer.from(digits, 'hex');
  return endianness() === 'LE' ? bytes.swap32() : bytes;
}

/** @returns a problem for each port of the site that somebody has, once. */
export function portProblems(site: Site, bound: readonly BoundPort[]): BraidError[] {
  const { listenPort, uplinks, network } = site;
  const ours = uplinks.flatMap(({ addresses }) => addresses);
  const families = new Set(ours.map(({ family }) => family));
  const isAny = ({ address }: BoundPort) => address.bytes.every((byte) => byte === 0);
  // A listener on :: has the IPv4 addresses, too, unless it says otherwise, which is not listed.
  const isOfUs = (one: BoundPort) => families.has(one.family) || (one.family === 6 && isAny(one));
  const tcp = bound.find((one) => one.protocol === 'TCP' && one.port === listenPort && isOfUs(one));
  const udp = bound.find(
    (one) =>
      one.protocol === 'UDP' &&
      one.port === listenPort &&
      isOfUs(one) &&
      (isAny(one) || ours.some(({ text }) => text === one.address.text)),
  );
  const lan = bound.find((one) => one.protocol === 'TCP' && one.port === network.tproxyPort && (isAny(one) || isLoopback(one.address)));
  return [
    ...(tcp ? [taken(tcp, 'ss -tlnp', 'listen')] : []),
    ...(udp ? [taken(udp, 'ss -ulnp', 'listen')] : []),
    ...(lan ? [taken(lan, 'ss -tlnp', 'network.tproxy_port')] : []),
  ];
}

function isLoopback({ text }: IpAddress): boolean {
  return text === '127.0.0.1' || text === '::1';
}

function taken({ protocol, family, address, port }: BoundPort, command: string, key: string): BraidError {
  const place = family === 6 ? `[${address.text}]:${port}` : `${address.text}:${port}`;
  return new BraidError('HOST_PORT_TAKEN', `${protocol} port ${port} expected to be free, got somebody at ${place}`, {
    hint: `${command} shows who; change ${key}, or stop that program`,
  });
}
