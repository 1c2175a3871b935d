import { describe, expect, it } from 'vitest';
import { type BraidError, BraidErrors } from '../error.ts';
import { key, NODE1, recipe, recipeText } from './recipe.fixture.ts';
import { readSingBox } from './sing-box-read.ts';

const read = (value: unknown) =>
  readSingBox([{ file: 'c.json', text: typeof value === 'string' ? value : JSON.stringify(value, null, 1) }]);
const failures = (value: unknown): string[] => {
  try {
    read(value);
  } catch (error) {
    const all = error instanceof BraidErrors ? error.all : [error as BraidError];
    return all.map(({ code, message }) => `${code} ${message}`);
  }
  return [];
};
type Recipe = ReturnType<typeof recipe>;
/** The recipe with something else in it. */
const changed = (change: (config: Recipe & Record<string, unknown>) => void) => {
  const config = structuredClone(recipe(NODE1)) as Recipe & Record<string, unknown>;
  change(config);
  return config;
};
const inbound = (more: object) => changed((config) => Object.assign(config.inbounds[0]!, more));
const outbound = (more: object) => changed((config) => Object.assign(config.outbounds[0]!, more));

describe('the recipe', () => {
  it('is read as it is meant', () => {
    const { site, warnings, leftOut } = read(recipeText(NODE1));
    expect(site).toEqual({
      listenPort: 8388,
      method: '2022-blake3-aes-128-gcm',
      receiveKey: key(1),
      sendKey: key(2),
      server: '10.0.0.2',
      serverPort: 8388,
      remoteLan: ['172.16.1.0/24'],
      packets: 'uot',
      tunDevices: ['tun0'],
    });
    expect(warnings).toEqual([]);
    expect(leftOut.join('\n')).toContain('inbounds[1]: Braid takes LAN traffic up by itself');
  });

  it('may be spread over files, as `sing-box -c A -c B` reads them', () => {
    const { inbounds, outbounds, route } = recipe(NODE1);
    const files = [{ inbounds }, { outbounds, route }].map((part, i) => ({ file: `${i}.json`, text: JSON.stringify(part) }));
    expect(readSingBox(files).site).toEqual(read(recipeText(NODE1)).site);
  });
});

describe('variations', () => {
  it.each([
    [
      'users below an identity key',
      inbound({ password: key(9), users: [{ name: 'munich', password: key(8) }] }),
      { identityKey: key(9), receiveKey: key(8) },
    ],
    ['a user key to dial with', outbound({ password: `${key(7)}:${key(6)}` }), { sendKey: `${key(7)}:${key(6)}` }],
    ['UDP in its own format', outbound({ udp_over_tcp: false }), { packets: 'ss-udp' }],
    ['UDP over TCP as a table', outbound({ udp_over_tcp: { enabled: true, version: 2 } }), { packets: 'uot' }],
    ['TCP only', outbound({ udp_over_tcp: undefined, network: 'tcp' }), { packets: 'off' }],
    ['another port there', outbound({ server_port: 9000 }), { serverPort: 9000 }],
    [
      'prefixes in several rules, one as a host, one with host bits',
      changed((config) => config.route.rules.push({ ip_cidr: ['172.16.9.7', '172.16.8.9/24', '172.16.1.0/24'], outbound: 'ss-out' })),
      { remoteLan: ['172.16.1.0/24', '172.16.8.0/24', '172.16.9.7/32'] },
    ],
    [
      'a proxy for local programs beside it',
      changed((config) => config.inbounds.push({ type: 'mixed', listen_port: 1080 } as never)),
      { tunDevices: ['tun0'] },
    ],
  ])('%s', (_, config, wanted) => {
    expect(read(config).site).toMatchObject(wanted);
  });

  it('an IPv6 server is taken, with a warning: sing-box had no MPTCP there', () => {
    const { site, warnings } = read(outbound({ server: 'FD10::2' }));
    expect(site.server).toBe('fd10::2');
    expect(warnings).toEqual([expect.stringMatching(/^c\.json:\d+:\d+: server is an IPv6 address: sing-box dials those without MPTCP/)]);
  });
});

describe('what is refused', () => {
  it.each([
    [inbound({ lisen_port: 1 }), ['CONFIG_UNKNOWN_KEY inbounds[0].lisen_port: unknown field (did you mean "listen_port"?)']],
    [changed((config) => Object.assign(config, { inbound: [] })), ['CONFIG_UNKNOWN_KEY inbound: unknown field (did you mean "inbounds"?)']],
    [inbound({ password: key(1, 15) }), ['KEY_LENGTH inbounds[0].password: key for 2022-blake3-aes-128-gcm expected 16 bytes, got 15']],
    [outbound({ password: key(1, 32) }), ['KEY_LENGTH outbounds[0].password: key for 2022-blake3-aes-128-gcm expected 16 bytes, got 32']],
    [outbound({ password: 'not base64!' }), ['KEY_READ outbounds[0].password: expected a key in base64']],
    [outbound({ plugin: 'obfs-local' }), ['CONFIG_VALUE outbounds[0].plugin: a plugin is not supported']],
    [outbound({ server: 'munich.example' }), ['CONFIG_VALUE outbounds[0].server: expected an address, got "munich.example"']],
    [outbound({ method: 'aes-256-gcm' }), ['CONFIG_VALUE outbounds[0].method: method aes-256-gcm is not supported']],
    [
      outbound({ method: '2022-blake3-aes-256-gcm', password: key(2, 32) }),
      ['CONFIG_VALUE outbounds[0].method: expected 2022-blake3-aes-128-gcm, which the inbound has, got 2022-blake3-aes-256-gcm'],
    ],
    [outbound({ server_port: 70_000 }), ['CONFIG_VALUE outbounds[0].server_port: expected a port, 1 to 65535, got 70000']],
    [
      changed((config) => config.outbounds.push(recipe(NODE1).outbounds[0]!)),
      ['CONFIG_VALUE outbounds[2]: expected one outbound of type shadowsocks, got 2'],
    ],
    [
      changed((config) => config.inbounds.push({ type: 'vless' } as never)),
      ['CONFIG_VALUE inbounds[2].type: protocol vless is not supported'],
    ],
    [
      changed((config) => config.outbounds.push({ type: 'hysteria2' } as never)),
      ['CONFIG_VALUE outbounds[2].type: protocol hysteria2 is not supported'],
    ],
    [changed((config) => config.inbounds.shift()), ['CONFIG_VALUE inbounds: expected one inbound of type shadowsocks, got none']],
    [
      changed((config) => config.route.rules.shift()),
      ['CONFIG_VALUE route: no rule with `ip_cidr` leads to the shadowsocks outbound: which LAN is behind it?'],
    ],
    [
      changed((config) => Object.assign(config.route.rules[0]!, { ip_cidr: ['172.16.1.0/33'] })),
      ['CONFIG_VALUE route.rules[0].ip_cidr[0]: expected the prefix of a LAN, got "172.16.1.0/33"'],
    ],
    [
      changed((config) => Object.assign(config.route.rules[0]!, { ip_cidr: ['172.16.1.0/24', '0.0.0.0/0'] })),
      ['CONFIG_VALUE route.rules[0].ip_cidr[1]: expected the prefix of a LAN, got "0.0.0.0/0"'],
    ],
    [
      changed((config) => Object.assign(config.route.rules[0]!, { invert: true })),
      ['CONFIG_VALUE route.rules[0]: a logical or inverted rule is not supported'],
    ],
    [inbound({ users: [] }), ['CONFIG_VALUE inbounds[0].users: expected one user, got 0']],
    [inbound({ destinations: [] }), ['CONFIG_VALUE inbounds[0].destinations: a relay is not supported']],
    [{ ...recipe(NODE1), outbounds: {} }, ['CONFIG_VALUE outbounds: expected a list, got a table']],
    [[], ['CONFIG_VALUE expected a configuration in braces, got a list']],
    ['{', ['CONFIG_SYNTAX expected a name in double quotes']],
  ])('case %#', (config, wanted) => {
    expect(failures(config)).toEqual(wanted);
  });

  it('with its place: a field by its name, a value by itself', () => {
    const text = '// ours\n{ "inbounds": [\n  { "type": "shadowsocks", "lisen": 1,\n    "password": "AA==" } ] }';
    expect(() => read(text)).toThrow(BraidErrors);
    try {
      read(text);
    } catch (error) {
      const places = (error as BraidErrors).all.map(({ message, place }) => `${place?.file}:${place?.line}:${place?.column} ${message}`);
      expect(places).toContain('c.json:3:28 inbounds[0].lisen: unknown field (did you mean "listen"?)');
      expect(places).toContain('c.json:3:3 inbounds[0].listen_port: is missing');
    }
  });

  it('everything at once, and no key in any of it', () => {
    const all = failures(
      changed((config) => {
        Object.assign(config.inbounds[0]!, { password: key(77, 12), lisen: 1 });
        Object.assign(config.outbounds[0]!, { password: key(78, 12), plugin: 'x' });
      }),
    );
    expect(all).toHaveLength(4);
    expect(all.join()).not.toContain(key(77, 12));
    expect(all.join()).not.toContain(key(78, 12));
  });
});
