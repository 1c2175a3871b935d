/**
 * A connection on which two sites become peers: frames of bytes, inside a Shadowsocks 2022 stream whose keys come of the code's secret. The
 * guest calls as any peer does, so nobody on the way, and no prober, sees that this is something else; the host's worker knows the keys and
 * hands the connection over as it came (engine/far.ts).
 *
 *    frame: u16 length, that many bytes
 */
import type { Duplex } from 'node:stream';
import { EvpCiphers } from '../crypto/evp.ts';
import type { Method } from '../crypto/methods.ts';
import { Slab } from '../native/index.ts';
import type { Target } from '../shadowsocks/address.ts';
import { PAYLOAD_AT } from '../shadowsocks/chunk.ts';
import { Codec } from '../shadowsocks/codec.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import type { OpenedBatch } from '../shadowsocks/opener.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import { REQUEST_MOST_BYTES, RequestOpener, RequestSealer } from '../shadowsocks/request.ts';
import { RESPONSE_FRONT_MOST_BYTES, type ResponseSealer } from '../shadowsocks/response.ts';
import type { Sealer } from '../shadowsocks/sealer.ts';
import type { InvitationSecrets } from './invitation.ts';

/** Reserved among two Braids, beside those of the engine. */
const JOIN_TARGET: Target = { kind: 'name', name: 'join.braid.internal', port: 0 };
export const FRAME_MOST_BYTES = 16_384;
const LENGTH_BYTES = 2;
const FRONT_BYTES = Math.max(PAYLOAD_AT, RESPONSE_FRONT_MOST_BYTES);
const IN_BYTES = REQUEST_MOST_BYTES + 4 * FRAME_MOST_BYTES;
/** Salts of one connection. */
const REPLAY_ENTRIES = 64;
/** What was said last may take so long; whoever does not hang up then is hung up on. */
const PARTING_MS = 5_000;

/** Why a stream came to its end before what it was for: in words for the other side's administrator. */
export class StreamEnded extends Error {}

type Opening = {
  openBatch(slab: Slab, offset: number, haveBytes: number): OpenedBatch;
  readonly fault?: string | undefined;
  close(): void;
};

export class SecretStream {
  readonly #socket: Duplex;
  readonly #ciphers: EvpCiphers;
  readonly #out = new Slab(FRONT_BYTES + LENGTH_BYTES + FRAME_MOST_BYTES + 64);
  readonly #in = new Slab(IN_BYTES);
  readonly #codec: Codec;
  #inBytes = 0;
  #opener: Opening | undefined;
  #request: RequestOpener | undefined;
  #sealer: Sealer | ResponseSealer | undefined;
  #plain = Buffer.alloc(0);
  readonly #frames: Buffer[] = [];
  #waiting: { readonly done: (frame: Buffer) => void; readonly failed: (error: StreamEnded) => void } | undefined;
  #ended: StreamEnded | undefined;

  private constructor(socket: Duplex, ring: KeyRing) {
    this.#socket = socket;
    this.#ciphers = new EvpCiphers();
    this.#codec = new Codec({
      ciphers: this.#ciphers,
      ring,
      replay: new ReplayStore(ReplayStore.allocate(REPLAY_ENTRIES)),
      notBeforeUnixSeconds: 0,
    });
    socket.on('data', (bytes: Buffer) => this.#read(bytes));
    socket.on('error', (error: Error) => this.#end(error.message));
    socket.on('end', () => this.#end('the other side closed the connection'));
    socket.on('close', () => this.#end('the connection was closed'));
  }

  /** The guest's end, on a connection that stands. The request leaves with the first frame. */
  static call(socket: Duplex, { identityKey, userKey }: InvitationSecrets, method: Method): SecretStream {
    return new SecretStream(socket, new KeyRing({ peers: [{ index: 0, method, sendKeys: [identityKey, userKey] }] }));
  }

  /** The host's end. @param heard what the guest has said by now. */
  static take(socket: Duplex, { identityKey, userKey }: InvitationSecrets, method: Method, heard: Uint8Array): SecretStream {
    const stream = new SecretStream(socket, new KeyRing({ identityKey, peers: [{ index: 0, method, receiveKey: userKey, sendKeys: [] }] }));
    stream.#request = new RequestOpener(stream.#codec);
    stream.#read(Buffer.from(heard));
    return stream;
  }

  /** @param frame at most FRAME_MOST_BYTES. */
  send(frame: Uint8Array): void {
    if (this.#ended) return;
    if (frame.length > FRAME_MOST_BYTES) throw new RangeError(`frame expected at most ${FRAME_MOST_BYTES} bytes, got ${frame.length}`);
    const text = Buffer.alloc(LENGTH_BYTES + frame.length);
    text.writeUInt16BE(frame.length);
    text.set(frame, LENGTH_BYTES);
    const wire = this.#sealer ? this.#sealed(text, this.#sealer) : this.#called(text);
    if (wire) this.#socket.write(wire);
    else this.#end('nothing more can be sealed');
  }

  /** The next frame. @throws StreamEnded */
  receive(): Promise<Buffer> {
    const frame = this.#frames.shift();
    if (frame) return Promise.resolve(frame);
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((done, failed) => {
      this.#waiting = { done, failed };
    });
  }

  /** What was sent still arrives. May be called twice. */
  close(why = 'we closed it'): void {
    if (!this.#socket.writableEnded && !this.#socket.destroyed) {
      this.#socket.end();
      const timer = setTimeout(() => this.#socket.destroy(), PARTING_MS).unref();
      this.#socket.once('close', () => clearTimeout(timer));
    }
    this.#end(why);
  }

  #called(payload: Buffer): Buffer | undefined {
    const request = new RequestSealer(this.#codec, 0, JOIN_TARGET, payload);
    this.#sealer = request;
    this.#opener = request.opener;
    const slab = new Slab(Math.max(4_096, request.headerBytes));
    return request.writeHeader(slab, 0) < 0 ? undefined : Buffer.from(slab.bytes.subarray(0, request.headerBytes));
  }

  #sealed(payload: Buffer, sealer: Sealer | ResponseSealer): Buffer | undefined {
    this.#out.bytes.set(payload, FRONT_BYTES);
    const isFirst = 'awaitsFirst' in sealer && sealer.awaitsFirst;
    const from = FRONT_BYTES - (isFirst ? sealer.frontBytes : PAYLOAD_AT);
    const length = isFirst ? sealer.sealFirst(this.#out, FRONT_BYTES, payload.length) : sealer.sealBatch(this.#out, from, payload.length);
    return length < 0 ? undefined : Buffer.from(this.#out.bytes.subarray(from, from + length));
  }

  #read(bytes: Buffer): void {
    if (this.#ended) return;
    if (this.#inBytes + bytes.length > IN_BYTES) return this.#end('more was said than a join has to say');
    this.#in.bytes.set(bytes, this.#inBytes);
    this.#inBytes += bytes.length;
    if (this.#request) this.#openRequest(this.#request);
    if (this.#opener) this.#open(this.#opener);
  }

  #openRequest(request: RequestOpener): void {
    const outcome = request.open(this.#in, 0, this.#inBytes);
    if (outcome.state === 'more') return;
    if (outcome.state !== 'accepted') return this.#end('the request is none');
    const { target } = outcome;
    this.#request = undefined;
    this.#opener = outcome.opener;
    this.#sealer = outcome.sealer;
    if (target.kind !== 'name' || target.name !== (JOIN_TARGET as typeof target).name) return this.#end('a guest may only join');
    this.#take(this.#in.bytes.subarray(outcome.payloadOffset, outcome.payloadOffset + outcome.payloadBytes));
    this.#drop(outcome.consumedBytes);
  }

  #open(opener: Opening): void {
    for (;;) {
      if (this.#ended) return;
      const batch = opener.openBatch(this.#in, 0, this.#inBytes);
      for (let i = 0; i < batch.count; i++) {
        const at = batch.offsets[i]!;
        this.#take(this.#in.bytes.subarray(at, at + batch.lengths[i]!));
      }
      const { consumedBytes, failed } = batch;
      if (failed) return this.#end('what came was not sealed with the key of this code');
      if (consumedBytes === 0) return;
      this.#drop(consumedBytes);
    }
  }

  #drop(bytes: number): void {
    this.#in.bytes.copyWithin(0, bytes, this.#inBytes);
    this.#inBytes -= bytes;
  }

  #take(bytes: Uint8Array): void {
    this.#plain = Buffer.concat([this.#plain, bytes]);
    while (this.#plain.length >= LENGTH_BYTES) {
      const length = this.#plain.readUInt16BE();
      if (length > FRAME_MOST_BYTES || this.#frames.length >= 4) return this.#end('more was said than a join has to say');
      if (this.#plain.length < LENGTH_BYTES + length) return;
      const frame = Buffer.from(this.#plain.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      this.#plain = this.#plain.subarray(LENGTH_BYTES + length);
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting) waiting.done(frame);
      else this.#frames.push(frame);
    }
  }

  #end(why: string): void {
    if (this.#ended) return;
    this.#ended = new StreamEnded(why);
    this.#waiting?.failed(this.#ended);
    this.#waiting = undefined;
    this.#request?.close();
    this.#sealer?.close();
    this.#opener?.close();
    this.#ciphers.close();
    this.#in.bytes.fill(0);
    this.#out.bytes.fill(0);
    if (!this.#socket.writableEnded) this.#socket.destroy();
  }
}
