import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  buildLab,
  configurationFiles,
  delays,
  type GapsOptions,
  gaps,
  type Lab,
  type Middlebox,
  type NatKind,
  twoSites,
} from '../../src/lab/index.ts';
import { middleboxTable } from '../../src/lab/middlebox.ts';
import { run, serve, webServer } from './support/programs.ts';

const SERVERS = ['berlin', 'munich'] as const;

async function natted(nat: readonly [NatKind | undefined, NatKind | undefined], routed = false): Promise<Lab> {
  const lab = await buildLab(twoSites({ uplinks: [{ nat, routed }] }));
  for (const site of SERVERS) {
    await serve(lab, site, webServer('0.0.0.0', 8388, site));
    await serve(lab, site, udpEcho(8388));
  }
  return lab;
}

/** Answers with whom it saw. */
function udpEcho(port: number): string {
  return `const s = require('dgram').createSocket('udp4');
    s.on('message', (m, f) => s.send(f.address, f.port, f.address)); s.bind(${port}, () => console.log('ready'));`;
}

/** For an answer that comes, and for one that must not come. */
const [PATIENCE_SECONDS, VAIN_SECONDS] = [20, 1];

/** What the far end said, or `nothing`. */
async function tcp(lab: Lab, from: string, to: string, patienceSeconds = PATIENCE_SECONDS): Promise<string> {
  const { code, stdout } = await lab.exec(from, ['curl', '-sS', '--max-time', String(patienceSeconds), `http://${to}/`]);
  return code === 0 ? stdout : 'nothing';
}

function udp(lab: Lab, from: string, host: string, port: number, patienceSeconds = PATIENCE_SECONDS): Promise<string> {
  return run(
    lab,
    from,
    `const s = require('dgram').createSocket('udp4'); const end = (t) => { console.log(t); process.exit(); };
     s.on('message', (m) => end(String(m))); s.send('hello', ${port}, '${host}'); setTimeout(end, ${patienceSeconds * 1_000}, 'nothing');`,
  );
}

const toml = (lab: Lab, site: string) => new Map(configurationFiles(lab.topology)).get(`${site}/${site}.toml`)!;

describe('NAT', () => {
  it.each([false, true])(
    '1:1 at both ends lets both in by the public address and hides the private one (with a router: %s)',
    async (routed) => {
      using lab = await natted(['1:1', '1:1'], routed);
      const far = routed ? '203.0.113.129' : '203.0.113.2';
      expect(await tcp(lab, 'berlin', `${far}:8388`)).toBe('munich 203.0.113.1');
      expect(await tcp(lab, 'munich', '203.0.113.1:8388')).toBe(`berlin ${far}`);
      expect(await udp(lab, 'berlin', far, 8388)).toBe('203.0.113.1');
      expect(await udp(lab, 'munich', '203.0.113.1', 8388)).toBe(far);
      expect(await tcp(lab, 'berlin', '192.168.0.2:8388', VAIN_SECONDS)).toBe('nothing');
      const rules = await lab.must('nat-fiber-munich', ['nft', 'list', 'table', 'ip', 'nat_box']);
      expect(rules).toMatch(/counter packets [1-9]\d* bytes \d+ dnat to 192\.168\.0\.2/);
      expect(toml(lab, 'berlin')).toContain('public = "203.0.113.1"');
      expect(toml(lab, 'berlin')).toContain(`["${far}"]`);
    },
  );

  it('1:1 at one end leaves the other as it is', async () => {
    using lab = await natted(['1:1', undefined]);
    expect(await tcp(lab, 'berlin', '203.0.113.2:8388')).toBe('munich 203.0.113.1');
    expect(await tcp(lab, 'munich', '203.0.113.1:8388')).toBe('berlin 203.0.113.2');
    expect(toml(lab, 'munich')).not.toContain('public');
  });

  it('with forwarded ports lets in by these alone', async () => {
    using lab = await natted(['ports', 'ports']);
    expect(await tcp(lab, 'berlin', '203.0.113.2:18388')).toBe('munich 203.0.113.1');
    expect(await udp(lab, 'munich', '203.0.113.1', 18388)).toBe('203.0.113.2');
    expect(await tcp(lab, 'berlin', '203.0.113.2:8388', VAIN_SECONDS)).toBe('nothing');
    expect(toml(lab, 'berlin')).toContain('["203.0.113.2:18388"]');
  });

  it('of a carrier lets nobody in', async () => {
    using lab = await natted([undefined, 'cgnat']);
    expect(await tcp(lab, 'munich', '203.0.113.1:8388')).toBe('berlin 203.0.113.2');
    expect(await udp(lab, 'munich', '203.0.113.1', 8388)).toBe('203.0.113.2');
    expect(await tcp(lab, 'berlin', '203.0.113.2:8388', VAIN_SECONDS)).toBe('nothing');
    expect(await udp(lab, 'berlin', '203.0.113.2', 8388, VAIN_SECONDS)).toBe('nothing');
    expect(toml(lab, 'berlin')).not.toContain('addresses');
    expect(toml(lab, 'munich')).toContain('["203.0.113.1"]');
  });

  it('does not keep one uplink from another where there is an internet', async () => {
    using lab = await buildLab(twoSites({ internet: true, uplinks: [{ nat: [undefined, undefined] }, { nat: 'cgnat' }] }));
    await serve(lab, 'munich', webServer('203.0.113.129', 8388, 'munich'));
    const { code, stdout } = await lab.exec('berlin', [
      'curl',
      '-sS',
      '--interface',
      'cable',
      '--max-time',
      String(PATIENCE_SECONDS),
      'http://203.0.113.129:8388/',
    ]);
    expect([code, stdout]).toEqual([0, 'munich 198.51.100.1']);
    expect(toml(lab, 'berlin')).toContain('["203.0.113.129"]');
    expect(toml(lab, 'berlin')).not.toContain('paired');
  });
});

type FlowOptions = Partial<GapsOptions> & {
  readonly least?: { readonly joins?: number; readonly bytes?: number };
  /** How long its first bytes may take. */
  readonly startMs?: number;
};

describe('a middlebox', () => {
  let lab: Lab;
  const on: [string, Middlebox][] = [];
  beforeAll(async () => {
    lab = await buildLab(twoSites({ uplinks: [{ routed: true }, { routed: true }] }));
    await lab.must('berlin', ['sh', '-ec', 'echo 0 > /proc/sys/net/mptcp/blackhole_timeout']);
    await lab.must('berlin', ['sh', '-ec', 'ip mptcp limits set subflow 1; ip mptcp endpoint add 10.1.0.1 dev cable subflow']);
    await lab.must('munich', ['sh', '-ec', 'ip rule add from 10.1.1.2 lookup 9; ip route add default via 10.1.1.254 table 9']);
    await lab.must('munich', ['sh', '-ec', 'ip mptcp limits set subflow 1']);
    // The join goes from cable to the address of fiber, which cable's router knows only through us.
    await lab.must('berlin', ['sh', '-ec', 'ip rule add from 10.1.0.1 lookup 9; ip route add default via 10.1.0.254 table 9']);
    await lab.must('router-cable', ['ip', 'route', 'add', '10.0.1.0/24', 'via', '10.1.1.2']);
    await lab.must('munich', ['ip', 'route', 'add', '10.1.0.0/24', 'via', '10.1.1.254']);
  });
  afterAll(() => lab?.close());
  afterEach(() => {
    for (const [uplink, kind] of on.splice(0)) lab.middlebox(uplink, kind, false);
  });

  const put = (uplink: string, kind: Middlebox) => {
    lab.middlebox(uplink, kind, true);
    on.push([uplink, kind]);
  };
  const counted = async (uplink: string, kind: Middlebox) => {
    const text = await lab.must(`router-${uplink}`, ['nft', 'list', 'table', 'inet', middleboxTable(kind)]);
    return [...text.matchAll(/counter packets (\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  };
  const counter = async (node: string, name: string) => {
    const text = await lab.must(node, ['nstat', '-asz', `MPTcpExt${name}`]);
    return Number(new RegExp(`MPTcpExt${name}\\s+(\\d+)`).exec(text)?.[1] ?? 0);
  };

  /**
   * One flow between the gateways: whether all arrived, how many joins stood, and how long the first byte took. It goes on until so many
   * joins stood and so many bytes came.
   */
  async function flow({ least = {}, startMs = 20_000, ...options }: FlowOptions = {}) {
    const joins = await counter('munich', 'MPJoinAckRx');
    const fallen = (await counter('berlin', 'MPCapableFallbackSYNACK')) + (await counter('munich', 'MPCapableFallbackACK'));
    const dialledMs = performance.now();
    await using flows = await gaps(lab, {
      from: 'berlin',
      to: 'munich',
      address: '10.0.1.2',
      mptcp: true,
      flows: [{ kind: 'thin', directions: ['up', 'down'] }],
      settleMs: 10_000,
      ...options,
    });
    await flows.untilStarted(startMs);
    const firstMs = performance.now() - dialledMs;
    await sleep(300);
    const { joins: joinsLeast = 0, bytes: bytesLeast = 0 } = least;
    const enough = async () =>
      (await counter('munich', 'MPJoinAckRx')) - joins >= joinsLeast &&
      (await flows.look()).reduce((sum, one) => sum + one.bytes, 0) > bytesLeast;
    await expect.poll(enough).toBe(true);
    const results = await flows.stop();
    return {
      intact: results.every((one) => one.intact),
      firstMs,
      joins: (await counter('munich', 'MPJoinAckRx')) - joins,
      fallen: (await counter('berlin', 'MPCapableFallbackSYNACK')) + (await counter('munich', 'MPCapableFallbackACK')) - fallen,
    };
  }

  it('that is not there changes nothing', async () => {
    expect(await flow({ least: { joins: 1 } })).toMatchObject({ intact: true, joins: 1, fallen: 0 });
  });

  it.each(['strip-syn', 'strip-synack'] as const)('of kind %s makes plain TCP of a connection', async (kind) => {
    put('fiber', kind);
    const found = await flow();
    expect(found).toMatchObject({ intact: true, joins: 0 });
    expect(found.fallen).toBeGreaterThan(0);
    expect(await counted('fiber', kind)).toBeGreaterThan(0);
  });

  it('that strips joins leaves the connection, with one subflow', async () => {
    put('cable', 'strip-join');
    expect(await flow()).toMatchObject({ intact: true, joins: 0, fallen: 0 });
    expect(await counted('cable', 'strip-join')).toBeGreaterThan(0);
  });

  it('that strips the rest lets the handshake through', async () => {
    put('cable', 'strip-established');
    expect((await flow()).intact).toBe(true);
    expect(await counted('cable', 'strip-established')).toBeGreaterThan(0);
  });

  it('that drops SYNs with the option costs seconds', async () => {
    put('fiber', 'drop-syn');
    const found = await flow();
    expect(found.firstMs).toBeGreaterThan(900);
    expect(found).toMatchObject({ intact: true, joins: 0 });
    expect(await counted('fiber', 'drop-syn')).toBeGreaterThan(0);
  });

  it('that narrows the way says so, and bulk goes on', async () => {
    put('fiber', 'mtu');
    const bulk = [{ kind: 'bulk', directions: ['up', 'down'] }] as const;
    expect((await flow({ mptcp: false, flows: bulk, least: { bytes: 5_000_000 } })).intact).toBe(true);
    expect(await lab.must('berlin', ['ip', 'route', 'get', '10.0.1.2'])).toContain('mtu 1300');
  });

  it('that narrows it and keeps silent stops bulk, and lets small messages through', async () => {
    // What was learnt before is forgotten.
    for (const site of ['berlin', 'munich']) await lab.must(site, ['ip', 'route', 'flush', 'cache']);
    put('fiber', 'mtu-silent');
    expect((await flow({ mptcp: false })).intact).toBe(true);
    const bulk = flow({ mptcp: false, flows: [{ kind: 'bulk', directions: ['up'] }], startMs: 4_000, settleMs: 1_500 });
    expect((await bulk.catch(() => ({ intact: false }))).intact).toBe(false);
    expect(await counted('fiber', 'mtu-silent')).toBeGreaterThan(0);
  });

  it('that blocks UDP leaves TCP alone', async () => {
    put('fiber', 'udp-block');
    const between = { from: 'berlin', to: 'munich', address: '10.0.1.2' };
    expect((await delays(lab, { ...between, packets: 5, patienceMs: 1_000 })).received).toBe(0);
    expect((await flow({ mptcp: false })).intact).toBe(true);
    lab.middlebox('fiber', 'udp-block', false);
    expect((await delays(lab, { ...between, packets: 5 })).received).toBe(5);
  });
});

describe('an uplink at run time', () => {
  it('gets another address, loses it, is taken down, and comes back with its way out', async () => {
    using lab = await buildLab(twoSites({ uplinks: [{ routed: true }] }));
    await serve(lab, 'munich', webServer('0.0.0.0', 8388, 'munich'));
    const get = (patienceSeconds?: number) => tcp(lab, 'berlin', '10.0.1.2:8388', patienceSeconds);
    expect(await get()).toBe('munich 10.0.0.1');
    lab.address('fiber', 'berlin', '10.0.0.77/24');
    expect(await get()).toBe('munich 10.0.0.77');
    lab.removeAddress('fiber', 'berlin');
    expect(await get(VAIN_SECONDS)).toBe('nothing');
    lab.addAddress('fiber', 'berlin');
    expect(await get()).toBe('munich 10.0.0.77');
    lab.link('fiber', 'berlin', false);
    expect(await get(VAIN_SECONDS)).toBe('nothing');
    lab.link('fiber', 'berlin', true);
    expect(await get()).toBe('munich 10.0.0.77');
  });

  it('loses its carrier behind a NAT box', async () => {
    using lab = await buildLab(twoSites({ uplinks: [{ nat: '1:1', delayMs: 1 }] }));
    const flags = async () =>
      (JSON.parse(await lab.must('munich', ['ip', '-j', 'link', 'show', 'fiber'])) as { flags: string[] }[])[0]!.flags;
    await lab.carrier('fiber', 'munich', false);
    await expect.poll(flags).toContain('NO-CARRIER');
    await lab.carrier('fiber', 'munich', true);
    await expect.poll(flags).toContain('LOWER_UP');
  });
});
