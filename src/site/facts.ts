/**
 * What this host has: devices, their addresses, routes. Read once, as a value; only what joining a configuration with the host needs.
 *
 * The in-memory twin is a `HostFacts` written down (see resolve.test.ts). What others have claimed of marks, tables and ports is network/'s
 * business.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BraidError } from '../error.ts';
import { type Family, type IpAddress, type Prefix, parseAddress, prefixAround } from '../wire/ip.ts';

export interface HostFacts {
  readonly devices: readonly DeviceFacts[];
  readonly routes: readonly RouteFacts[];
}

export interface DeviceFacts {
  readonly name: string;
  /** Set up by the administrator; a cable need not be in it. */
  readonly up: boolean;
  readonly mtu: number;
  /** Global ones that may be a source, in the kernel's order: no link-local, tentative, deprecated or temporary address. */
  readonly addresses: readonly { readonly address: IpAddress; readonly prefixLength: number }[];
}

/** A unicast route of any table but `local`. */
export interface RouteFacts {
  /** 0.0.0.0/0 or ::/0 for a default route. */
  readonly destination: Prefix;
  readonly device: string;
  readonly gateway?: IpAddress;
  /** Name or number, as `ip` prints it. */
  readonly table: string;
  readonly metric: number;
}

/** `ip` with arguments to its standard output; injected, so that recorded answers of other versions can be replayed. */
type IpCommand = (args: readonly string[]) => Promise<string>;

/** @throws BraidError HOST_COMMAND where `ip` is missing or fails. */
export async function readHostFacts(ip: IpCommand = runIp): Promise<HostFacts> {
  const [addresses, routes4, routes6] = await Promise.all([
    ip(['-j', 'address', 'show']),
    ip(['-j', '-4', 'route', 'show', 'table', 'all']),
    ip(['-j', '-6', 'route', 'show', 'table', 'all']),
  ]);
  return {
    devices: json<IpDevice>(addresses).map(deviceFacts),
    routes: [
      ...json<IpRoute>(routes4).flatMap((route) => routeFacts(route, 4)),
      ...json<IpRoute>(routes6).flatMap((route) => routeFacts(route, 6)),
    ],
  };
}

const run = promisify(execFile);

async function runIp(args: readonly string[]): Promise<string> {
  try {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
    return (await run('ip', args, { env, timeout: 10_000, maxBuffer: 64 * 1024 * 1024 })).stdout;
  } catch (error) {
    const { code, stderr } = error as { readonly code?: string | number; readonly stderr?: string };
    if (code === 'ENOENT') throw new BraidError('HOST_COMMAND', 'there is no `ip` on this host', { hint: 'apt install iproute2' });
    throw new BraidError('HOST_COMMAND', `ip ${args.join(' ')}: ${stderr?.trim() || String(error)}`, { cause: error });
  }
}

interface IpDevice {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly addr_info?: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
    readonly tentative?: boolean;
    readonly dadfailed?: boolean;
    readonly deprecated?: boolean;
    readonly temporary?: boolean;
  }[];
}

interface IpRoute {
  readonly type?: string;
  readonly dst: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: { readonly host: string };
  readonly table?: string;
  readonly metric?: number;
  readonly nexthops?: readonly { readonly dev?: string; readonly gateway?: string; readonly via?: { readonly host: string } }[];
}

/** `ip -j` prints nothing at all, or `[{}]`, where there is nothing. */
function json<T extends object>(text: string): T[] {
  return text.trim() === '' ? [] : (JSON.parse(text) as T[]).filter((one) => Object.keys(one).length > 0);
}

function deviceFacts({ ifname, flags, mtu, addr_info: infos = [] }: IpDevice): DeviceFacts {
  const addresses = infos.flatMap((info) => {
    const address = parseAddress(info.local);
    const usable = info.scope === 'global' && !info.tentative && !info.dadfailed && !info.deprecated && !info.temporary;
    return address && usable ? [{ address, prefixLength: info.prefixlen }] : [];
  });
  return { name: ifname, up: flags.includes('UP'), mtu, addresses };
}

function routeFacts(route: IpRoute, family: Family): RouteFacts[] {
  if ((route.type !== undefined && route.type !== 'unicast') || route.table === 'local') return [];
  const destination = routePrefix(route.dst, family);
  if (!destination) return [];
  // Several next hops of one route count as that many routes: each tells of one device.
  return [route, ...(route.nexthops ?? [])].flatMap(({ dev, gateway, via }): RouteFacts[] => {
    const hop = parseAddress(gateway ?? via?.host ?? '');
    if (dev === undefined) return [];
    return [{ destination, device: dev, ...(hop && { gateway: hop }), table: route.table ?? 'main', metric: route.metric ?? 0 }];
  });
}

function routePrefix(text: string, family: Family): Prefix | undefined {
  const [head = '', length] = (text === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : text).split('/');
  const address = parseAddress(head);
  return address && prefixAround(address, length === undefined ? address.bytes.length * 8 : Number(length));
}
