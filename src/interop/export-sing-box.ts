/**
 * `braid export sing-box`: what the far side needs that stays on sing-box: its configuration, and the commands that the recipe types by hand.
 * Everything in it follows from our configuration, our keys and this host's addresses.
 */
import type { Config, PeerConfig, SiteKeys } from '../config/types.ts';
import type { Secret } from '../crypto/secret.ts';
import { BraidError } from '../error.ts';
import type { Peer, Site } from '../site/types.ts';
import type { SingBoxSite } from './sing-box-read.ts';

interface Export {
  readonly peerSite: string;
  /** Holds keys: for a file of mode 0600 and nothing else. */
  readonly json: string;
  /** A shell script for the far gateway, without keys. */
  readonly commands: string;
  readonly warnings: readonly string[];
}

const TUN = 'tun0';

/** @throws BraidError where the peer could not be reached by its sing-box, or reach us. */
export function exportSingBox(config: Config, keys: SiteKeys, site: Site, name?: string): Export {
  const index = peerIndex(config, name);
  const peer = config.peers[index]!;
  const ours = ownAddresses(site);
  const first = ours[0];
  if (!first)
    throw new BraidError('HOST_ADDRESS', 'no uplink has an address that the far side could dial', {
      hint: '`braid check` says what is missing',
    });
  const { receive, send, sendIdentity } = keys.peers[index]!;
  if (!send)
    throw new BraidError('CONFIG_VALUE', `peer[${index}].send_key: is missing`, {
      place: config.place(['peer', index]),
      hint: 'the key that the inbound of the far sing-box has',
    });
  const far: SingBoxSite = {
    listenPort: peer.addresses[0]?.port ?? config.listenPort,
    method: peer.method,
    receiveKey: base64(send),
    ...(sendIdentity && { identityKey: base64(sendIdentity) }),
    sendKey: [keys.identity, receive].flatMap((key) => (key ? [base64(key)] : [])).join(':'),
    server: first,
    serverPort: config.listenPort,
    remoteLan: config.lan.map((prefix) => prefix.text),
    packets: packetsOf(peer),
    tunDevices: [TUN],
  };
  return {
    peerSite: peer.site,
    json: singBoxJson(far, site.name),
    commands: commandsFor(site.peers[index]!, peer, far, ours),
    warnings: warningsFor(peer, far, ours),
  };
}

/** A configuration that `readSingBox` reads as `site`. */
export function singBoxJson(site: SingBoxSite, user = 'peer'): string {
  const inbound = {
    type: 'shadowsocks',
    tag: 'ss-in',
    listen: '::',
    listen_port: site.listenPort,
    // UDP over TCP arrives as TCP; only Shadowsocks' own UDP format needs the other one.
    ...(site.packets !== 'ss-udp' && { network: 'tcp' }),
    method: site.method,
    password: site.identityKey ?? site.receiveKey,
    ...(site.identityKey !== undefined && { users: [{ name: user, password: site.receiveKey }] }),
    tcp_multi_path: true,
  };
  const tuns = site.tunDevices.map((name, i) => ({
    type: 'tun',
    tag: i === 0 ? 'tun' : `tun-${i}`,
    interface_name: name,
    address: [`169.254.2.${i + 1}/32`],
    // Routes are ours to set: with its own, the sites would lose their way out.
    auto_route: false,
    stack: 'gvisor',
  }));
  const outbound = {
    type: 'shadowsocks',
    tag: 'ss-out',
    server: site.server,
    server_port: site.serverPort,
    method: site.method,
    password: site.sendKey,
    ...(site.packets === 'off' && { network: 'tcp' }),
    tcp_multi_path: true,
    ...(site.packets === 'uot' && { udp_over_tcp: true }),
    // Else what is a little less than an Ethernet takes would not fit, and be lost without a word.
    ...(site.packets === 'ss-udp' && { udp_fragment: true }),
  };
  const document = {
    log: { level: 'info' },
    inbounds: [inbound, ...tuns],
    outbounds: [outbound, { type: 'direct', tag: 'direct' }],
    route: {
      rules: [
        { ip_cidr: site.remoteLan, outbound: 'ss-out' },
        { ip_is_private: true, outbound: 'direct' },
      ],
      // With it, UDP to the far gateway's own LAN address would be bound to the wrong device and lost.
      auto_detect_interface: false,
    },
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function commandsFor(peer: Peer, config: PeerConfig, far: SingBoxSite, ours: readonly string[]): string {
  const theirs = config.addresses.map(({ address }) => address.text);
  // Subflows of both directions, and one that the far side announces as well as opens.
  const most = Math.min(8, Math.max(2, theirs.length, ours.length));
  const onLink = (text: string) => peer.paths.some((path) => path.peerAddress.address.text === text && path.uplink.gateways.length === 0);
  const pins = ours.flatMap((address, i) => {
    const opposite = theirs[i];
    return opposite !== undefined && onLink(opposite)
      ? []
      : [`#   ip route replace ${address}/${address.includes(':') ? 128 : 32} via GATEWAY dev DEVICE`];
  });
  return `${[
    '#!/bin/sh',
    `# For the gateway of ${peer.site}, which stays on sing-box. None of this outlives a reboot; the last part is needed after each start of sing-box.`,
    'set -e',
    'sysctl -w net.mptcp.enabled=1',
    `ip mptcp limits set add_addr_accepted ${most} subflows ${most}`,
    ...theirs.slice(1).map((address) => `ip mptcp endpoint add ${address} signal`),
    ...(theirs.length > 1
      ? ['# Where an uplink needs its device named, as on a wire of its own: ip mptcp endpoint add ADDRESS dev DEVICE subflow']
      : []),
    ...(pins.length > 0
      ? ['# One uplink for each of our addresses, where routers are between (fill in gateways and devices):', ...pins]
      : []),
    'systemctl restart sing-box',
    ...far.remoteLan.map((prefix) => `ip ${prefix.includes(':') ? '-6 ' : ''}route replace ${prefix} dev ${TUN}`),
  ].join('\n')}\n`;
}

function warningsFor(peer: PeerConfig, far: SingBoxSite, ours: readonly string[]): string[] {
  return [
    ...(far.server.includes(':') ? ['the only address that we have is IPv6: sing-box dials it without MPTCP, over one uplink only'] : []),
    ...(far.packets === 'ss-udp' && ours.length > 1
      ? [`it sends its UDP to ${far.server} alone: while that uplink is dead, none comes; \`packets = "uot"\` uses all of them`]
      : []),
    ...(String(peer.kind) === 'braid'
      ? [`${peer.site} is \`kind = "braid"\` in our configuration: with sing-box there, it is "shadowsocks"`]
      : []),
  ];
}

/** A Braid that is to become a sing-box carried UDP; over streams it has both directions and all uplinks. */
function packetsOf({ packets }: PeerConfig): SingBoxSite['packets'] {
  return packets === 'udp' ? 'uot' : packets;
}

function peerIndex(config: Config, name: string | undefined): number {
  const names = config.peers.map((peer) => peer.site);
  if (name === undefined && names.length === 1) return 0;
  const index = names.indexOf(name ?? '');
  if (index >= 0) return index;
  throw new BraidError(
    'USAGE',
    name === undefined ? `which peer? --peer ${names.join(' or ')}` : `there is no peer ${name}; there is ${names.join(', ')}`,
  );
}

/** Where the world reaches us, one an uplink, in their order; IPv4 first, since sing-box dials IPv6 without MPTCP. */
function ownAddresses(site: Site): string[] {
  const of = (family: 4 | 6) =>
    site.uplinks.flatMap(({ publicAddress, addresses }) => {
      const found = publicAddress?.family === family ? publicAddress : addresses.find((one) => one.family === family);
      return found ? [found.text] : [];
    });
  const four = of(4);
  return four.length > 0 ? four : of(6);
}

function base64(key: Secret): string {
  return Buffer.from(key.reveal()).toString('base64');
}
