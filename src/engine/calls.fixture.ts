/** Bytes that a gateway may hear from others: requests of our own making, and the strangers that say them. */
import { MemorySockets } from '../kernel/memory-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Slab } from '../native/index.ts';
import type { Target } from '../shadowsocks/address.ts';
import type { Codec } from '../shadowsocks/codec.ts';
import { codecOf, FLOW, secretOf } from '../shadowsocks/fixture.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { RequestSealer } from '../shadowsocks/request.ts';
import { emitProxyHeader, PROXY_HEADER_EMIT_MOST_BYTES } from '../wire/proxy-header.ts';
import { at, CLIENT, type Pair, SERVER, START_UNIX_SECONDS, Talker } from './pair.fixture.ts';

export const method = '2022-blake3-aes-128-gcm';
export const UPLINK = at('10.0.0.2', 8388);

/** A peer of the far gateway that is no gateway: it has a key, and says what a test wants. */
export function caller(pair: Pair, seed = 1, skewSeconds = 0): Codec {
  const ring = new KeyRing({ peers: [{ index: 0, method, sendKeys: [secretOf(method, seed)] }] });
  return codecOf(ring, { unixSeconds: () => START_UNIX_SECONDS + Math.floor(pair.clock.nowMs() / 1000) + skewSeconds });
}

/** A request's bytes, then `chunks` sealed behind it. */
export function request(codec: Codec, payload: Uint8Array, target: Target = FLOW, chunks: readonly Uint8Array[] = [], peer = 0): Buffer {
  const sealer = new RequestSealer(codec, peer, target, payload);
  const slab = new Slab(1 << 17);
  let end = sealer.writeHeader(slab, 0);
  for (const chunk of chunks) {
    slab.bytes.set(chunk, end + 18);
    end += sealer.sealBatch(slab, end, chunk.length);
  }
  sealer.close();
  return Buffer.from(slab.bytes.subarray(0, end));
}

export function proxy(client: SocketAddress, target: SocketAddress): Buffer {
  const header = Buffer.alloc(PROXY_HEADER_EMIT_MOST_BYTES);
  return header.subarray(0, emitProxyHeader(client, target, header));
}

export function stranger(pair: Pair, to: SocketAddress = UPLINK): Talker {
  const sockets = new MemorySockets(pair.network, [at('10.9.9.9', 0).bytes]);
  return new Talker(sockets, sockets.dialPeer(at('10.9.9.9', 0), to));
}

/** Whether a flow of honest people still gets through. */
export function isUnharmed(pair: Pair): boolean {
  const { client, server } = pair.joined();
  client.write(Buffer.from('ping'));
  pair.settle();
  server.read();
  server.write(Buffer.from('pong'));
  pair.settle();
  client.read();
  const whole = server.received.toString() === 'ping' && client.received.toString() === 'pong';
  client.close();
  server.close();
  pair.settle();
  return whole;
}

/** What a gateway would say for `CLIENT`. */
export const good = proxy(CLIENT, SERVER);

export function flipped(wire: Buffer, position: number): Buffer {
  const index = position < 0 ? wire.length + position : position;
  wire[index]! ^= 0x40;
  return wire;
}
