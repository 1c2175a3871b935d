/**
 * The shape of `SITE.toml`: every key, what it is for, and what this version accepts.
 *
 * Strict on purpose: a key that is misspelt, or that this version would ignore, is an error and no surprise in production. What one value
 * alone can tell is checked here; what needs two values, a file or the host is in check.ts, keys.ts and site/.
 * The descriptions become docs/config.md and the JSON Schema; they are written for the administrator.
 */
import * as z from 'zod';
import type { Method, PacketClass } from '../site/types.ts';
import { parseAddress, parsePrefix, prefixAround } from '../wire/ip.ts';
import { type Advice, checkedText } from './checked.ts';
import { NETWORK_DEFAULTS, networkSchema, port } from './network-schema.ts';

const METHOD_NAMES = [
  '2022-blake3-aes-128-gcm',
  '2022-blake3-aes-256-gcm',
  '2022-blake3-chacha20-poly1305',
] as const satisfies readonly Method[];

const PACKET_CLASSES = ['balanced', 'lowest-latency', 'duplicate', 'aggregate'] as const satisfies readonly PacketClass[];

export const DEFAULTS = {
  listen: 8388,
  method: METHOD_NAMES[0],
  ...NETWORK_DEFAULTS,
} as const;

const siteName = checkedText((text) =>
  /^[a-z0-9-]{1,11}$/.test(text)
    ? undefined
    : {
        message: `expected 1 to 11 of a-z, 0-9 and -, got ${JSON.stringify(text)}`,
        hint: 'devices, tables and files are named after the site; the kernel allows them no more',
      },
);

const uplinkName = checkedText((text) =>
  /^[a-z0-9][a-z0-9_-]{0,14}$/.test(text) ? undefined : { message: `expected 1 to 15 of a-z, 0-9, - and _, got ${JSON.stringify(text)}` },
);

const deviceName = checkedText((text) =>
  /^[^\s/:]{1,15}$/.test(text) && text !== '.' && text !== '..'
    ? undefined
    : {
        message: `expected the name of a network device, at most 15 characters, got ${JSON.stringify(text)}`,
        hint: '`ip -br link` lists them',
      },
);

const prefix = checkedText((text) => (parsePrefix(text) ? undefined : prefixAdvice(text)));

export function prefixAdvice(text: string): Advice {
  const [head = '', length = ''] = text.split('/');
  const address = parseAddress(head);
  if (address && length === '' && !text.includes('/'))
    return {
      message: `expected ADDRESS/LENGTH, got ${JSON.stringify(text)}`,
      hint: `one host alone is "${text}/${address.bytes.length * 8}"`,
    };
  if (address && /^\d{1,3}$/.test(length) && Number(length) <= address.bytes.length * 8) {
    const meant = prefixAround(address, Number(length)).text;
    return { message: `${text} has bits set behind the prefix length`, hint: `did you mean "${meant}"?` };
  }
  return { message: `expected a prefix like "172.16.0.0/24" or "fd00:16::/64", got ${JSON.stringify(text)}` };
}

const address = checkedText((text) =>
  parseAddress(text) ? undefined : { message: `expected an IPv4 or IPv6 address, got ${JSON.stringify(text)}` },
);

const peerAddress = checkedText((text) => (splitPeerAddress(text) ? undefined : peerAddressAdvice(text)));

function peerAddressAdvice(text: string): Advice {
  if (/^[a-z0-9.-]+(:\d+)?$/i.test(text) && /[a-z]/i.test(text))
    return {
      message: `${text} is a name; this version takes addresses only`,
      hint: 'write the address: a path is pinned to one, and a name could not be looked up while the uplink is down',
    };
  return { message: `expected ADDRESS, ADDRESS:PORT or [IPV6]:PORT, got ${JSON.stringify(text)}` };
}

/** @returns the parts of `10.0.0.2`, `10.0.0.2:8388`, `fd00::2` or `[fd00::2]:8388`; undefined for anything else. */
export function splitPeerAddress(text: string): { readonly host: string; readonly port?: number } | undefined {
  if (parseAddress(text)) return { host: text };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([1-9]\d{0,4})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) return undefined;
  const parsed = parseAddress(host);
  // Brackets are for IPv6, and IPv6 with a port is ambiguous without them.
  return parsed && (parsed.family === 6) === (match?.[1] !== undefined) ? { host, port } : undefined;
}

const ports = z.union(
  [
    z.int().min(1).max(65_535),
    checkedText((text) =>
      splitPorts(text) ? undefined : { message: `expected PORT or "FIRST-LAST" within 1 to 65535, got ${JSON.stringify(text)}` },
    ),
  ],
  {
    error: (issue) =>
      typeof issue.input === 'number' || typeof issue.input === 'string' ? 'expected PORT or "FIRST-LAST" within 1 to 65535' : undefined,
  },
);

/** @returns the range of `443` or `8000-8099`; undefined for anything else. */
export function splitPorts(text: string | number): { readonly first: number; readonly last: number } | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(text));
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return first >= 1 && first <= last && last <= 65_535 ? { first, last } : undefined;
}

const keyFile = z.strictObject({
  file: z
    .string()
    .min(1)
    .describe(
      'The file that holds the key in base64, on one line; mode 0600. A relative name starts at the directory of this configuration.',
    ),
});

/** One address a family: a plain string, or a list of one IPv4 and one IPv6 address. */
const addressPerFamily = z.union([address, z.array(address).min(1).max(2)], {
  error: (issue) => (Array.isArray(issue.input) || typeof issue.input === 'string' ? undefined : 'expected an address or a list of two'),
});

const uplinkSchema = z.strictObject({
  name: uplinkName.describe('What logs, status and commands call it.'),
  device: deviceName.describe(
    'The network device. It must exist when Braid starts; it may be down or have no address yet, as long as another uplink has one.',
  ),
  address: addressPerFamily
    .optional()
    .describe(
      'Our address on this uplink, where the device has more than one: one address, or a list of one IPv4 and one IPv6 address. Default: the first global address of each family on the device.',
    ),
  gateway: addressPerFamily
    .optional()
    .describe(
      "The next hop towards the peers: one address, or a list of one IPv4 and one IPv6 address. Default: taken from the device's routes; none where the peer is on-link.",
    ),
  public: address
    .optional()
    .describe(
      'The address that the world sees, where a router translates ours 1:1. The peer is told; it is never a destination of LAN traffic.',
    ),
  role: z.enum(['active', 'backup']).default('active').describe('`backup`: carries data only while no active uplink can.'),
  weight: z
    .int()
    .min(1)
    .max(255)
    .default(1)
    .describe('Its share of the flows to peers with `transport = "ecmp"`: one with 2 gets twice as many as one with 1.'),
  metered: z
    .boolean()
    .default(false)
    .describe(
      'Every byte costs money here: one heartbeat each two seconds while it is idle (below 1 kbit/s, so a silent death is noticed after two to four seconds; while it carries data as quickly as anywhere), and neither connections kept ready nor the control stream use it while another uplink carries.',
    ),
});

const allowSchema = z.strictObject({
  from: z.array(prefix).min(1).optional().describe("Sources, inside the peer's `lan`. Default: all of it."),
  to: z.array(prefix).min(1).optional().describe('Destinations, inside our `lan`. Default: all of it.'),
  ports: z
    .array(ports)
    .min(1)
    .optional()
    .describe(
      'Destination ports of TCP and UDP: numbers and ranges, `[22, "8000-8099"]`; the rule then lets in nothing else (no ping, no GRE). Default: every port and every protocol.',
    ),
});

/** Names of the protocols that administrators name; others by their number. */
export const PROTOCOLS = { icmp: 1, udp: 17, gre: 47, esp: 50, ah: 51, icmpv6: 58, ospf: 89, sctp: 132 } as const;

const protocol = z.union([
  z.int().min(0).max(255),
  checkedText((text) => {
    if (Object.hasOwn(PROTOCOLS, text)) return undefined;
    const message = `expected ${Object.keys(PROTOCOLS).join(', ')} or a number up to 255, got ${JSON.stringify(text)}`;
    return { message: text === 'tcp' ? `${message}: TCP travels in the stream lane, over all uplinks at once` : message };
  }),
]);

/** @param given what the schema accepts. */
export function protocolNumber(given: string | number): number {
  return typeof given === 'number' ? given : PROTOCOLS[given as keyof typeof PROTOCOLS];
}

/** Code points of RFC 2474, 2597, 3246, 5865 and 8622. */
export const DSCP_NAMES: Readonly<Record<string, number>> = {
  ...Object.fromEntries([0, 1, 2, 3, 4, 5, 6, 7].map((level) => [`cs${level}`, level * 8])),
  ...Object.fromEntries([1, 2, 3, 4].flatMap((group) => [1, 2, 3].map((drop) => [`af${group}${drop}`, group * 8 + drop * 2]))),
  ef: 46,
  'voice-admit': 44,
  le: 1,
};

const dscp = z.union([
  z.int().min(0).max(63),
  checkedText((text) =>
    Object.hasOwn(DSCP_NAMES, text)
      ? undefined
      : { message: `expected 0 to 63, or a name like "ef", "af41" or "cs6", got ${JSON.stringify(text)}` },
  ),
]);

const policySchema = z.strictObject({
  from: z.array(prefix).min(1).optional().describe('Sources, inside our `lan`. Default: any.'),
  to: z.array(prefix).min(1).optional().describe("Destinations, inside the peer's `lan`. Default: any."),
  protocol: protocol.optional().describe(
    `The IP protocol: ${Object.keys(PROTOCOLS)
      .map((name) => `\`${name}\``)
      .join(', ')} or its number. Default: any.`,
  ),
  ports: z
    .array(ports)
    .min(1)
    .optional()
    .describe('Ports of UDP or SCTP, `[53, "5000-5099"]`: a packet fits whose source or destination port is one of these. Default: any.'),
  dscp: z.array(dscp).min(1).optional().describe('Code points, by number or name: `[46]` is `["ef"]`. Default: any.'),
  class: z
    .enum(PACKET_CLASSES)
    .optional()
    .describe(
      '`balanced`: each flow stays on one path, flows are spread over all by their capacity. `lowest-latency`: the quickest path (the default for DSCP EF). `duplicate`: each packet over two paths, the first to arrive counts. `aggregate`: one flow over all paths, put in order at the other end. Default: `balanced`.',
    ),
  uplink: uplinkName.optional().describe('The uplink that carries them while it lives. Only with `class` `balanced` or none.'),
});

const peerSchema = z.strictObject({
  site: siteName.describe("The other site's name, as its own configuration has it."),
  lan: z
    .array(prefix)
    .min(1)
    .describe('The prefixes behind it. Traffic to them is carried by Braid, and leaves this site in no other way.'),
  addresses: z
    .array(peerAddress)
    .default([])
    .describe(
      'Where its uplinks can be reached, in the order of its uplinks: ADDRESS (port: our `listen`), ADDRESS:PORT or [IPV6]:PORT. Empty: it cannot be dialled (CGNAT); it dials us, and our flows to it start over connections that it keeps open.',
    ),
  receive_key: keyFile.describe('It dials us with this key (in sing-box: the password of our inbound, or of its user there).'),
  send_key: keyFile
    .optional()
    .describe(
      'We dial it with this key (in sing-box: the password of our outbound); `IDENTITY:USER`, both in base64, where it has an identity key. Required where `addresses` are given.',
    ),
  kind: z
    .enum(['braid', 'shadowsocks'])
    .default('braid')
    .describe(
      "What runs there: `braid`, or `shadowsocks` for sing-box, shadowsocks-rust and others that speak Shadowsocks 2022 (SIP022). Such a peer names no client, so its flows are connected from the gateway's own LAN address; it sends no heartbeats, so a silent path is noticed later.",
    ),
  method: z
    .enum(METHOD_NAMES)
    .default(DEFAULTS.method)
    .describe('The cipher. The same for all peers of a site, since one port receives them all; the ChaCha method allows one peer only.'),
  transport: z
    .enum(['mptcp', 'ecmp'])
    .default('mptcp')
    .describe(
      'How flows travel. `mptcp`: each over all uplinks, encrypted. `ecmp`: for an interconnect that both sites trust; the kernel forwards the packets as they are, each flow over one uplink, chosen by its addresses and ports, and dead uplinks are left out. Nothing is encrypted then, and `allow`, `snat`, `packets` and `policy` do not apply.',
    ),
  pairing: z
    .enum(['auto', 'paired', 'mesh'])
    .default('auto')
    .describe(
      "Which of our uplinks is used with which of the peer's addresses, always within one family. `auto`: an address in an uplink's own subnet over that uplink only, any other address over every uplink that has a gateway. `paired`: first with first, second with second. `mesh`: every uplink with every address.",
    ),
  snat: z
    .boolean()
    .default(false)
    .describe(
      'Flows that arrive from this peer are connected from the gateway\'s own LAN address instead of the client\'s: for far hosts whose way back does not lead through this gateway. Always so with `kind = "shadowsocks"`.',
    ),
  packets: z
    .enum(['udp', 'uot', 'ss-udp', 'off'])
    .default('udp')
    .describe(
      'How everything but TCP travels (UDP, ICMP, GRE, ESP, ...). `udp`: each packet in a sealed datagram, over the uplinks, by the device `brd-SITE`. `uot`: UDP alone, over the uplinks\' connections, as sing-box does it with `udp_over_tcp`. `ss-udp`: UDP alone, each packet in a datagram of the format of Shadowsocks itself, to the port of `addresses`, over one uplink at a time. Both for `kind = "shadowsocks"` only; without a word about it such a peer has `off`. `off`: answered "unreachable".',
    ),
  policy: z
    .array(policySchema)
    .default([])
    .describe(
      'How packets towards the peer are spread over the paths, a `[[peer.policy]]` section for each rule; the first that fits decides. Needs `packets = "udp"`.',
    ),
  allow: z
    .array(allowSchema)
    .default([])
    .describe(
      'What the peer may reach here, a `[[peer.allow]]` section for each rule; a flow needs one rule that fits, and what answers our own flows needs none. No section: everything from its `lan` to ours.',
    ),
});

const hostName = checkedText((text) =>
  /^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?$/i.test(text) && !parseAddress(text)
    ? undefined
    : { message: `expected a host name of at most 253 characters, got ${JSON.stringify(text)}` },
);

const logSchema = z.strictObject({
  flows: z.boolean().default(false).describe('One line at the end of each flow: who, whither, how long, how much.'),
});

export const siteSchema = z.strictObject({
  site: siteName.describe('The name of this site. Devices, tables and run-time files carry it.'),
  lan: z
    .array(prefix)
    .min(1)
    .describe('The prefixes of this site that peers may reach. The gateway has an address in at least one of them.'),
  listen: port
    .default(DEFAULTS.listen)
    .describe(
      'The port that peers dial, on every uplink: what a firewall must let in. Also the port of peers whose `addresses` name none. `braid reload` changes neither: a restart does both.',
    ),
  identity_key: keyFile.optional().describe("This site's identity key (SIP023). Required with two peers or more: it tells them apart."),
  uplink: z.array(uplinkSchema).min(1).max(16).describe('A way out, one `[[uplink]]` section each.'),
  peer: z
    .array(peerSchema)
    .max(64)
    .default([])
    .describe(
      'Another site, one `[[peer]]` section each. `braid join` and `braid peer revoke` write and remove them, also while the daemon runs.',
    ),
  names: z
    .record(hostName, address)
    .default({})
    .describe(
      'What a name stands for when a peer of `kind = "shadowsocks"` asks for it: `"nas.example.org" = "172.16.0.20"`, an address in our `lan`. Nothing is looked up elsewhere: other names are refused.',
    ),
  network: networkSchema
    .prefault({})
    .describe(
      'Numbers of the kernel that Braid shares with other programs. Change them where `braid check` says that somebody else has one of these.',
    ),
  log: logSchema.prefault({}).describe('What is logged besides changes of state and faults.'),
});

export type SiteFile = z.output<typeof siteSchema>;

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(siteSchema, { io: 'input' }), title: 'Braid site configuration' };
}
