import { describe, expect, it } from 'vitest';
import { codecOf, secretOf } from '../shadowsocks/fixture.ts';
import type { KeyRingTransfer } from '../shadowsocks/key-ring.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import type { Peer, Site } from '../site/types.ts';
import { method, request, stranger } from './calls.fixture.ts';
import { Pair, START_UNIX_SECONDS } from './pair.fixture.ts';

const bytes = (seed: number) => Uint8Array.from(secretOf(method, seed).reveal());
const revoked = (peer: Peer): Peer => ({ ...peer, lan: [], addresses: [], paths: [], allow: [], revoked: true });
const withPeers = (site: Site, peers: readonly Peer[]): Site => ({ ...site, peers });
const keys = (index: number, receive: number, send: number): KeyRingTransfer['peers'][number] => ({
  index,
  method,
  receiveKey: bytes(receive),
  sendKeys: [bytes(send)],
});

describe('a worker whose peers come and go', () => {
  it('resets the flows of a peer that is revoked, refuses its calls, and forgets its keys', () => {
    const pair = new Pair();
    const { near, far } = pair;
    const { client, server } = pair.joined();
    client.write(Buffer.from('hello'));
    pair.settle();
    far.tell({ kind: 'site', site: withPeers(far.site, [revoked(far.site.peers[0]!)]) });
    far.tell({ kind: 'keys', added: [], removed: [0] });
    pair.settle();
    server.read();
    client.read();
    expect([server.error > 0, client.error > 0]).toEqual([true, true]);
    expect(far.codec.ring.callers).toBeUndefined();
    const other = pair.connect();
    other.write(Buffer.from('again'));
    pair.pass(11_000);
    other.read();
    expect(other.error).toBeGreaterThan(0);
    expect(far.counters.faults()['nobody-may-call']).toBeGreaterThan(0);
    client.close();
    server.close();
    other.close();
    pair.settle();
    expect(near.loop.flows.size + far.loop.flows.size).toBe(0);
  });

  it('refuses a call in the moment between, and leaves nothing of it', () => {
    const pair = new Pair();
    const { far } = pair;
    far.tell({ kind: 'site', site: withPeers(far.site, [revoked(far.site.peers[0]!)]) });
    pair.settle();
    const client = pair.connect();
    client.write(Buffer.from('hello'));
    pair.settle();
    expect(far.counters.faults()).toEqual({ 'unknown-user': 1 });
    expect([far.ciphers.open, far.loop.flows.size]).toEqual([0, 0]);
    client.close();
    pair.settle();
  });

  it('takes a peer that is new, in the place behind the others', () => {
    const pair = new Pair();
    const { near, far } = pair;
    const fresh = (peer: Peer): Peer => ({ ...peer, index: 1 });
    for (const [gateway, receive, send] of [
      [near, 52, 51],
      [far, 51, 52],
    ] as const) {
      const [old] = gateway.site.peers;
      gateway.tell({ kind: 'site', site: withPeers(gateway.site, [revoked(old!), fresh(old!)]) });
      gateway.tell({ kind: 'keys', added: [keys(1, receive, send)], removed: [0] });
    }
    pair.settle();
    const { client, server } = pair.joined();
    client.write(Buffer.from('hello'));
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('hello');
    // What was decided just before says nothing of who is gone.
    near.tell({ kind: 'paths', peers: [{ dial: [0], carry: [0], packets: [], upSinceMs: [1], fellAtMs: [], warm: 2, reverse: 2 }] });
    pair.pass(1_000);
    expect(near.loop.near.pathsOf(0).dial).toEqual([]);
    expect(near.loop.near.pathsOf(1).dial).toEqual([0, 1]);
    client.close();
    server.close();
    pair.settle();
  });

  it('hands over whoever holds a code as it came, with all that it has said', () => {
    const pair = new Pair();
    const { far } = pair;
    const invitation = { id: 5, identityKey: bytes(60), userKey: bytes(61) };
    const ring = new KeyRing({ identityKey: secretOf(method, 9), peers: [], invitations: [] });
    Object.defineProperty(far.codec, 'ring', { value: ring });
    far.tell({ kind: 'invitations', all: [invitation] });
    pair.settle();
    expect([...invitation.identityKey, ...invitation.userKey].some((byte) => byte !== 0)).toBe(false);
    const guest = codecOf(new KeyRing({ peers: [{ index: 0, method, sendKeys: [secretOf(method, 60), secretOf(method, 61)] }] }), {
      unixSeconds: () => START_UNIX_SECONDS,
    });
    const wire = request(guest, Buffer.from('who I am'));
    const talker = stranger(pair);
    talker.write(wire.subarray(0, 50));
    pair.settle();
    talker.write(wire.subarray(50));
    pair.settle();
    const [message] = far.posted.filter((one) => one.kind === 'guest');
    expect(message).toMatchObject({ invitation: 5, heard: Uint8Array.from(wire) });
    expect(far.loop.flows.size).toBe(0);
    // What it says from now on is none of this worker's business.
    talker.write(Buffer.from('more'));
    pair.settle();
    talker.read();
    expect([talker.ended, talker.error]).toEqual([false, 0]);
    expect(far.counters.faults()).toEqual({});
    talker.close();
  });
});
