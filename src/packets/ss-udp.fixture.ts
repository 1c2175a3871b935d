/** A whole packet lane on twins of TUN and sockets, and another program at the other end of the wire. */
import { METHODS, type Method } from '../crypto/methods.ts';
import { NodePacketCiphers } from '../crypto/node-packet-ciphers.ts';
import { Secret } from '../crypto/secret.ts';
import { DatagramNetwork, MemoryDatagrams } from '../kernel/memory-datagrams.ts';
import { MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import { Slab } from '../native/index.ts';
import type { Target } from '../shadowsocks/address.ts';
import { REQUEST, RESPONSE } from '../shadowsocks/datagram.ts';
import { DatagramCallee, DatagramCodec, DatagramKey, DatagramReader, SessionSealer } from '../shadowsocks/datagram-session.ts';
import { KeyRing, type PeerKeys } from '../shadowsocks/key-ring.ts';
import type { Peer, Site } from '../site/types.ts';
import { InnerPacket } from '../wire/inner-packet.ts';
import { addressFromBytes, parseAddress } from '../wire/ip.ts';
import { packet, udp } from '../wire/packets.fixture.ts';
import { Gateway, PORT } from './lanes.fixture.ts';

const AES: Method = '2022-blake3-aes-128-gcm';
export const LAN_HOST = '172.16.0.10';
export const FAR_HOST = '172.16.1.20';
const keyOf = (method: Method, byte: number) => new Secret(new Uint8Array(METHODS[method].keyBytes).fill(byte));
export const target = (address: string, port: number): Target => {
  const { family, bytes } = parseAddress(address)!;
  return { kind: family === 4 ? 'ipv4' : 'ipv6', bytes, port };
};
const text = (address: Target) => `${address.kind === 'name' ? address.name : addressFromBytes(address.bytes).text} ${address.port}`;

const [OUT, TRAIN, CAME, OPENED] = [1, 2, 3, 4].map(() => new Slab(70_000)) as [Slab, Slab, Slab, Slab];

export interface Options {
  readonly method?: Method;
  readonly identity?: boolean;
  /** One key for both directions, as the recipe may have it. */
  readonly oneKey?: boolean;
  readonly peer?: Partial<Peer>;
  readonly site?: Partial<Site>;
}

/** What came to the other program. */
interface Heard {
  readonly at: string;
  readonly from: string;
  readonly session: string;
  readonly packetId: number;
  readonly address: string;
  readonly data: string;
}

/** Berlin's lane, and the other program at munich with a socket on each of its addresses. */
export class World {
  readonly berlin: Gateway;
  readonly network = new DatagramNetwork();
  readonly codec: DatagramCodec;
  readonly #datagrams = new MemoryDatagrams(this.network);
  readonly #sockets = new Map<string, number>();
  readonly #ring: KeyRing;
  readonly #toBraid: DatagramCallee;
  readonly #fromBraid: DatagramKey;
  readonly #headKey: DatagramKey;
  readonly #identities: number;
  #answers: SessionSealer | undefined;

  constructor({ method = AES, identity = false, oneKey = false, peer = {}, site = {} }: Options = {}) {
    const streams = new MemorySockets(new MemoryNetwork(), []);
    const addresses = ['10.0.0.2', '10.1.0.2'].map((one) => ({ address: parseAddress(one)!, port: PORT }));
    const foreign = { kind: 'shadowsocks' as const, packets: 'ss-udp' as const, addresses, ...peer };
    this.berlin = new Gateway('berlin', this.network, streams, method, [], foreign, site);
    for (const address of ['10.0.0.2', '10.1.0.2', '10.9.9.9'])
      for (const port of [PORT, 5_000]) {
        const pair = this.#datagrams.openPair({ bytes: parseAddress(address)!.bytes, port });
        if (typeof pair === 'number') throw new Error(`pair expected, got ${pair}`);
        this.#sockets.set(`${address} ${port}`, pair.dataFd);
      }
    const toBraid = keyOf(method, 1);
    const fromBraid = oneKey ? toBraid : keyOf(method, 2);
    const [ours, theirs] = [keyOf(method, 3), keyOf(method, 4)];
    const keys: PeerKeys = { index: 0, method, receiveKey: toBraid, sendKeys: identity ? [theirs, fromBraid] : [fromBraid] };
    const ring = new KeyRing({ ...(identity && { identityKey: ours }), peers: [keys] });
    const { peers: added, ...more } = ring.transferOf([0]);
    this.berlin.tell({ kind: 'ss-udp-keys', ...more, added, removed: [] });
    this.berlin.carry([0, 1]);
    this.berlin.lane.turn(0);
    // The twin of what the lane has, and a clock that says the same.
    this.codec = new DatagramCodec({ ciphers: new NodePacketCiphers(), unixSeconds: () => this.berlin.unixSeconds });
    this.#ring = new KeyRing({
      peers: [{ index: 0, method, receiveKey: fromBraid, sendKeys: identity ? [ours, toBraid] : [toBraid] }],
    });
    this.#toBraid = new DatagramCallee(this.codec, this.#ring.callee(0)!);
    this.#fromBraid = new DatagramKey(this.codec, METHODS[method], fromBraid);
    this.#identities = identity ? 1 : 0;
    this.#headKey = identity ? new DatagramKey(this.codec, METHODS[method], theirs) : this.#fromBraid;
    this.later(2_000);
  }

  get faults(): Record<string, number> {
    return this.berlin.counters.faults();
  }

  later(ms: number): void {
    this.berlin.clock.advance(ms);
    this.berlin.unixSeconds += Math.round(ms / 1_000);
    this.berlin.lane.turn(0);
  }

  /** A LAN host of berlin sends. */
  send(fromPort: number, to: string, toPort: number, data: string | Buffer, from = LAN_HOST): void {
    this.berlin.send(packet({ from, to, payload: udp(fromPort, toPort, data) }));
  }

  /** All that came to the other program since it was last asked. */
  heard(): Heard[] {
    const heard: Heard[] = [];
    for (const [at, fd] of this.#sockets)
      for (const wire of this.#receive(fd)) {
        const reader = new DatagramReader(this.codec);
        const [from, into] = [CAME, OPENED];
        from.bytes.set(wire.bytes);
        // Its server has the port, its clients others.
        const isServer = at.endsWith(` ${PORT}`);
        const key = isServer ? this.#fromBraid : this.#toBraid.key;
        if (!reader.begin(isServer ? this.#headKey : key, from, 0, wire.bytes.length, into, 0)) throw new Error('not begun');
        const isAuthentic = reader.finish(key.openerFor(reader.sessionId), isServer ? this.#identities : 0);
        const body = isAuthentic ? reader.read(isServer ? REQUEST : RESPONSE) : 'not authentic';
        if (typeof body === 'string') throw new Error(body);
        heard.push({
          at,
          from: wire.from,
          session: reader.sessionId,
          packetId: reader.packetId,
          address: text(body.address),
          data: into.bytes.toString('latin1', body.payloadAt, reader.payloadEnd),
        });
      }
    return heard;
  }

  /** The other program's server answers a session of ours. @param server anew: it was started again. */
  answer(session: string, from: Target, data: string, { at = `10.0.0.2 ${PORT}`, to = '10.0.0.1', anew = false } = {}): Buffer {
    if (!this.#answers || anew) this.#answers = new SessionSealer(this.codec, { key: this.#fromBraid, identities: [] }, session);
    return this.#sealed(this.#answers, from, data, at, to);
  }

  /** A socket behind the other program. */
  client(): (to: Target, data: string, way?: { readonly at?: string; readonly to?: string }) => Buffer {
    const sealer = new SessionSealer(this.codec, this.#toBraid);
    return (to, data, { at = '10.0.0.2 5000', to: braid = '10.0.0.1' } = {}) => this.#sealed(sealer, to, data, at, braid);
  }

  /** As it stands, to berlin. */
  throw(wire: Uint8Array, at = '10.0.0.2 5000', to = '10.0.0.1'): void {
    const slab = OUT;
    slab.bytes.set(wire);
    this.#datagrams.setRemote(0, { bytes: parseAddress(to)!.bytes, port: PORT });
    this.#datagrams.send(this.#sockets.get(at)!, 0, slab, 0, wire.length, wire.length);
  }

  /** `from > to: data` of each packet to the LAN. */
  arrived(): string[] {
    return this.berlin.received().map((bytes) => {
      const read = new InnerPacket();
      if (!read.read(bytes, 0, bytes.length, true)) throw new Error('a packet expected');
      const size = read.family === 4 ? 4 : 16;
      const start = read.family === 4 ? 12 : 8;
      const [from, to] = [0, size].map((offset) => addressFromBytes(bytes.subarray(start + offset, start + offset + size)).text);
      return `${from} ${read.sourcePort} > ${to} ${read.destinationPort}: ${bytes.toString('latin1', read.transportOffset + 8)}`;
    });
  }

  #sealed(sealer: SessionSealer, address: Target, data: string, at: string, to: string): Buffer {
    const slab = OUT;
    const payload = Buffer.from(data, 'latin1');
    const length = sealer.bytesFor(address, 0, payload.length);
    if (!sealer.seal(slab, 0, address, 0, payload, 0, payload.length)) throw new Error('not sealed');
    const wire = Buffer.from(slab.bytes.subarray(0, length));
    this.throw(wire, at, to);
    return wire;
  }

  *#receive(fd: number): Generator<{ readonly bytes: Buffer; readonly from: string }> {
    const slab = TRAIN;
    for (let n = this.#datagrams.receive(fd, slab, 0, 65_536); n >= 0; n = this.#datagrams.receive(fd, slab, 0, 65_536)) {
      const from = addressFromBytes(this.#datagrams.remote.bytes).text;
      const { segmentBytes } = this.#datagrams;
      for (let at = 0; at < n; at += segmentBytes)
        yield { bytes: Buffer.from(slab.bytes.subarray(at, Math.min(n, at + segmentBytes))), from };
    }
  }
}
