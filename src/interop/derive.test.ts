import { describe, expect, it } from 'vitest';
import type { BraidError } from '../error.ts';
import type { HostFacts } from '../site/facts.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { derive, type Given, nameOf } from './derive.ts';
import { parseEndpoints } from './mptcp-endpoints.ts';
import { NODE1, NODE2, recipeText } from './recipe.fixture.ts';
import { readSingBox, type SingBoxSite } from './sing-box-read.ts';

const site1 = readSingBox([{ file: '1', text: recipeText(NODE1) }]).site;
const site2 = readSingBox([{ file: '2', text: recipeText(NODE2) }]).site;

/** `eth2 10.0.0.1/24`, and `DESTINATION via GATEWAY dev DEVICE`. */
function host(devices: readonly string[], routes: readonly string[] = []): HostFacts {
  const names = [...new Set(devices.map((line) => line.split(' ')[0]!))];
  const addressesOf = (name: string) =>
    devices
      .filter((line) => line.startsWith(`${name} `))
      .map((line) => {
        const [text, length] = line.split(' ')[1]!.split('/') as [string, string];
        return { address: parseAddress(text)!, prefixLength: Number(length) };
      });
  return {
    devices: names.map((name) => ({ name, up: true, mtu: 1500, addresses: addressesOf(name) })),
    routes: routes.map((line) => {
      const [destination, , gateway, , device] = line.split(' ') as [string, string, string, string, string];
      return { destination: parsePrefix(destination)!, gateway: parseAddress(gateway)!, device, table: 'main', metric: 0 };
    }),
  };
}

const ask = (own: SingBoxSite, facts: HostFacts, given: Partial<Given> = {}, counterpart?: SingBoxSite, endpoints = '') =>
  derive(own, counterpart, facts, parseEndpoints(endpoints), { far: 'braid', ...given });
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return `${(error as BraidError).code} ${(error as BraidError).message}`;
  }
  return 'none';
};

const TABLE = [
  'lo 127.0.0.1/8',
  'eth1 172.16.0.1/24',
  'eth1 fd00:16::1/64',
  'eth2 10.0.0.1/24',
  'eth3 10.1.0.1/24',
  'docker0 172.17.0.1/16',
  'tun0 169.254.2.1/32',
];

describe('two links, as in the recipe', () => {
  it('are both found, with the address of the peer on the second', () => {
    const { draft, taken } = ask(site1, host(TABLE));
    expect(draft).toMatchObject({
      site: '172-16-0',
      lan: ['172.16.0.0/24'],
      uplinks: [{ name: 'eth2' }, { name: 'eth3' }],
      peer: { site: '172-16-1', kind: 'braid', lan: ['172.16.1.0/24'], addresses: ['10.0.0.2', '10.1.0.2'] },
    });
    expect(draft.peer.pairing).toBeUndefined();
    expect(taken.filter((line) => line.includes('guess'))).toHaveLength(3);
  });

  it('are no guess where the kernel has the endpoints of the recipe, in the words of any `ip`', () => {
    for (const endpoints of ['[{"address":"10.1.0.1","id":1,"subflow":true,"dev":"eth3"}]', '10.1.0.1 id 1 subflow dev eth3 \n']) {
      const { taken } = ask(site1, host(TABLE), {}, undefined, endpoints);
      expect(taken).toContain('uplink eth3: an MPTCP endpoint of the kernel, 10.1.0.1, is on it');
    }
  });

  it('both sites come to the same two names', () => {
    const far = ask(site2, host(TABLE.map((line) => line.replace('172.16.0.', '172.16.1.').replace(/(10\.\d\.0)\.1/, '$1.2')))).draft;
    const near = ask(site1, host(TABLE)).draft;
    expect([far.site, far.peer.site]).toEqual([near.peer.site, near.site]);
    expect(far.peer.addresses).toEqual(['10.0.0.1', '10.1.0.1']);
  });

  it("the other site's file says what our LAN is", () => {
    const { draft, taken } = ask(site1, host(TABLE), {}, site2);
    expect(draft.lan).toEqual(['172.16.0.0/24']);
    expect(taken[0]).toBe("site 172-16-0, LAN 172.16.0.0/24: the other site's file sends it there");
    expect(draft.uplinks.map((one) => one.device)).toEqual(['eth2', 'eth3']);
  });

  it('what is said is taken', () => {
    const given = { site: 'berlin', peer: 'munich', lan: ['172.16.0.0/16'], uplinks: ['eth2'], far: 'sing-box' as const };
    expect(ask(site1, host(TABLE), given).draft).toMatchObject({
      site: 'berlin',
      lan: ['172.16.0.0/16'],
      uplinks: [{ device: 'eth2' }],
      peer: { site: 'munich', kind: 'shadowsocks', packets: 'uot', addresses: ['10.0.0.2'] },
    });
  });

  it('a default route next to them is no uplink', () => {
    const { draft } = ask(site1, host([...TABLE, 'eth0 192.168.1.5/24'], ['0.0.0.0/0 via 192.168.1.1 dev eth0']));
    expect(draft.uplinks.map((one) => one.device)).toEqual(['eth2', 'eth3']);
  });
});

describe('both behind NAT, the last chapter of the recipe', () => {
  const own = { ...site1, server: '198.51.100.1' };
  const facts = host(
    ['eth0 192.168.80.30/24', 'eth1 192.168.12.100/24', 'lan0 172.16.0.1/24'],
    ['0.0.0.0/0 via 192.168.80.1 dev eth0', '198.51.100.1/32 via 192.168.80.1 dev eth0', '198.51.100.2/32 via 192.168.12.200 dev eth1'],
  );

  it('the pinned routes name the addresses of the peer and the uplinks, the endpoint what NAT shows of us', () => {
    const { draft } = ask(own, facts, {}, { ...site2, server: '203.0.113.1' }, '203.0.113.2 id 1 signal');
    expect(draft).toMatchObject({
      lan: ['172.16.0.0/24'],
      uplinks: [
        { device: 'eth0', publicAddress: '203.0.113.1' },
        { device: 'eth1', publicAddress: '203.0.113.2' },
      ],
      peer: { addresses: ['198.51.100.1', '198.51.100.2'], pairing: 'paired' },
    });
  });

  it('without pins every default route is an uplink, and the port is told where it differs from ours', () => {
    const { draft } = ask(
      { ...own, serverPort: 18_388 },
      { ...facts, routes: [...facts.routes.slice(0, 1), { ...facts.routes[0]!, device: 'eth1' }] },
    );
    expect(draft.uplinks.map((one) => one.device)).toEqual(['eth0', 'eth1']);
    expect(draft.peer).toMatchObject({ addresses: ['198.51.100.1:18388'] });
    expect(ask({ ...own, server: 'fd10::2', serverPort: 9000 }, host([...TABLE, 'eth2 fd10::1/64'])).draft.peer.addresses).toEqual([
      '[fd10::2]:9000',
    ]);
  });
});

describe('what cannot be found out is asked for', () => {
  it.each([
    ['no way to the peer', ['eth1 172.16.0.1/24'], {}, 'HOST_DEVICE no device of this host leads to 10.0.0.2'],
    ['no LAN', ['eth2 10.0.0.1/24'], {}, 'HOST_ADDRESS which LAN is behind this host? No device but the uplinks has an address'],
    [
      'two LANs',
      ['eth2 10.0.0.1/24', 'a 172.16.2.1/24', 'b 172.16.3.1/24'],
      {},
      'HOST_ADDRESS which of these is the LAN of this site: 172.16.2.0/24 (a), 172.16.3.0/24 (b)?',
    ],
    ['no prefix', TABLE, { lan: ['172.16.0.1'] }, 'USAGE --lan expected a prefix like 172.16.0.0/24, got "172.16.0.1"'],
    ['one name', TABLE, { peer: '172-16-0' }, 'CONFIG_VALUE both sites would be called 172-16-0'],
  ])('%s', (_, devices, given, wanted) => {
    expect(refusal(() => ask(site1, host(devices), given))).toBe(wanted);
  });
});

describe('a name after a LAN', () => {
  it.each([
    ['172.16.0.0/24', '172-16-0'],
    ['192.168.100.0/24', '192-168-100'],
    ['10.0.0.0/8', '10'],
    ['10.1.0.0/12', undefined],
    ['192.168.100.128/25', 'c0a86480'],
    ['fd00:16::/64', 'fd00-16'],
    ['2001:db8:1234:5678::/64', '2001-db8-12'],
    ['::/0', 'site'],
  ])('%s is %s', (text, wanted) => {
    const prefix = parsePrefix(text);
    expect(prefix && nameOf(prefix)).toBe(wanted);
    if (wanted) expect(wanted).toMatch(/^[a-z0-9-]{1,11}$/);
  });
});
