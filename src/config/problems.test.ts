import { chownSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BraidError, BraidErrors } from '../error.ts';
import { BERLIN, key, PARIS, THREE, writeKeys } from './example.ts';
import { loadConfig, parseConfig } from './load.ts';
import { nearest } from './problems.ts';

let folder = '';
beforeAll(() => {
  folder = writeKeys();
});
afterAll(() => rmSync(folder, { recursive: true }));

function problemsOf(text: string): string[] {
  try {
    parseConfig(join(folder, 'berlin.toml'), text);
  } catch (error) {
    const all = error instanceof BraidErrors ? error.all : [error as BraidError];
    if (!(all[0] instanceof BraidError)) throw error;
    return all.map(({ code, message, place, hint }) =>
      `${code} ${place?.line}:${place?.column}: ${message}${hint === undefined ? '' : ` | ${hint}`}`.replaceAll(folder, 'DIR'),
    );
  }
  return [];
}

/** Line `n` of BERLIN replaced, or text added behind it. */
const line = (n: number, text: string) =>
  BERLIN.split('\n')
    .map((old, i) => (i === n - 1 ? text : old))
    .join('\n');
const added = (text: string) => `${BERLIN}${text}\n`;
const UNKNOWN_PEER = 'site, lan, addresses, receive_key, send_key, kind, method, transport, pairing, snat, packets, policy, allow';

describe('what is wrong with a configuration is said in one line with its place', () => {
  it.each<[string, string, string[]]>([
    [
      'an unknown key',
      line(7, 'speed = 3'),
      ['CONFIG_UNKNOWN_KEY 7:1: uplink[0].speed: unknown key | known here: name, device, address, gateway, public, role, weight, metered'],
    ],
    ['a misspelt key', line(7, '  meterd = true'), ['CONFIG_UNKNOWN_KEY 7:3: uplink[0].meterd: unknown key (did you mean "metered"?)']],
    ['an unknown table', added('[netwrok]\nmark = 1'), ['CONFIG_UNKNOWN_KEY 18:2: netwrok: unknown key (did you mean "network"?)']],
    [
      'a key of a later version',
      added('weight = 3'),
      [`CONFIG_UNKNOWN_KEY 18:1: peer[0].weight: unknown key | known here: ${UNKNOWN_PEER}`],
    ],
    ['a wrong type', line(2, 'lan = "172.16.0.0/24"'), ['CONFIG_VALUE 2:7: lan: expected a list, got a string ("172.16.0.0/24")']],
    [
      'a table where a list of tables is meant',
      BERLIN.replace('[[peer]]', '[peer]'),
      ['CONFIG_VALUE 12:1: peer: expected a list, got a table | each is a section of its own: [[peer]] for [peer]'],
    ],
    ['a wrong type in a list', line(2, 'lan = ["172.16.0.0/24",\n 5]'), ['CONFIG_VALUE 3:2: lan[1]: expected a string, got a number (5)']],
    ['a number with a fraction', line(3, 'listen = 8388.5'), ['CONFIG_VALUE 3:10: listen: expected a whole number, got 8388.5']],
    ['a port out of range', line(3, 'listen = 65536'), ['CONFIG_VALUE 3:10: listen: expected at most 65535, got 65536']],
    ['a missing key', line(6, ''), ['CONFIG_VALUE 4:1: uplink[0].device: is missing | The network device.']],
    [
      'a missing table',
      BERLIN.slice(0, BERLIN.indexOf('[[uplink]]')),
      ['CONFIG_VALUE 1:1: uplink: is missing | A way out, one `[[uplink]]` section each.'],
    ],
    [
      'no uplink at all',
      `uplink = []\n${BERLIN.replace(/\[\[uplink\]\]\n.*\n.*\n/g, '')}`,
      ['CONFIG_VALUE 1:10: uplink: expected at least 1, got 0'],
    ],
    [
      'a value that is none of the choices',
      line(7, 'role = "spare"'),
      ['CONFIG_VALUE 7:8: uplink[0].role: expected "active" or "backup", got "spare"'],
    ],
    [
      'a bad name of a site',
      line(1, 'site = "Berlin-Mitte"'),
      [
        'CONFIG_VALUE 1:8: site: expected 1 to 11 of a-z, 0-9 and -, got "Berlin-Mitte" | devices, tables and files are named after the site; the kernel allows them no more',
      ],
    ],
    ['a syntax error', line(2, 'lan = ["172.16.0.0/24"'), ['CONFIG_SYNTAX 4:1: expected comma or end of structure']],
    [
      'a key given twice',
      line(3, 'site = "munich"'),
      ['CONFIG_SYNTAX 3:1: trying to redefine an already defined table or value | the same key, or the same section, is there twice'],
    ],
    [
      'a text without quotes',
      line(1, 'site = berlin'),
      ['CONFIG_SYNTAX 1:8: invalid value | a text stands in quotes: name = "fiber"; what is none is a number, true or false'],
    ],
    [
      'host bits',
      line(2, 'lan = ["172.16.0.1/24"]'),
      ['CONFIG_VALUE 2:8: lan[0]: 172.16.0.1/24 has bits set behind the prefix length | did you mean "172.16.0.0/24"?'],
    ],
    [
      'a prefix without its length',
      line(2, 'lan = ["172.16.0.1"]'),
      ['CONFIG_VALUE 2:8: lan[0]: expected ADDRESS/LENGTH, got "172.16.0.1" | one host alone is "172.16.0.1/32"'],
    ],
    [
      'no prefix',
      line(2, 'lan = ["office"]'),
      ['CONFIG_VALUE 2:8: lan[0]: expected a prefix like "172.16.0.0/24" or "fd00:16::/64", got "office"'],
    ],
    [
      'our own prefix in a peer',
      line(14, 'lan = ["172.16.0.0/24"]'),
      ['CONFIG_PREFIX_OVERLAP 14:8: peer[0].lan[0]: 172.16.0.0/24 overlaps 172.16.0.0/24 of our own lan'],
    ],
    [
      'a peer that overlaps our own',
      line(14, 'lan = ["172.16.0.0/16"]'),
      ['CONFIG_PREFIX_OVERLAP 14:8: peer[0].lan[0]: 172.16.0.0/16 overlaps 172.16.0.0/24 of our own lan'],
    ],
    [
      'two peers that overlap',
      THREE.replace('172.16.2.0/24', '172.16.1.128/25'),
      ['CONFIG_PREFIX_OVERLAP 22:8: peer[1].lan[0]: 172.16.1.128/25 overlaps 172.16.1.0/24 of the lan of munich'],
    ],
    [
      'a peer behind one of our addresses',
      line(14, 'lan = ["10.9.0.0/16"]').replace('device = "eth2"', 'device = "eth2"\naddress = "10.9.0.1"'),
      ['CONFIG_PREFIX_OVERLAP 15:8: peer[0].lan[0]: 10.9.0.0/16 contains 10.9.0.1, our address on fiber'],
    ],
    [
      'a peer behind its own address',
      line(14, 'lan = ["10.1.0.0/16"]'),
      ['CONFIG_PREFIX_OVERLAP 14:8: peer[0].lan[0]: 10.1.0.0/16 contains 10.1.0.2, an address of munich'],
    ],
    [
      'everything as a lan',
      line(14, 'lan = ["0.0.0.0/0"]'),
      ['CONFIG_PREFIX_OVERLAP 14:8: peer[0].lan[0]: 0.0.0.0/0 overlaps 127.0.0.0/8 (loopback)'],
    ],
    ['two uplinks of one name', line(9, 'name = "fiber"'), ['CONFIG_VALUE 9:8: uplink[1].name: fiber is already the name of uplink[0]']],
    [
      'two uplinks on one device',
      line(10, 'device = "eth2"'),
      [
        'CONFIG_VALUE 10:10: uplink[1].device: eth2 is already the device of uplink[0] | two uplinks may share a device where each has its own `address`',
      ],
    ],
    [
      'two addresses of one family',
      line(7, 'address = ["10.0.0.1", "10.0.0.3"]'),
      ['CONFIG_VALUE 7:24: uplink[0].address[1]: expected one IPv4 and one IPv6 address, got two of IPv4'],
    ],
    [
      'an address that is none',
      line(7, 'address = "10.0.0.256"'),
      ['CONFIG_VALUE 7:11: uplink[0].address: expected an IPv4 or IPv6 address, got "10.0.0.256"'],
    ],
    ['a loopback address', line(7, 'address = "127.0.0.1"'), ['CONFIG_VALUE 7:11: uplink[0].address: 127.0.0.1 is a loopback address']],
    [
      'a public address that is none',
      line(7, 'public = "127.0.0.1"'),
      ['CONFIG_VALUE 7:10: uplink[0].public: 127.0.0.1 is a loopback address'],
    ],
    [
      'a key where its file belongs: it goes into no message',
      line(17, `send_key = "${key(9)}"`),
      [
        'CONFIG_VALUE 17:12: peer[0].send_key: expected { file = "NAME" }, got a string | a key has a file of its own, mode 0600: (umask 077; braid genkey > NAME)',
      ],
    ],
    [
      'a key in place of the name of its file',
      line(17, `send_key = { file = "${key(9)}:${key(8)}" }`),
      ['KEY_READ 17:21: peer[0].send_key.file: expected the name of a file, got what looks like a key | put it into a file, mode 0600'],
    ],
    [
      'a number in place of the name of a key file',
      line(17, 'send_key = { file = 5 }'),
      [
        'CONFIG_VALUE 17:21: peer[0].send_key.file: expected the name of a file, got a number | a key has a file of its own, mode 0600: (umask 077; braid genkey > NAME)',
      ],
    ],
    ['a peer that is ourselves', line(13, 'site = "berlin"'), ['CONFIG_VALUE 13:8: peer[0].site: berlin is this site']],
    [
      'two peers of one name',
      THREE.replace('site = "paris"', 'site = "munich"'),
      ['CONFIG_VALUE 21:8: peer[1].site: munich is already the site of peer[0]'],
    ],
    [
      'a name as an address',
      line(15, 'addresses = ["gw.example.net:8388"]'),
      [
        'CONFIG_VALUE 15:14: peer[0].addresses[0]: gw.example.net:8388 is a name; this version takes addresses only | write the address: a path is pinned to one, and a name could not be looked up while the uplink is down',
      ],
    ],
    [
      'a port without brackets',
      line(15, 'addresses = ["10.0.0.2:70000"]'),
      ['CONFIG_VALUE 15:14: peer[0].addresses[0]: expected ADDRESS, ADDRESS:PORT or [IPV6]:PORT, got "10.0.0.2:70000"'],
    ],
    [
      'one address for two peers',
      THREE.replace('[2001:db8::2]:8388', '10.0.0.2'),
      ['CONFIG_VALUE 23:14: peer[1].addresses[0]: 10.0.0.2 is already an address of munich'],
    ],
    [
      'a peer at our own address',
      line(7, 'address = "10.0.0.2"'),
      ['CONFIG_VALUE 15:14: peer[0].addresses[0]: 10.0.0.2 is our address on fiber'],
    ],
    [
      'a kind of peer that nobody knows',
      added('kind = "wireguard"'),
      ['CONFIG_VALUE 18:8: peer[0].kind: expected "braid" or "shadowsocks", got "wireguard"'],
    ],
    [
      'a rule about clients that a foreign peer does not tell',
      added('kind = "shadowsocks"\n[[peer.allow]]\nfrom = ["172.16.1.0/25"]\nto = ["172.16.0.10/32"]'),
      [
        'CONFIG_VALUE 20:8: peer[0].allow[0].from: a peer of kind "shadowsocks" does not tell whose flow it brings | leave `from` out; `to` and `ports` hold for everybody behind it',
      ],
    ],
    [
      'a name that leads elsewhere',
      added('kind = "shadowsocks"\n[names]\n"nas.example.org" = "192.0.2.1"'),
      ['CONFIG_VALUE 20:21: names.nas.example.org: 192.0.2.1 does not lie in our lan | our lan is 172.16.0.0/24, fd00:16::/64'],
    ],
    [
      'a name given twice',
      added('kind = "shadowsocks"\n[names]\nnas = "172.16.0.20"\nNAS = "172.16.0.21"'),
      ['CONFIG_VALUE 21:7: names.NAS: NAS is the same name as nas'],
    ],
    [
      'names that nobody asks for',
      added('[names]\nnas = "172.16.0.20"'),
      ['CONFIG_VALUE 18:1: names: only a peer of kind "shadowsocks" asks by name | remove the section'],
    ],
    [
      'a foreign peer without the key we dial it with',
      `${line(17, '')}kind = "shadowsocks"\n`,
      ['CONFIG_VALUE 12:1: peer[0].send_key: is missing | the key we dial the peer with'],
    ],
    [
      'the packet lane',
      added('packets = "uot"'),
      [
        'CONFIG_VALUE 18:11: peer[0].packets: "uot" is with a peer of kind "shadowsocks" only | leave it out: "udp" carries UDP and everything else',
      ],
    ],
    [
      'datagrams of two Braids with something else',
      added('kind = "shadowsocks"\npackets = "udp"'),
      [
        'CONFIG_VALUE 19:11: peer[0].packets: "udp" is between two Braids only | set "uot" for UDP over its streams, "ss-udp" for its own datagrams, or leave it out',
      ],
    ],
    [
      'UDP in the format of Shadowsocks with a Braid',
      added('packets = "ss-udp"'),
      [
        'CONFIG_VALUE 18:11: peer[0].packets: "ss-udp" is with a peer of kind "shadowsocks" only | leave it out: "udp" carries UDP and everything else',
      ],
    ],
    [
      'what ECMP does not do',
      added('transport = "ecmp"\nsnat = true\n[[peer.allow]]\nports = [22]\n[[peer.policy]]\nclass = "duplicate"'),
      ['allow', 'policy', 'snat'].map(
        (key) =>
          `CONFIG_VALUE 18:13: peer[0].transport: "ecmp" leaves nothing for \`${key}\` to do | remove it, or use \`transport = "mptcp"\`; what may pass between the sites is for the firewall to say then`,
      ),
    ],
    [
      'ECMP with a stranger',
      added('kind = "shadowsocks"\ntransport = "ecmp"'),
      ['CONFIG_VALUE 19:13: peer[0].transport: "ecmp" is between two Braids only | they tell each other which paths live'],
    ],
    [
      'an unknown method',
      added('method = "aes-256-gcm"'),
      [
        'CONFIG_VALUE 18:10: peer[0].method: expected "2022-blake3-aes-128-gcm" or "2022-blake3-aes-256-gcm" or "2022-blake3-chacha20-poly1305", got "aes-256-gcm"',
      ],
    ],
    [
      'a bad port range',
      added('[[peer.allow]]\nports = [22, "90-80", true]'),
      [
        'CONFIG_VALUE 19:14: peer[0].allow[0].ports[1]: expected PORT or "FIRST-LAST" within 1 to 65535, got "90-80"',
        'CONFIG_VALUE 19:23: peer[0].allow[0].ports[2]: expected a number or a string, got true',
      ],
    ],
    [
      'a rule for what is not ours',
      added('[[peer.allow]]\nto = ["192.168.0.0/24"]'),
      ['CONFIG_VALUE 19:7: peer[0].allow[0].to[0]: 192.168.0.0/24 does not lie in our lan | our lan is 172.16.0.0/24, fd00:16::/64'],
    ],
    [
      'a rule for who is not the peer',
      added('[[peer.allow]]\nfrom = ["172.16.0.0/16"]'),
      ["CONFIG_VALUE 19:9: peer[0].allow[0].from[0]: 172.16.0.0/16 does not lie in the peer's lan | the peer's lan is 172.16.1.0/24"],
    ],
    [
      'two peers without an identity key',
      `${BERLIN}${PARIS}`,
      [
        'CONFIG_VALUE 1:1: identity_key: is missing: with two peers or more it tells them apart | braid genkey --method 2022-blake3-aes-128-gcm',
      ],
    ],
    [
      'an identity key with ChaCha',
      `identity_key = { file = "long2.key" }\n${BERLIN.replaceAll('from-munich', 'long')
        .replace('to-munich', 'long3')
        .replace('[[peer]]', '[[peer]]\nmethod = "2022-blake3-chacha20-poly1305"')
        .replace(/addresses.*\n/, '')}`,
      ['CONFIG_VALUE 1:16: identity_key: 2022-blake3-chacha20-poly1305 has no identity headers | remove the key, or use an AES method'],
    ],
    [
      'two methods',
      THREE.replace('site = "paris"', 'site = "paris"\nmethod = "2022-blake3-aes-256-gcm"')
        .replace('from-paris', 'long')
        .replace('to-paris', 'long2'),
      [
        'CONFIG_VALUE 22:10: peer[1].method: 2022-blake3-aes-256-gcm differs from 2022-blake3-aes-128-gcm of peer[0] | one port receives all peers, so all of them use one method',
      ],
    ],
    [
      'a mark outside its mask',
      added('[network]\nmark = 0x142'),
      ['CONFIG_VALUE 19:8: network.mark: 0x142 has bits outside the mask 0xff000000 | the mark lies within `mask`'],
    ],
    ['a mark of nothing', added('[network]\nmark = 0'), ['CONFIG_VALUE 19:8: network.mark: expected at least 1, got 0']],
    [
      "the kernel's own tables",
      added('[network]\ntable_base = 251'),
      ["CONFIG_VALUE 19:14: network.table_base: tables 251 to 255 run into 253 to 255, which are the kernel's | the default is 4200"],
    ],
    [
      'one port for two things',
      added('[network]\ntproxy_port = 8388'),
      ['CONFIG_VALUE 19:15: network.tproxy_port: 8388 is the port that peers dial (`listen`)'],
    ],
    [
      'a peer nobody could dial',
      line(17, ''),
      [
        'CONFIG_VALUE 12:1: peer[0].send_key: is missing | the key we dial the peer with; a peer without `addresses` is not dialled, but heartbeats are sealed with what comes of both keys',
      ],
    ],
  ])('%s', (_, text, expected) => {
    expect(problemsOf(text)).toEqual(expected);
  });

  it('reports everything at once, in the order of the lines', () => {
    const text = line(2, 'lan = ["172.16.1.0/24"]\nlisten = "many"')
      .replace('"eth3"', '"eth3"\nrole = 1')
      .replace('from-munich.key', 'gone.key');
    expect(problemsOf(text)).toEqual([
      'CONFIG_VALUE 3:10: listen: expected a number, got a string ("many")',
      'CONFIG_VALUE 12:8: uplink[1].role: expected "active" or "backup", got 1',
      'CONFIG_PREFIX_OVERLAP 16:8: peer[0].lan[0]: 172.16.1.0/24 overlaps 172.16.1.0/24 of our own lan',
      'KEY_READ 18:24: peer[0].receive_key.file: gone.key: there is no such file | (umask 077; braid genkey > DIR/gone.key)',
    ]);
  });

  it('says which file cannot be read', () => {
    expect(() => loadConfig(join(folder, 'none.toml'))).toThrow(`${join(folder, 'none.toml')}: there is no such file`);
    expect(() => loadConfig(folder)).toThrow(`${folder}: it is a directory`);
  });
});

describe('a key file', () => {
  const munich = (file: string) => line(16, `receive_key = { file = "${file}" }`);
  it.each<[string, string, string]>([
    [
      'readable by others',
      munich('open.key'),
      'KEY_MODE 16:24: peer[0].receive_key.file: open.key is readable or writable by others (mode 0640) | chmod 600 DIR/open.key',
    ],
    [
      'of a wrong length',
      munich('long.key'),
      'KEY_LENGTH 16:24: peer[0].receive_key.file: key for 2022-blake3-aes-128-gcm expected 16 bytes, long.key has 32 | braid genkey --method 2022-blake3-aes-128-gcm',
    ],
    [
      'that is missing',
      munich('gone.key'),
      'KEY_READ 16:24: peer[0].receive_key.file: gone.key: there is no such file | (umask 077; braid genkey > DIR/gone.key)',
    ],
    [
      'that holds no base64',
      munich('text.key'),
      'KEY_READ 16:24: peer[0].receive_key.file: text.key is not one line of base64 | braid genkey --method 2022-blake3-aes-128-gcm',
    ],
    ['that is a directory', munich('folder.key'), 'KEY_READ 16:24: peer[0].receive_key.file: folder.key is no regular file'],
    [
      'with two keys where one belongs',
      munich('two.key'),
      'KEY_READ 16:24: peer[0].receive_key.file: two.key holds 2 keys, expected one | IDENTITY:USER is for a send_key with an AES method',
    ],
    [
      'with the key of the other direction',
      line(17, 'send_key = { file = "copy.key" }'),
      'CONFIG_VALUE 17:21: peer[0].send_key.file: the same key as the receive_key of munich | the send_key of munich needs a key of its own: each pair of sites has one for each direction',
    ],
    [
      "with another peer's key",
      THREE.replace('from-paris.key', 'copy.key'),
      'CONFIG_VALUE 24:24: peer[1].receive_key.file: the same key as the receive_key of munich | the receive_key of paris needs a key of its own: each pair of sites has one for each direction',
    ],
  ])('%s is refused', (_, text, expected) => {
    expect(problemsOf(text)).toEqual([expected]);
  });

  it.runIf(process.geteuid?.() === 0)('of another user is refused', () => {
    const file = join(folder, 'foreign.key');
    writeFileSync(file, key(20), { mode: 0o600 });
    chownSync(file, 1234, 1234);
    expect(problemsOf(munich('foreign.key'))).toEqual([
      'KEY_MODE 16:24: peer[0].receive_key.file: foreign.key belongs to user 1234 | chown root DIR/foreign.key',
    ]);
  });
});

describe('the nearest known word', () => {
  it.each([
    ['lisen', 'listen'],
    ['lsiten', 'listen'],
    ['snta', 'snat'],
    ['sites', 'site'],
    ['x', undefined],
    ['ln', 'lan'],
    ['gateways', undefined],
  ])('to %s is %s', (word, expected) => expect(nearest(word, ['site', 'lan', 'listen', 'snat'])).toBe(expected));
});
