import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { keyName } from '../crypto/blake3.ts';
import type { Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { secretOf } from './fixture.ts';
import { KeyRing, type PeerKeys, wipeTransfer } from './key-ring.ts';

const AES128: Method = '2022-blake3-aes-128-gcm';
const AES256: Method = '2022-blake3-aes-256-gcm';
const CHACHA: Method = '2022-blake3-chacha20-poly1305';

function peer(index: number, method: Method, seed: number): PeerKeys {
  return { index, method, receiveKey: secretOf(method, seed), sendKeys: [secretOf(method, seed + 100)] };
}

describe('key ring', () => {
  it('knows the one direct peer', () => {
    const ring = new KeyRing({ peers: [peer(3, CHACHA, 1)] });
    expect(ring.direct?.index).toBe(3);
    expect(ring.callers?.identityKey).toBeUndefined();
    expect(ring.callee(3)?.identities).toEqual([]);
    expect(ring.callee(0)).toBeUndefined();
  });

  it('finds each peer by the name of its key', () => {
    const ring = new KeyRing({ identityKey: secretOf(AES256, 9), peers: [peer(0, AES256, 1), peer(1, AES256, 2)] });
    for (const index of [0, 1]) expect(ring.callerNamed(keyName(secretOf(AES256, index + 1).reveal()))?.index).toBe(index);
    expect(ring.callerNamed(keyName(secretOf(AES256, 3).reveal()))).toBeUndefined();
    expect(ring.direct).toBeUndefined();
  });

  it('gives a chain of keys an identity header for each but the last', () => {
    const chain = [1, 2, 3].map((seed) => secretOf(AES128, seed));
    const callee = new KeyRing({ peers: [{ index: 0, method: AES128, sendKeys: chain }] }).callee(0)!;
    expect(callee.key).toBe(chain[2]);
    expect(callee.identities.map(({ key }) => key)).toEqual(chain.slice(0, 2));
    expect(callee.identities.map(({ says }) => says)).toEqual([keyName(chain[1]!.reveal()), keyName(chain[2]!.reveal())]);
  });

  it('lets nobody call where no peer has a receive key', () => {
    expect(new KeyRing({ peers: [{ index: 0, method: AES128, sendKeys: [secretOf(AES128, 1)] }] }).callers).toBeUndefined();
  });

  it.each([
    [
      'two callers without an identity key',
      { peers: [peer(0, AES128, 1), peer(1, AES128, 2)] },
      'identity key expected with 2 calling peers',
    ],
    [
      'the same key twice',
      { identityKey: secretOf(AES128, 9), peers: [peer(0, AES128, 1), peer(1, AES128, 1)] },
      'peers 0 and 1 expected to differ',
    ],
    [
      'a user key that is the identity key',
      { identityKey: secretOf(AES128, 1), peers: [peer(0, AES128, 1)] },
      'differ from the identity key',
    ],
    [
      'ChaCha under an identity key',
      { identityKey: secretOf(CHACHA, 9), peers: [peer(0, CHACHA, 1)] },
      'expected one with identity headers',
    ],
    [
      'two methods under one identity key',
      { identityKey: secretOf(AES128, 9), peers: [peer(0, AES128, 1), peer(1, AES256, 2)] },
      'expected to be one',
    ],
    [
      'a chain with ChaCha',
      { peers: [{ index: 0, method: CHACHA, sendKeys: [secretOf(CHACHA, 1), secretOf(CHACHA, 2)] }] },
      'has no identity headers',
    ],
  ] as const)('refuses %s', (_, parts, message) => {
    expect(() => new KeyRing(parts)).toThrow(expect.objectContaining({ code: 'KEY_RING', message: expect.stringContaining(message) }));
  });

  it('refuses keys of the wrong length, the identity key too', () => {
    const short = new Secret(new Uint8Array(15));
    const wrong = expect.objectContaining({ code: 'KEY_LENGTH', message: expect.stringContaining('expected 16 bytes, got 15') });
    expect(() => new KeyRing({ peers: [{ index: 0, method: AES128, receiveKey: short, sendKeys: [] }] })).toThrow(wrong);
    expect(() => new KeyRing({ peers: [{ index: 0, method: AES128, sendKeys: [short] }] })).toThrow(wrong);
    expect(() => new KeyRing({ identityKey: short, peers: [peer(0, AES128, 1)] })).toThrow(wrong);
  });

  it('crosses to a worker as a plain value, which is wiped on arrival', () => {
    const ring = new KeyRing({ identityKey: secretOf(AES128, 9), peers: [peer(0, AES128, 1), { index: 1, method: AES128, sendKeys: [] }] });
    const transfer = structuredClone(ring.transfer());
    const there = KeyRing.fromTransfer(transfer);
    expect(there.callerNamed(keyName(secretOf(AES128, 1).reveal()))?.index).toBe(0);
    expect(there.callee(0)?.key.equals(secretOf(AES128, 101))).toBe(true);
    expect(there.callee(1)).toBeUndefined();
    expect(
      [...transfer.identityKey!, ...transfer.peers[0]!.receiveKey!, ...transfer.peers[0]!.sendKeys[0]!].every((byte) => byte === 0),
    ).toBe(true);
  });

  it('leaves nothing in a transfer that was wiped, and stays good itself', () => {
    const ring = new KeyRing({ identityKey: secretOf(AES128, 9), peers: [peer(0, AES128, 1)] });
    const transfer = ring.transfer();
    wipeTransfer(transfer);
    const left = [...transfer.identityKey!, ...transfer.peers[0]!.receiveKey!, ...transfer.peers[0]!.sendKeys[0]!];
    expect(left.every((byte) => byte === 0)).toBe(true);
    expect(ring.callee(0)!.key.equals(secretOf(AES128, 101))).toBe(true);
  });

  it('does not print keys, and wipes them', () => {
    const ring = new KeyRing({ identityKey: secretOf(AES128, 9), peers: [peer(0, AES128, 1)] });
    expect(inspect(ring, { depth: 9 })).not.toMatch(/[0-9a-f]{2} [0-9a-f]{2}|Uint8Array\(16\)/);
    const { key } = ring.callee(0)!;
    ring.wipe();
    expect(key.reveal().every((byte) => byte === 0)).toBe(true);
  });

  it('takes peers and lets them go at run time, keys and all', () => {
    const [key, gone] = [secretOf(AES128, 2), peer(0, AES128, 1)];
    const ring = new KeyRing({ identityKey: secretOf(AES128, 9), peers: [gone] });
    ring.add(peer(1, AES128, 2));
    expect(ring.callerNamed(keyName(key.reveal()))?.index).toBe(1);
    expect(() => ring.add(peer(2, AES128, 2))).toThrow('peers 1 and 2 expected to differ');
    expect(() => ring.add(peer(2, AES256, 3))).toThrow('methods of all calling peers expected to be one');
    expect(ring.callee(2)).toBeUndefined();
    ring.remove(0);
    expect(ring.callerNamed(keyName(secretOf(AES128, 1).reveal()))).toBeUndefined();
    expect(ring.callee(0)).toBeUndefined();
    expect([...gone.receiveKey!.reveal(), ...gone.sendKeys[0]!.reveal()].every((byte) => byte === 0)).toBe(true);
    expect(ring.transfer().peers.map(({ index }) => index)).toEqual([1]);
    expect(ring.transferOf([0, 1])).toMatchObject({ identityKey: expect.anything(), peers: [{ index: 1 }] });
    expect(ring.transferOf([0]).peers).toEqual([]);
    expect([ring.caller(1)?.key.equals(key), ring.caller(0)]).toEqual([true, undefined]);
    ring.remove(1);
    expect(ring.callers).toBeUndefined();
  });

  it('knows the codes that were given out, where there is an identity key', () => {
    const invitation = { id: 3, identityKey: secretOf(AES256, 20), userKey: secretOf(AES256, 21) };
    const ring = new KeyRing({ identityKey: secretOf(AES256, 9), peers: [], invitations: [invitation] });
    expect(ring.callers?.facts.method).toBe(AES256);
    const copy = KeyRing.fromTransfer(ring.transfer());
    expect(copy.invitations).toMatchObject([{ id: 3 }]);
    expect(copy.invitations[0]!.userKey.equals(invitation.userKey)).toBe(true);
    ring.invite([]);
    expect(ring.callers).toBeUndefined();
    expect(invitation.userKey.reveal().every((byte) => byte === 0)).toBe(true);
    expect(() => new KeyRing({ peers: [], invitations: [invitation] })).toThrow('identity key expected');
  });
});
