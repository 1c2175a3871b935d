import { describe, expect, it } from 'vitest';
import { readHostFacts } from './facts.ts';

/** As iproute2 6.1 printed it, shortened. */
const ADDRESSES = `[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
{"ifindex":4,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"addr_info":[
 {"family":"inet","local":"192.0.2.2","prefixlen":24,"scope":"global","label":"eth0"},
 {"family":"inet6","local":"2001:db8::99","prefixlen":64,"scope":"global","temporary":true},
 {"family":"inet6","local":"2001:db8::98","prefixlen":64,"scope":"global","deprecated":true},
 {"family":"inet6","local":"2001:db8::97","prefixlen":64,"scope":"global","tentative":true},
 {"family":"inet6","local":"2001:db8::2","prefixlen":64,"scope":"global","nodad":true},
 {"family":"inet6","local":"fe80::fc:ff:fe00:1","prefixlen":64,"scope":"link"}]},
{"ifindex":5,"ifname":"eth1","flags":["BROADCAST","MULTICAST"],"addr_info":[]},{}]`;
const ROUTES_4 = `[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"dst":"192.0.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"192.0.2.2","flags":[]},
{"dst":"198.51.100.7","via":{"family":"inet6","host":"fe80::1"},"dev":"eth0","table":"77","metric":5,"flags":[]},
{"dst":"203.0.113.0/24","flags":[],"nexthops":[{"gateway":"192.0.2.8","dev":"eth0","weight":1},{"gateway":"192.0.2.9","dev":"eth1","weight":1}]},
{"type":"unreachable","dst":"10.0.0.0/8","metric":4000,"flags":[]},
{"type":"local","dst":"192.0.2.2","dev":"eth0","table":"local","flags":[]}]`;
const ROUTES_6 = `[{"dst":"default","gateway":"fe80::1","dev":"eth0","metric":1024,"flags":[],"pref":"medium"}]`;

describe("the host's facts", () => {
  it('are read from what `ip -j` prints', async () => {
    const facts = await readHostFacts(async (args) => (args.includes('address') ? ADDRESSES : args.includes('-4') ? ROUTES_4 : ROUTES_6));
    expect(
      facts.devices.map((one) => [one.name, one.up, one.addresses.map(({ address, prefixLength }) => `${address.text}/${prefixLength}`)]),
    ).toEqual([
      ['lo', true, []],
      ['eth0', true, ['192.0.2.2/24', '2001:db8::2/64']],
      ['eth1', false, []],
    ]);
    expect(
      facts.routes.map((one) => `${one.destination.text} ${one.gateway?.text ?? '-'} ${one.device} ${one.table} ${one.metric}`),
    ).toEqual([
      '0.0.0.0/0 192.0.2.1 eth0 main 0',
      '192.0.2.0/24 - eth0 main 0',
      '198.51.100.7/32 fe80::1 eth0 77 5',
      '203.0.113.0/24 192.0.2.8 eth0 main 0',
      '203.0.113.0/24 192.0.2.9 eth1 main 0',
      '::/0 fe80::1 eth0 main 1024',
    ]);
  });

  it('are empty where `ip` prints nothing', async () => {
    expect(await readHostFacts(async () => '')).toEqual({ devices: [], routes: [] });
  });

  it('come from this host, which has a loopback device', async () => {
    expect((await readHostFacts()).devices.find((one) => one.name === 'lo')).toMatchObject({ addresses: [] });
  });
});
