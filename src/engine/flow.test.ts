import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../crypto/methods.ts';
import { ECONNRESET } from '../kernel/constants.ts';
import { Pair, type Talker } from './pair.fixture.ts';

/** Bytes whose order shows. */
function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + seed) & 0xff;
  return bytes;
}

/** Writes as much of `bytes` as is taken. @returns what is left. */
function push(talker: Talker, bytes: Buffer): Buffer {
  return bytes.subarray(Math.max(0, talker.write(bytes)));
}

/** Sends both ways at once until both have everything and have ended. */
function exchange(pair: Pair, client: Talker, server: Talker, up: Buffer[], down: Buffer[]): void {
  const ends = [
    { from: client, parts: [...up], done: false },
    { from: server, parts: [...down], done: false },
  ];
  pair.until(() => {
    for (const end of ends) {
      const [first] = end.parts;
      if (first === undefined) {
        if (!end.done) end.from.end();
        end.done = true;
        continue;
      }
      const left = push(end.from, first);
      if (left.length === 0) end.parts.shift();
      else end.parts[0] = left;
    }
    client.read();
    server.read();
    return client.ended && server.ended;
  }, 20_000);
}

describe('a flow between two gateways', () => {
  it('carries bytes of any sizes both ways through buffers of any size, in order, and ends when both have ended', () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9_000 }), fc.constant(65_535)), {
      maxLength: 6,
    });
    const method = fc.constantFrom(...(Object.keys(METHODS) as Method[]));
    const bufferBytes = fc.oneof(fc.integer({ min: 1_000, max: 5_000 }), fc.integer({ min: 5_000, max: 400_000 }));
    fc.assert(
      fc.property(method, bufferBytes, sizes, sizes, (method, bufferBytes, up, down) => {
        const pair = new Pair({ method, bufferBytes });
        const { client, server } = pair.joined();
        const ups = up.map((length, i) => pattern(length, i));
        const downs = down.map((length, i) => pattern(length, 100 + i));
        exchange(pair, client, server, ups, downs);
        expect(server.received.equals(Buffer.concat(ups))).toBe(true);
        expect(client.received.equals(Buffer.concat(downs))).toBe(true);
        client.close();
        server.close();
        pair.settle();
        expect(pair.near.isClean).toBe(true);
        expect(pair.far.isClean).toBe(true);
        expect({ ...pair.near.counters.faults(), ...pair.far.counters.faults() }).toEqual({});
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the answer after the client has ended its side', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    client.write(Buffer.from('question'));
    client.end();
    pair.until(() => {
      server.read();
      return server.ended;
    });
    expect(server.received.toString()).toBe('question');
    const answer = pattern(300_000, 3);
    exchange(pair, client, server, [], [answer]);
    expect(client.received.equals(answer)).toBe(true);
  });

  it('keeps the question after the server has ended its side', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    server.end();
    pair.until(() => {
      client.read();
      return client.ended;
    });
    const question = pattern(300_000, 4);
    exchange(pair, client, server, [question], []);
    expect(server.received.equals(question)).toBe(true);
    expect(client.error).toBe(0);
  });

  it.each(['client', 'server'] as const)('passes a reset by the %s on as a reset, behind the bytes before it', (who) => {
    const pair = new Pair();
    const ends = pair.joined();
    const other = ends[who === 'client' ? 'server' : 'client'];
    ends[who].write(Buffer.from('some bytes'));
    pair.settle();
    ends[who].write(Buffer.from(', and more'));
    ends[who].reset();
    pair.settle();
    other.read();
    expect(other.received.toString()).toBe('some bytes, and more');
    other.read();
    expect(other.error).toBe(ECONNRESET);
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it.each(['client', 'server'] as const)('passes a reset by the %s on that comes behind its end', (who) => {
    const pair = new Pair();
    const ends = pair.joined();
    const other = ends[who === 'client' ? 'server' : 'client'];
    ends[who].write(Buffer.from('the last word'));
    ends[who].end();
    pair.settle();
    ends[who].reset();
    pair.settle();
    other.read();
    expect(other.received.toString()).toBe('the last word');
    other.read();
    expect(other.error).toBe(ECONNRESET);
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('lets the server speak first', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    server.write(Buffer.from('220 ready'));
    pair.settle();
    client.read();
    expect(client.received.toString()).toBe('220 ready');
  });

  it('ends in order where the target closes at once without a byte', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    server.close();
    pair.until(() => {
      client.read();
      return client.ended || client.error > 0;
    });
    expect(client.error).toBe(0);
    client.close();
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('sends what the client said before the dial stood together with the request', () => {
    const pair = new Pair();
    pair.listen();
    const client = pair.connect();
    client.write(Buffer.from('early'));
    client.end();
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('early');
    expect(server.ended).toBe(true);
  });

  it('shows the client to the server, address and port', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    expect(server.sockets.remoteAddress(server.fd)).toEqual(client.sockets.localAddress(client.fd));
  });

  it('shows the far gateway to the server where the peer has snat', () => {
    const pair = new Pair({ snat: true });
    const { server } = pair.joined();
    expect([...server.sockets.remoteAddress(server.fd)!.bytes]).toEqual([172, 16, 1, 1]);
  });
});
