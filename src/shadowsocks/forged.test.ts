import { describe, expect, it } from 'vitest';
import { deriveSessionKey } from '../crypto/blake3.ts';
import { METHODS, type Method, TAG_BYTES } from '../crypto/methods.ts';
import { NodeCiphers } from '../crypto/node-ciphers.ts';
import type { Secret } from '../crypto/secret.ts';
import { accept, FLOW, NOW_UNIX_SECONDS, pairOf, present, secretOf, slabWith } from './fixture.ts';
import { RequestSealer } from './request.ts';

/** Headers that are wrong although the right key sealed them: a peer with a bug, or one that wants to know what we do. */
const method: Method = '2022-blake3-aes-128-gcm';
const THERE = secretOf(method, 1); // requests and their responses are sealed under the same key
const SALT = new Uint8Array(16).fill(0x33);
const ADDRESS = '01c000020a1b59';

function sealed(key: Secret, pieces: readonly Buffer[]): Buffer {
  const subkey = new Uint8Array(16);
  deriveSessionKey(key.reveal(), SALT, subkey);
  const sealer = new NodeCiphers().sealer(METHODS[method], subkey);
  const chunks = pieces.map((piece) => {
    const slab = slabWith(piece, 0, piece.length + 4096);
    sealer.seal(slab, 0, piece.length);
    return Buffer.from(slab.bytes.subarray(0, piece.length + TAG_BYTES));
  });
  return Buffer.concat([SALT, ...chunks]);
}

function fixed(type: number, unixSeconds: number, ...rest: readonly (Uint8Array | number)[]): Buffer {
  const head = Buffer.alloc(9, type);
  head.writeBigUInt64BE(BigInt(unixSeconds), 1);
  return Buffer.concat([head, ...rest.map((part) => (typeof part === 'number' ? Buffer.from([part >> 8, part & 0xff]) : part))]);
}

function request(variableHex: string, lengthOff = 0): Buffer {
  const variable = Buffer.from(variableHex, 'hex');
  return sealed(THERE, [fixed(0, NOW_UNIX_SECONDS, variable.length + lengthOff), variable]);
}

describe('a forged request', () => {
  it.each([
    ['no address', '', 'bad-address'],
    ['half an address', '01c000', 'bad-address'],
    ['a port that would be the next field', '01c000020a', 'bad-address'],
    ['no padding length', ADDRESS, 'bad-padding'],
    ['half a padding length', `${ADDRESS}00`, 'bad-padding'],
    ['padding longer than the header', `${ADDRESS}000500000000`, 'bad-padding'],
    ['padding of 65535 bytes', `${ADDRESS}ffff0000`, 'bad-padding'],
    ['nothing behind the address', `${ADDRESS}0000`, 'no-padding'],
  ])('with %s is refused', (_, variable, reason) => {
    const { far } = pairOf(method);
    expect(present(far, request(variable))).toEqual({ state: 'failed', reason });
  });

  it('with a whole variable header is the same bytes and accepted', () => {
    expect(present(pairOf(method).far, request(`${ADDRESS}0000ff`))).toMatchObject({ state: 'accepted', payloadBytes: 1 });
    expect(present(pairOf(method).far, request(`${ADDRESS}00010a`))).toMatchObject({ state: 'accepted', payloadBytes: 0 });
  });

  it('that names a wrong length is waited for or refused', () => {
    expect(present(pairOf(method).far, request(`${ADDRESS}0000ff`, 1))).toEqual({ state: 'more', neededBytes: 1 });
    expect(present(pairOf(method).far, request(`${ADDRESS}0000ff`, -1))).toEqual({ state: 'failed', reason: 'bad-tag' });
  });

  it('with a time beyond all clocks is refused', () => {
    const variable = Buffer.from(`${ADDRESS}0000ff`, 'hex');
    for (const seconds of [0, Number.MAX_SAFE_INTEGER, NOW_UNIX_SECONDS + 0x1_0000_0000])
      expect(present(pairOf(method).far, sealed(THERE, [fixed(0, seconds, variable.length), variable]))).toEqual({
        state: 'failed',
        reason: 'timestamp',
      });
  });
});

describe('our own request, seen from inside', () => {
  it('pads with zeros, never with what the slab held before', () => {
    const { near, far } = pairOf(method, {
      random: { fill: (into, offset, length) => void into.fill(0x33, offset, offset + length), below: () => 499 },
    });
    const sealer = new RequestSealer(near, 0, FLOW);
    const slab = slabWith(new Uint8Array(0));
    const wire = Buffer.from(slab.bytes.subarray(0, sealer.writeHeader(slab, 0)));
    const opened = slabWith(wire);
    const subkey = new Uint8Array(16);
    deriveSessionKey(THERE.reveal(), SALT, subkey);
    const opener = new NodeCiphers().opener(METHODS[method], subkey);
    expect(opener.open(opened, 16, 11)).toBe(true);
    const variableBytes = opened.bytes.readUInt16BE(16 + 9);
    expect(opener.open(opened, 43, variableBytes)).toBe(true);
    expect(opened.bytes.subarray(43 + variableBytes - 500, 43 + variableBytes).every((byte) => byte === 0)).toBe(true);
    expect(opened.bytes.readUInt16BE(43 + variableBytes - 502)).toBe(500);
    expect(accept(far, wire).request.payloadBytes).toBe(0);
  });
});

describe('a forged response', () => {
  const requestSalt = new Uint8Array(16).fill(0x44);
  // The dialler draws 0x44 for its own salt, so that we know what to answer.
  const dialler = () => {
    const { near } = pairOf(method, {
      random: { fill: (into, offset, length) => void into.fill(0x44, offset, offset + length), below: () => 0 },
    });
    return new RequestSealer(near, 0, FLOW, Buffer.alloc(1)).opener;
  };
  const payload = Buffer.from('hi');

  it.each([
    ['of type 0', 0, NOW_UNIX_SECONDS, requestSalt, 'bad-type'],
    ['31 s old', 1, NOW_UNIX_SECONDS - 31, requestSalt, 'timestamp'],
    ['31 s ahead', 1, NOW_UNIX_SECONDS + 31, requestSalt, 'timestamp'],
    ['to another request', 1, NOW_UNIX_SECONDS, SALT, 'wrong-request'],
  ] as const)('%s is refused, nothing of it delivered', (_, type, seconds, salt, fault) => {
    const wire = sealed(THERE, [fixed(type, seconds, salt, payload.length), payload]);
    const opener = dialler();
    expect(opener.openBatch(slabWith(wire), 0, wire.length)).toMatchObject({ failed: true, count: 0 });
    expect(opener.fault).toBe(fault);
    expect(opener.atBoundary).toBe(false);
    expect(opener.openBatch(slabWith(wire), 0, wire.length)).toMatchObject({ failed: true, count: 0, consumedBytes: 0 });
  });

  it('30 s off is taken, and so is one with an empty first payload', () => {
    for (const first of [payload, Buffer.alloc(0)]) {
      const wire = sealed(THERE, [fixed(1, NOW_UNIX_SECONDS - 30, requestSalt, first.length), first]);
      const opener = dialler();
      expect(opener.openBatch(slabWith(wire), 0, wire.length)).toMatchObject({
        failed: false,
        plainBytes: first.length,
        consumedBytes: wire.length,
      });
      expect(opener.atBoundary).toBe(true);
    }
  });

  it('that stops in the header is a truncation, and none at all is an orderly end', () => {
    const wire = sealed(THERE, [fixed(1, NOW_UNIX_SECONDS, requestSalt, payload.length), payload]);
    const opener = dialler();
    expect(opener.atBoundary).toBe(true);
    expect(opener.neededBytes).toBe(59);
    opener.openBatch(slabWith(wire), 0, 58);
    expect(opener.atBoundary).toBe(false);
    expect(opener.neededBytes).toBe(1);
  });
});
