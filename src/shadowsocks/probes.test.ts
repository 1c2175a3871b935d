import { describe, expect, it } from 'vitest';
import { deriveSessionKey } from '../crypto/blake3.ts';
import { METHODS } from '../crypto/methods.ts';
import { NodeCiphers } from '../crypto/node-ciphers.ts';
import type { Secret } from '../crypto/secret.ts';
import { codecOf, present, slabWith } from './fixture.ts';
import { KeyRing } from './key-ring.ts';
import { load, type Recorded, secret } from './recorded.fixture.ts';
import { ReplayStore } from './replay.ts';
import { RequestOpener } from './request.ts';

/** What a prober sent to real servers (test/vectors/probes-*.json), shown to our listener: it must judge as they did, and say why inside. */
interface Group {
  readonly keys: Recorded['keys'];
  readonly probes: Record<string, { readonly sent: readonly { readonly b64: string }[] | string }>;
}

const method = '2022-blake3-aes-128-gcm';
const facts = METHODS[method];

function groupsOf(program: string) {
  return load<{ readonly single_user: Group; readonly with_users: Group }>(`probes-${program}.json`);
}

function writes(group: Group, probe: string): Buffer[] {
  const { sent } = group.probes[probe]!;
  if (typeof sent === 'string') throw new Error(`bytes of ${probe} expected, got ${sent}`);
  return sent.map(({ b64 }) => Buffer.from(b64, 'base64'));
}

/** By the twin and by hand: the probe's timestamp, or 0 where its fixed header does not open. */
function stampOf(wire: Buffer, key: Secret, at: number): number {
  const subkey = new Uint8Array(facts.keyBytes);
  deriveSessionKey(key.reveal(), wire.subarray(0, facts.saltBytes), subkey);
  const slab = slabWith(wire);
  return new NodeCiphers().opener(facts, subkey).open(slab, at, 11) ? slab.bytes.readUInt32BE(at + 5) : 0;
}

const ACCEPTED = [
  'good',
  'padding-1',
  'padding-900',
  'padding-901',
  'split-16',
  'split-42',
  'split-43',
  'split-50',
  'flip-mid-stream',
  'zero-length-chunk',
];
const REFUSED = {
  'bad-key': 'bad-tag',
  'flip-fixed-header': 'bad-tag',
  'flip-variable-header': 'bad-tag',
  'no-padding-no-payload': 'no-padding',
  'no-padding-payload-in-chunk': 'no-padding',
  'random-200': 'bad-tag',
  'type-1': 'bad-type',
};
const WAITING = ['random-10', 'random-42', 'salt-only-then-nothing', 'headers-cut'];

describe.each(['singbox', 'ssrust'])('probes of %s', (program) => {
  const { single_user: single, with_users: users } = groupsOf(program);
  const key = secret(single.keys.psk!);
  const ring = new KeyRing({ peers: [{ index: 0, method, receiveKey: key, sendKeys: [key] }] });
  const whole = (probe: string) => Buffer.concat(writes(single, probe));
  const at = (unixSeconds: number) => codecOf(ring, { unixSeconds: () => unixSeconds });

  it.each(ACCEPTED)('%s is accepted (splits too, where real servers want one read)', (probe) => {
    const wire = whole(probe);
    const codec = at(stampOf(wire, key, facts.saltBytes));
    const opener = new RequestOpener(codec);
    let have = 0;
    let last = opener.open(slabWith(wire), 0, 0);
    for (const write of writes(single, probe)) {
      have += write.length;
      if (last.state === 'more') last = opener.open(slabWith(wire.subarray(0, have)), 0, have);
    }
    expect(last.state).toBe('accepted');
  });

  it.each(Object.entries(REFUSED))('%s is refused: %s', (probe, reason) => {
    const wire = whole(probe);
    expect(present(at(stampOf(wire, key, facts.saltBytes)), wire)).toEqual({ state: 'failed', reason });
  });

  it.each(WAITING)('%s is waited for', (probe) => {
    const wire = whole(probe);
    const clock = wire.length > 43 ? stampOf(wire, key, facts.saltBytes) : 0;
    expect(present(at(clock), wire).state).toBe('more');
  });

  it.each([-60, -32, -28, 28, 32, 60])('a timestamp %i s off is judged as they did', (offSeconds) => {
    const wire = whole(`timestamp${offSeconds > 0 ? '+' : ''}${offSeconds}`);
    const outcome = present(at(stampOf(wire, key, facts.saltBytes) - offSeconds), wire);
    if (Math.abs(offSeconds) <= 30) expect(outcome.state).toBe('accepted');
    else expect(outcome).toEqual({ state: 'failed', reason: 'timestamp' });
  });

  it('a replay is refused at once, after 20 s by its salt, after 45 and 65 s by its timestamp', () => {
    const wire = whole('replay-at-once');
    const stamp = stampOf(wire, key, facts.saltBytes);
    let now = stamp;
    const codec = codecOf(ring, { unixSeconds: () => now, replay: new ReplayStore(ReplayStore.allocate(64), () => now - stamp) });
    expect(present(codec, wire).state).toBe('accepted');
    for (const [laterSeconds, reason] of [
      [1, 'replayed'],
      [20, 'replayed'],
      [45, 'timestamp'],
      [65, 'timestamp'],
    ] as const) {
      now = stamp + laterSeconds;
      expect(present(codec, wire)).toEqual({ state: 'failed', reason });
    }
  });

  it.each([
    ['flip-mid-stream', true, 0],
    ['cut-mid-chunk-fin', false, 0],
    ['zero-length-chunk', false, 3],
  ])('%s behind a good start', (probe, failed, plainBytes) => {
    const [start, behind] = writes(single, probe) as [Buffer, Buffer];
    const slab = slabWith(start);
    const outcome = new RequestOpener(at(stampOf(start, key, facts.saltBytes))).open(slab, 0, start.length);
    if (outcome.state !== 'accepted') throw new Error(outcome.state);
    const echoed =
      outcome.payloadBytes + outcome.opener.openBatch(slab, outcome.consumedBytes, start.length - outcome.consumedBytes).plainBytes;
    expect(echoed).toBe(5);
    const batch = outcome.opener.openBatch(slabWith(behind), 0, behind.length);
    expect(batch).toMatchObject({ failed, plainBytes });
    expect(outcome.opener.atBoundary).toBe(probe === 'zero-length-chunk');
  });

  it('users: the known one is named; others, another identity key and no header are refused', () => {
    const peers = users.keys.users!.map(({ upsk }, index) => ({ index, method, receiveKey: secret(upsk), sendKeys: [] }) as const);
    const codecAt = (unixSeconds: number) =>
      codecOf(new KeyRing({ identityKey: secret(users.keys.ipsk!), peers }), { unixSeconds: () => unixSeconds });
    const [good] = writes(users, 'good') as [Buffer];
    const bob = peers[1]!;
    expect(present(codecAt(stampOf(good, bob.receiveKey, facts.saltBytes + 16)), good)).toMatchObject({ state: 'accepted', peer: 1 });
    for (const probe of ['unknown-user', 'wrong-ipsk', 'no-identity-header', 'no-identity-header-upsk'])
      expect(present(codecAt(0), Buffer.concat(writes(users, probe)))).toEqual({ state: 'failed', reason: 'unknown-user' });
  });
});
