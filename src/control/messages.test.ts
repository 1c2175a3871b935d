import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LINE_MOST_BYTES } from './lines.ts';
import { type ControlMessage, emitMessage, type Hello, parseMessage } from './messages.ts';

const hello: Hello = {
  kind: 'hello',
  site: 'berlin',
  role: 'initiator',
  version: '0.1.0',
  instance: '00000000000000aa',
  unixMs: 1_764_000_000_000,
  nonce: Buffer.alloc(32, 1),
  publicKey: Buffer.alloc(32, 2),
  sessionId: '0123456789abcdef',
  lan: ['172.16.0.0/24', 'fd00:16::/64'],
  paths: [{ index: 0, uplink: 'fiber', role: 'active', metered: false, publicAddress: '203.0.113.1' }],
  observed: [{ path: 0, address: '198.51.100.7', port: 40_000 }],
};
const messages: ControlMessage[] = [
  hello,
  { kind: 'confirm', proof: Buffer.alloc(32, 3) },
  { kind: 'ready' },
  { kind: 'rekey', unixMs: 5, nonce: Buffer.alloc(32), publicKey: Buffer.alloc(32), sessionId: 'ffffffffffffffff' },
  { kind: 'rekey-wanted' },
  { kind: 'paths', lan: [], paths: [], observed: [] },
  { kind: 'reverse-wanted', count: 4 },
  { kind: 'ping', unixMs: 6 },
];
const lineOf = (value: unknown) => Buffer.from(JSON.stringify(value));
const plain = (message: ControlMessage) => JSON.parse(emitMessage(message).toString()) as Record<string, unknown>;

describe('control messages', () => {
  it.each(messages.map((message) => [message.kind, message] as const))('%s is read back as it was written, on one line', (_, message) => {
    const line = emitMessage(message);
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(parseMessage(line.subarray(0, -1))).toEqual(message);
  });

  it('ignores fields and kinds of a later version', () => {
    const later = { ...plain(hello), v: 7, colour: 'green', paths: [{ ...hello.paths[0], colour: 1 }] };
    expect(parseMessage(lineOf(later))).toEqual(hello);
    expect(parseMessage(lineOf({ v: 2, kind: 'bench' }))).toEqual({ kind: 'unknown' });
    for (const kind of ['__proto__', 'constructor', 'toString']) expect(parseMessage(lineOf({ v: 1, kind }))).toEqual({ kind: 'unknown' });
  });

  it.each<[string, Record<string, unknown>]>([
    ['no version', { v: undefined }],
    ['version 0', { v: 0 }],
    ['no kind', { kind: undefined }],
    ['a site that is none', { site: 'Berlin\n' }],
    ['a version that colours the terminal', { version: '1\u009b31m' }],
    ['a short nonce', { nonce: 'AAAA' }],
    ['a nonce that is no text', { nonce: 5 }],
    ['a session id in capitals', { sessionId: '0123456789ABCDEF' }],
    ['a prefix with host bits', { lan: ['172.16.0.1/24'] }],
    ['too many prefixes', { lan: Array(65).fill('10.0.0.0/8') }],
    ['a path beyond 32', { paths: [{ ...hello.paths[0], index: 32 }] }],
    ['a public address that is none', { paths: [{ ...hello.paths[0], publicAddress: 'x' }] }],
    ['an uplink with an escape sequence', { paths: [{ ...hello.paths[0], uplink: '\u001b[2J' }] }],
    ['a clock that is no number', { unixMs: 'now' }],
    ['a negative clock', { unixMs: -1 }],
    ['a port of 65,536', { observed: [{ path: 0, address: '10.0.0.1', port: 65_536 }] }],
  ])('refuses a hello with %s', (_, change) => {
    expect(parseMessage(lineOf({ ...plain(hello), ...change }))).toBeUndefined();
  });

  it('takes any line without an exception', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseMessage(bytes)));
    fc.assert(fc.property(fc.json({ maxDepth: 4 }), (text) => void parseMessage(Buffer.from(text))));
    const kinds = fc.constantFrom(...messages.map((message) => plain(message)));
    fc.assert(
      fc.property(kinds, fc.nat(), fc.jsonValue(), (message, at, value) => {
        const keys = Object.keys(message);
        parseMessage(lineOf({ ...message, [keys[at % keys.length]!]: value }));
      }),
    );
    parseMessage(Buffer.from('['.repeat(LINE_MOST_BYTES)));
  });
});
