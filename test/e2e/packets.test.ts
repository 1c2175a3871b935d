/** Everything that is not TCP, as the people on the LANs meet it: Debian's own tools, other people's tunnels, and what the peer may not reach. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Braids,
  buildLab,
  greTunnel,
  inject,
  type Lab,
  ping,
  protocolExchange,
  quicLike,
  traceroute,
  twoSites,
  type UdpIperf3Result,
  udpIperf3,
  voice,
  wireguardTunnel,
  withNameServer,
} from '../../src/lab/index.ts';
import { udpPacket } from '../../src/lab/traffic/packets.ts';
import { counted } from './support/faults.ts';
import { goodRound, show, udp, untilLane } from './support/packets.ts';
import { serve, start } from './support/programs.ts';

/** Inside the tunnel over 1,500 bytes of IPv4. */
const MTU = 1440;
const IPV4_AND_ICMP_BYTES = 28;
const IPV6_AND_ICMP_BYTES = 48;
const OPEN_PORT = 7_100;

/** Munich shows its first host to everybody, and one port of its second. */
const ALLOWED = `
[[peer.allow]]
to    = ["172.16.1.1/32", "172.16.1.10/32", "fd00:17::1/128", "fd00:17::10/128"]

[[peer.allow]]
to    = ["172.16.1.11/32"]
ports = [${OPEN_PORT}]
`;

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  const uplink = { rateMbit: 100, delayMs: 2 };
  lab = await buildLab(twoSites({ uplinks: [uplink, uplink], hostsPerSite: 2 }));
  braids = new Braids(lab, { edit: (site, toml) => (site === 'munich' ? `${toml}${ALLOWED}` : toml) });
  await braids.startAll();
  await untilLane(braids);
});
afterAll(() => lab?.close());

describe('an administrator on a LAN host', () => {
  it('pings hosts and gateways of the other site in both families, with packets of any size', async () => {
    for (const options of [
      {},
      { family: 6 },
      { sizeBytes: 4_000 },
      { to: 'munich' },
      { from: 'munich-pc', to: 'berlin-pc2', sizeBytes: 20_000 },
      { from: 'berlin', to: 'munich' },
    ] as const)
      expect(await ping(lab, options), JSON.stringify(options)).toMatchObject({ sent: 3, received: 3, duplicates: 0 });
    // Nobody cuts an IPv6 packet but the host itself, once each end was told what passes.
    for (const host of ['berlin-pc', 'munich-pc']) await lab.must(host, ['ip', '-6', 'route', 'flush', 'cache']);
    const large = { family: 6, sizeBytes: 4_000 } as const;
    expect((await ping(lab, large)).errors.join()).toContain('fd00:16::1 Packet too big');
    expect(await ping(lab, large)).toMatchObject({ sent: 3, received: 3, duplicates: 0 });
  });

  it.each([
    [4, 1_472, '172.16.0.1 Frag needed', IPV4_AND_ICMP_BYTES],
    [6, 1_452, 'fd00:16::1 Packet too big', IPV6_AND_ICMP_BYTES],
  ] as const)('is told the MTU by the near gateway (IPv%i), and what fits it passes', async (family, sizeBytes, said, headers) => {
    await lab.must('berlin-pc', ['ip', `-${family}`, 'route', 'flush', 'cache']);
    const tooBig = await ping(lab, { family, sizeBytes, dontFragment: true });
    expect(tooBig).toMatchObject({ received: 0, mtu: MTU });
    expect(tooBig.errors.join()).toContain(said);
    expect(await ping(lab, { family, sizeBytes: MTU - headers, dontFragment: true })).toMatchObject({ received: 3 });
  });

  it('sees both gateways and the host, hop by hop', async () => {
    const [four, six] = [
      ['172.16.0.1', '172.16.1.1', '172.16.1.10'],
      ['fd00:16::1', 'fd00:17::1', 'fd00:17::10'],
    ];
    expect(await traceroute(lab)).toEqual(four);
    expect(await traceroute(lab, { icmp: true })).toEqual(four);
    expect(await traceroute(lab, { family: 6 })).toEqual(six);
    expect(await traceroute(lab, { from: 'munich-pc', to: 'berlin-pc' })).toEqual(['172.16.1.1', '172.16.0.1', '172.16.0.10']);
  });

  it('runs iperf3 with UDP in its own size and in 1,400 bytes, both ways', async () => {
    // Hosts that have not been told yet what passes.
    for (const host of ['berlin-pc', 'munich-pc']) await lab.must(host, ['ip', 'route', 'flush', 'cache']);
    for (const sizeBytes of [undefined, 1_400])
      for (const reverse of [false, true]) {
        const lostPercent = ({ lost, noRoom, packets }: UdpIperf3Result) => (100 * (lost - noRoom)) / packets;
        const result = await goodRound(
          () => udpIperf3(lab, { rate: '20M', seconds: 1, sizeBytes, reverse }),
          (found) => lostPercent(found) < 1,
        );
        const { packets, lost, outOfOrder } = result;
        console.log(
          `iperf3 -u -l ${sizeBytes ?? 'default'}${reverse ? ' -R' : ''}: ${lost} of ${packets} lost, ${outOfOrder} out of order`,
        );
        expect(packets).toBeGreaterThan(1_000);
        expect(lostPercent(result)).toBeLessThan(1);
        expect(outOfOrder).toBe(0);
      }
  });

  it('asks a name server, talks by voice and loads by two-way UDP at once, in both families', async () => {
    const flows = await udp(lab, { flows: [voice(), quicLike(10)] });
    const six = await udp(lab, { family: 6, flows: [voice('voice6'), quicLike(5, 'quic6')] });
    expect(await withNameServer(lab, {}, (ask) => ask(20))).toMatchObject({ asked: 20, answered: 20 });
    for (const one of [...(await flows.stop()), ...(await six.stop())]) {
      show([one]);
      expect(one).toMatchObject({ duplicated: 0, reordered: 0, corrupted: 0, refused: {} });
      expect(one.lost - one.noRoom).toBeLessThanOrEqual(0);
      // Addresses of LAN hosts are what the other end sees.
      expect(one.peer).toMatch(/^(172\.16\.[01]\.10|fd00:1[67]::10) /);
    }
  });

  it('sees the DS field arrive as it was sent', async () => {
    const seen = start(lab, 'munich-pc', ['tcpdump', '-i', 'eth0', '-n', '-l', '-v', 'icmp[icmptype] == icmp-echo']);
    await seen.waitFor(/listening on/);
    expect(await ping(lab, { dsField: 0xb9 })).toMatchObject({ received: 3 });
    await seen.waitFor(/tos 0xb9/);
  });
});

describe("other people's tunnels and protocols", () => {
  it('GRE between two hosts carries what fits and what has to be cut', async () => {
    await using gre = await greTunnel(lab, { pathMtu: MTU });
    expect(await ping(lab, { address: gre.addresses[1] })).toMatchObject({ received: 3 });
    expect(await ping(lab, { address: gre.addresses[1], sizeBytes: 4_000 })).toMatchObject({ received: 3 });
    expect(await ping(lab, { address: gre.addresses[1], sizeBytes: MTU - 24 - IPV4_AND_ICMP_BYTES, dontFragment: true })).toMatchObject({
      received: 3,
    });
  });

  it('WireGuard between two hosts', async () => {
    await using wireguard = await wireguardTunnel(lab);
    expect(await ping(lab, { address: wireguard.addresses[1], sizeBytes: 1_300 })).toMatchObject({ received: 3 });
  });

  it.each([
    ['ESP', 50],
    ['OSPF', 89],
    ['SCTP', 132],
    ['a protocol that nobody has', 253],
  ])('%s, from both sides', async (_, protocol) => {
    expect(await protocolExchange(lab, { protocol })).toMatchObject({ sent: 20, answered: 20, changed: 0 });
    const back = await protocolExchange(lab, { protocol, from: 'munich-pc', to: 'berlin-pc', packets: 5 });
    expect(back).toMatchObject({ answered: 5, changed: 0 });
  });
});

describe('[[peer.allow]]', () => {
  it('lets nothing but its port to the second host, and answers to what that host asked', async () => {
    const listener = await serve(lab, 'munich-pc2', `${listening('172.16.1.11', OPEN_PORT)}; ${listening('172.16.1.11', OPEN_PORT + 1)}`);
    const knock = async () => {
      expect(await ping(lab, { to: 'munich-pc2', waitSeconds: 1 })).toMatchObject({ received: 0 });
      const packets = [OPEN_PORT, OPEN_PORT + 1].map((destinationPort) => ({
        bytes: udpPacket({
          source: '172.16.0.10',
          destination: '172.16.1.11',
          sourcePort: 9,
          destinationPort,
          data: Buffer.from(`to ${destinationPort}`),
        }),
        destination: '172.16.1.11',
      }));
      expect(await inject(lab, 'berlin-pc', packets)).toMatchObject({ taken: 2 });
      await listener.waitFor(new RegExp(`to ${OPEN_PORT}\\b`));
    };
    expect(await counted(braids, 'munich', knock, 4)).toEqual({ 'not-allowed': 4 });
    expect(listener.stdout()).not.toContain(`to ${OPEN_PORT + 1}`);
    expect(await ping(lab, { from: 'munich-pc2', to: 'berlin-pc' })).toMatchObject({ received: 3 });
    expect(await traceroute(lab, { from: 'munich-pc2', to: 'berlin-pc' })).toEqual(['172.16.1.1', '172.16.0.1', '172.16.0.10']);
  });
});

/** JavaScript that prints each datagram. */
function listening(host: string, port: number): string {
  return `{ const s = require('dgram').createSocket('udp4'); s.on('message', (m) => console.log('heard ' + m)); s.bind(${port}, '${host}', () => console.log('ready')); }`;
}
