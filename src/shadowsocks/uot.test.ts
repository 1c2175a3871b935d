import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import type { Target } from './address.ts';
import { readUotFrame, readUotRequest, UOT_PAYLOAD_MOST_BYTES, writeUotHead, writeUotRequest } from './uot.ts';

const port = fc.integer({ min: 0, max: 65_535 });
const target: fc.Arbitrary<Target> = fc.oneof(
  fc.record({ kind: fc.constant('ipv4' as const), bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }), port }),
  fc.record({ kind: fc.constant('ipv6' as const), bytes: fc.uint8Array({ minLength: 16, maxLength: 16 }), port }),
  fc.record({ kind: fc.constant('name' as const), name: fc.stringMatching(/^[!-~]{1,255}$/), port }),
);
const four: Target = { kind: 'ipv4', bytes: parseAddress('192.0.2.10')!.bytes, port: 7_004 };

describe('UDP over TCP', () => {
  it('reads what it wrote, and asks for more until all of it is there', () => {
    fc.assert(
      fc.property(
        target,
        fc.uint8Array({ maxLength: 2_000 }),
        fc.boolean(),
        fc.integer({ min: 0, max: 20 }),
        (address, data, isConnect, front) => {
          const bytes = Buffer.alloc(front + 3_000);
          const requestBytes = writeUotRequest(address, isConnect, bytes, front);
          expect(readUotRequest(bytes, front, front + requestBytes)).toEqual({ isConnect, destination: address, bytes: requestBytes });
          for (let end = front; end < front + requestBytes; end++) expect(readUotRequest(bytes, front, end)).toBe('more');
          const head = writeUotHead(isConnect ? undefined : address, data.length, bytes, front);
          bytes.set(data, front + head);
          const connectedTo = isConnect ? address : undefined;
          const whole = { address, payloadAt: front + head, payloadBytes: data.length, bytes: head + data.length };
          expect(readUotFrame(bytes, front, front + head + data.length, connectedTo)).toEqual(whole);
          for (const end of [front, front + 1, front + head - 1, front + head + data.length - 1])
            if (end < front + head + data.length) expect(readUotFrame(bytes, front, end, connectedTo)).toBe('more');
        },
      ),
    );
  });

  it('numbers addresses in a frame otherwise than in a request', () => {
    const bytes = Buffer.alloc(64);
    expect(bytes.toString('hex', 0, writeUotRequest(four, false, bytes, 0))).toBe('0001c000020a1b5c');
    expect(bytes.toString('hex', 0, writeUotHead(four, 5, bytes, 0))).toBe('00c000020a1b5c0005');
  });

  it.each([
    ['a kind that is none', '03c000020a1b5c0005'],
    ['an empty name', '02001b5c0005'],
    ['a name that is not printable', '02010a1b5c0005'],
    ['more than a datagram can carry', '00c000020a1b5cffff'],
  ])('refuses %s as soon as it shows', (_, hex) => {
    const bytes = Buffer.from(hex, 'hex');
    expect(readUotFrame(bytes, 0, bytes.length)).toBe('bad');
  });

  it('refuses a request that is neither connected nor not, and one to nowhere', () => {
    for (const hex of ['02', '0002c000020a1b5c', '000300']) expect(readUotRequest(Buffer.from(hex, 'hex'), 0, hex.length / 2)).toBe('bad');
  });

  it('takes any bytes without a fault of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const frame = readUotFrame(bytes, 0, bytes.length);
        if (typeof frame !== 'string') expect(frame.payloadAt + frame.payloadBytes).toBe(frame.bytes);
        readUotRequest(bytes, 0, bytes.length);
      }),
    );
    expect(UOT_PAYLOAD_MOST_BYTES).toBe(65_507);
  });
});
