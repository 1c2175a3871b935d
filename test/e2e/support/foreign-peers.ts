/**
 * Gateways that are no Braids: unmodified sing-box and shadowsocks-rust in a lab's namespace, set up as their users do. They are found on
 * PATH or where an environment variable says; nothing here builds or fetches them.
 */
import { randomBytes } from 'node:crypto';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { addressOf, type Lab, type LabProcess } from '../../../src/lab/index.ts';
import type { Method } from '../../../src/site/types.ts';

export interface ForeignSetup {
  readonly lab: Lab;
  readonly method: Method;
  /** It dials Braid with this, and is dialled with that. */
  readonly toBraid: string;
  readonly fromBraid: string;
  /** Its own identity key where it is dialled as one of several: then `fromBraid` is a user's. */
  readonly identity?: string;
  /** How it carries UDP; sing-box over its streams where nothing is said. */
  readonly packets?: 'uot' | 'ss-udp' | 'off';
}

/** @returns the program's path; undefined where there is none, and why is for the caller to print. */
export function findProgram(name: string, variable: string): string | undefined {
  const given = process.env[variable];
  const places = given ? [given] : (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Braid is berlin, the other program munich. */
const BRAID = 'berlin';
const FOREIGN = 'munich';
const PORT = 8388;

export function freshKey(method: Method): string {
  return randomBytes(method === '2022-blake3-aes-128-gcm' ? 16 : 32).toString('base64');
}

function addresses(lab: Lab, site: string): string[] {
  return lab.topology.uplinks.map(({ ends }) => addressOf(ends.find((end) => end.site === site)!.addresses));
}

/** What the key files of a lab say, after `Braids` has written them: without identity keys. */
export function keysOf(lab: Lab): Pick<ForeignSetup, 'toBraid' | 'fromBraid'> {
  const read = (name: string) => readFileSync(join(lab.directory, BRAID, name), 'utf8').trim();
  return { toBraid: read(`from-${FOREIGN}.key`), fromBraid: read(`to-${FOREIGN}.key`) };
}

/** As the public recipe does it: the kernel joins what is announced to it, and LAN traffic goes into the TUN of the program. */
async function prepare(lab: Lab): Promise<void> {
  await lab.must(FOREIGN, ['ip', 'mptcp', 'limits', 'set', 'subflows', '8', 'add_addr_accepted', '8']);
}

/** The program's TUN and rules know IPv4 only. */
function fourOf(lab: Lab): string[] {
  return lab.topology.sites.find(({ name }) => name === BRAID)!.lan.filter((prefix) => !prefix.includes(':'));
}

async function leadIntoTun(lab: Lab): Promise<void> {
  const script = `n=0; until ip link show tun0 up 2>/dev/null | grep -q UP; do n=$((n+1)); [ $n -lt 100 ]; sleep 0.1; done; ${fourOf(lab)
    .map((prefix) => `ip route add ${prefix} dev tun0`)
    .join('; ')}`;
  await lab.must(FOREIGN, ['sh', '-ec', script]);
}

/** The recipe's file (TUN, gVisor, Shadowsocks over MPTCP), with this lab's addresses and keys. */
export async function startSingBox(program: string, setup: ForeignSetup): Promise<LabProcess> {
  const { lab, method, toBraid, fromBraid, identity, packets = 'uot' } = setup;
  const key = identity === undefined ? { password: fromBraid } : { password: identity, users: [{ name: BRAID, password: fromBraid }] };
  const lan = lab.topology.sites.find(({ name }) => name === BRAID)!.lan;
  const config = {
    log: { level: 'info', timestamp: true },
    inbounds: [
      {
        type: 'shadowsocks',
        tag: 'ss-in',
        listen: '::',
        listen_port: PORT,
        ...(packets !== 'ss-udp' && { network: 'tcp' }),
        tcp_multi_path: true,
        method,
        ...key,
      },
      { type: 'tun', tag: 'tun-in', interface_name: 'tun0', address: ['169.254.2.1/32'], auto_route: false, stack: 'gvisor' },
    ],
    outbounds: [
      {
        type: 'shadowsocks',
        tag: 'ss-out',
        server: addresses(lab, BRAID)[0],
        server_port: PORT,
        tcp_multi_path: true,
        method,
        password: toBraid,
        ...(packets === 'uot' && { udp_over_tcp: true }),
        ...(packets === 'ss-udp' && { udp_fragment: true }),
      },
      { type: 'direct', tag: 'direct' },
    ],
    route: {
      rules: [
        { ip_cidr: lan, outbound: 'ss-out' },
        { ip_is_private: true, outbound: 'direct' },
      ],
      auto_detect_interface: false,
    },
  };
  await prepare(lab);
  const file = join(lab.directory, FOREIGN, 'sing-box.json');
  writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 });
  const running = lab.start(FOREIGN, [program, 'run', '-c', file], { logFile: join(lab.directory, FOREIGN, 'sing-box.log') });
  await leadIntoTun(lab);
  return running;
}

const REDIRECT_PORT = 1081;

/** Both halves of shadowsocks-rust: the server that Braid dials, and the client behind TPROXY rules that dials Braid. */
export async function startShadowsocksRust(
  programs: { readonly server: string; readonly local: string },
  { lab, method, toBraid, fromBraid, identity, packets = 'off' }: ForeignSetup,
): Promise<LabProcess[]> {
  const mode = packets === 'ss-udp' ? 'tcp_and_udp' : 'tcp_only';
  const key = identity === undefined ? { password: fromBraid } : { password: identity, users: [{ name: BRAID, password: fromBraid }] };
  const server = { mptcp: true, servers: [{ server: '::', server_port: PORT, method, ...key, mode }] };
  const redirect = {
    protocol: 'redir',
    local_address: '127.0.0.1',
    local_port: REDIRECT_PORT,
    tcp_redir: 'tproxy',
    udp_redir: 'tproxy',
    mode,
  };
  const local = {
    mptcp: true,
    server: addresses(lab, BRAID)[0],
    server_port: PORT,
    method,
    password: toBraid,
    mode,
    locals: [redirect],
  };
  await prepare(lab);
  await lab.must(FOREIGN, ['sh', '-ec', redirection(lab)]);
  const start = (program: string, config: object, name: string) => {
    const file = join(lab.directory, FOREIGN, `${name}.json`);
    writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 });
    return lab.start(FOREIGN, [program, '-c', file], { logFile: join(lab.directory, FOREIGN, `${name}.log`) });
  };
  return [start(programs.server, server, 'ssserver'), start(programs.local, local, 'sslocal')];
}

/** TCP and UDP of the LAN to Braid's, handed to the program on loopback. */
function redirection(lab: Lab): string {
  const rule = `iifname lan ip daddr { ${fourOf(lab).join(', ')} } meta l4proto { tcp, udp } tproxy to 127.0.0.1:${REDIRECT_PORT} meta mark set 1 accept`;
  return `nft 'table ip to_sslocal { chain in { type filter hook prerouting priority mangle; ${rule}; }; }'
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100`;
}
