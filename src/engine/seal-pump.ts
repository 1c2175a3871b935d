/** From the LAN to the peer: the left column of pump.ts. */
import { EAGAIN } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import { CHUNK_MAX_BYTES, PAYLOAD_AT } from '../shadowsocks/chunk.ts';
import type { RequestSealer } from '../shadowsocks/request.ts';
import type { ResponseSealer } from '../shadowsocks/response.ts';
import type { Sealer } from '../shadowsocks/sealer.ts';
import type { Fault } from '../status/counters.ts';
import { type BlockPool, Held } from './blocks.ts';
import type { Flow } from './flow.ts';
import { AGAIN, BROKEN, type BrokenBy, ENDED, type PumpParts, READS_A_TURN, type Turn, WAITING } from './pump.ts';
import { FRONT_BYTES, type Scratch, SLOTS } from './scratch.ts';

/** What of a client's first words goes with the first chunk of a connection that stood ready. */
const EARLY_MOST_BYTES = 32 << 10;
const SLOTS_BYTES = SLOTS * CHUNK_MAX_BYTES;

export class SealPump {
  movedBytes = 0;
  /** Why the flow has to end, once a turn was BROKEN. A positive errno, or a fault to be counted. */
  broken: number | Fault = 0;
  brokenBy: BrokenBy = 'fault';
  /** Flushes in a row that the kernel took nothing of. */
  vainTries = 0;
  readonly #flow: Flow;
  readonly #sockets: Sockets;
  readonly #scratch: Scratch;
  readonly #sealer: Sealer;
  /** The listener's, until its header has gone out with the first payload. */
  #response: ResponseSealer | undefined;
  readonly #pool: BlockPool;
  readonly #window: PumpParts['window'];
  readonly #held: Held;
  /** The peer's window is full (send-window.ts). */
  #isHeldBack = false;
  #sourceEnded = false;
  /** Reading failed behind bytes that go out first; the kernel says so only once. */
  #sourceBroken = false;
  #endSealed = false;
  #ended = false;

  constructor(flow: Flow, parts: PumpParts, sealer: Sealer, response?: ResponseSealer) {
    this.#flow = flow;
    this.#sockets = parts.sockets;
    this.#scratch = parts.scratch;
    this.#sealer = sealer;
    this.#response = response;
    this.#pool = parts.pool;
    this.#window = parts.window;
    this.#held = new Held(parts.pool);
  }

  /** The dialler's first write: the request header and whatever the client has said already, in one piece. */
  sendRequest(request: RequestSealer): Turn {
    const { slab, slots } = this.#scratch;
    const start = FRONT_BYTES - request.headerBytes;
    if (request.writeHeader(slab, start) < 0) {
      this.broken = 'replay-store-full';
      return BROKEN;
    }
    const n = this.#flow.lanReadable ? this.#sockets.readInto(this.#flow.lanFd, slots, SLOTS) : -EAGAIN;
    const plainBytes = this.#took(n, SLOTS_BYTES);
    if (plainBytes < 0) return BROKEN;
    return this.#send(start, request.headerBytes + request.sealBatch(slab, FRONT_BYTES, plainBytes)) ? WAITING : BROKEN;
  }

  /**
   * The first chunk of a connection that stood ready: `front`, then what the client has said. That stays in `early`, so that nothing of it is
   * lost where the connection turns out to be dead.
   */
  sendFirst(front: Uint8Array, early: Held): Turn {
    const { slab, vectors } = this.#scratch;
    const payloadAt = FRONT_BYTES + PAYLOAD_AT;
    const earlyAt = payloadAt + front.length;
    let earlyBytes = early.length;
    slab.bytes.set(front, payloadAt);
    if (earlyBytes > 0) {
      early.slab.bytes.copy(slab.bytes, earlyAt, early.start, early.start + earlyBytes);
      this.movedBytes += earlyBytes;
    } else if (this.#pool.hasRoom) {
      vectors.set(0, slab, earlyAt, EARLY_MOST_BYTES);
      earlyBytes = this.#took(this.#sockets.readInto(this.#flow.lanFd, vectors, 1), EARLY_MOST_BYTES);
      if (earlyBytes < 0) return BROKEN;
      if (earlyBytes > 0 && !early.put(slab, earlyAt, earlyBytes)) {
        this.broken = 'memory-limit';
        return BROKEN;
      }
    }
    const plainBytes = front.length + earlyBytes;
    const response = this.#response;
    this.#response = undefined;
    const start = response ? payloadAt - response.frontBytes : FRONT_BYTES;
    const sealedBytes = response ? response.sealFirst(slab, payloadAt, plainBytes) : this.#sealer.sealBatch(slab, start, plainBytes);
    return this.#send(start, sealedBytes) ? WAITING : BROKEN;
  }

  run(): Turn {
    if (this.#ended) return ENDED;
    this.#isHeldBack = false;
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      if (this.#held.length > 0) {
        if (!this.#flush()) return BROKEN;
        if (this.#held.length > 0) return WAITING;
      }
      if (this.#sourceBroken) return BROKEN;
      if (this.#sourceEnded) {
        if (this.#flow.keepsEnd && !this.#flow.lanBroken && !this.#flow.down!.hasEnded) return WAITING;
        if (this.#endSealed || this.#flow.lanBroken || this.#flow.isForeign) return this.#finish();
        if (!this.#sealEnd()) return BROKEN;
        continue;
      }
      if (!this.#flow.lanReadable) return WAITING;
      if (!this.#pool.hasRoom) return this.#starve();
      if (!this.#window.opens(this.#flow)) return this.#holdBack();
      if (!(this.#response ? this.#moveFirst(this.#response) : this.#move())) return BROKEN;
    }
    return this.#sourceEnded || this.#sourceBroken || this.#held.length > 0 || this.#flow.lanReadable ? AGAIN : WAITING;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** The client has ended its direction; the peer may not know yet. */
  get sourceHasEnded(): boolean {
    return this.#sourceEnded;
  }

  /** Everything the client said is on its way. */
  get hasSaidAll(): boolean {
    return this.#ended || (this.#sourceEnded && this.#flow.keepsEnd && this.#held.length === 0);
  }

  get heldBytes(): number {
    return this.#held.length;
  }

  /** Whether there are bytes for the peer that cannot go now, and nobody will tell when they can. */
  get isBlocked(): boolean {
    return this.#held.length > 0 || this.#isHeldBack;
  }

  release(): void {
    this.#held.clear();
    this.#sealer.close();
  }

  #holdBack(): Turn {
    this.#isHeldBack = true;
    return WAITING;
  }

  #starve(): Turn {
    this.#flow.starved = true;
    return WAITING;
  }

  #move(): boolean {
    const slots = this.#pool.isTight ? 1 : Math.min(SLOTS, Math.ceil(this.#flow.creditBytes / CHUNK_MAX_BYTES));
    const n = this.#sockets.readInto(this.#flow.lanFd, this.#scratch.slots, slots);
    const plainBytes = this.#took(n, slots * CHUNK_MAX_BYTES);
    if (plainBytes <= 0) return plainBytes === 0;
    const sealedBytes = this.#sealer.sealBatch(this.#scratch.slab, FRONT_BYTES, plainBytes);
    return this.#send(FRONT_BYTES, sealedBytes + this.#endBehind(FRONT_BYTES + sealedBytes, plainBytes));
  }

  /** The listener's first payload shares a header with it, so it is one chunk at most. */
  #moveFirst(response: ResponseSealer): boolean {
    const { slab, slots } = this.#scratch;
    const plainBytes = this.#took(this.#sockets.readInto(this.#flow.lanFd, slots, 1), CHUNK_MAX_BYTES);
    if (plainBytes <= 0) return plainBytes === 0;
    this.#response = undefined;
    const payloadAt = FRONT_BYTES + PAYLOAD_AT;
    const sealedBytes = response.sealFirst(slab, payloadAt, plainBytes);
    const start = payloadAt - response.frontBytes;
    return this.#send(start, sealedBytes + this.#endBehind(start + sealedBytes, plainBytes));
  }

  /**
   * Where the client has hung up and the last read left nothing, its end is right behind: it then leaves in the same write. The look ahead
   * lands behind what was sealed; should there be data after all, it is sealed there.
   * @returns wire bytes that now stand at `at`.
   */
  #endBehind(at: number, plainBytes: number): number {
    if (!this.#flow.lanHungUp || plainBytes >= CHUNK_MAX_BYTES || this.#flow.lanBroken) return 0;
    const { slab, vectors } = this.#scratch;
    vectors.set(0, slab, at + PAYLOAD_AT, CHUNK_MAX_BYTES);
    const taken = this.#took(this.#sockets.readInto(this.#flow.lanFd, vectors, 1), CHUNK_MAX_BYTES);
    if (taken > 0) return this.#sealer.sealBatch(slab, at, taken);
    if (taken < 0) this.#sourceBroken = true;
    if (!this.#sourceEnded || this.#flow.isForeign) return 0;
    this.#endSealed = true;
    return Math.max(0, this.#sealer.sealEnd(slab, at));
  }

  /** The end is said in a chunk of its own, so that nobody on the path can say it for us (docs/adr/0003-authentic-end.md). */
  #sealEnd(): boolean {
    const { slab } = this.#scratch;
    const response = this.#response;
    this.#endSealed = true;
    this.#response = undefined;
    if (!response) return this.#send(FRONT_BYTES, this.#sealer.sealEnd(slab, FRONT_BYTES));
    const payloadAt = FRONT_BYTES + PAYLOAD_AT;
    return this.#send(payloadAt - response.frontBytes, response.sealFirst(slab, payloadAt, 0));
  }

  /** What a read result means. @returns bytes to seal, 0 for none now, -1 for a broken flow. */
  #took(n: number, askedBytes: number): number {
    if (n > 0) {
      this.movedBytes += n;
      // Less than asked: the queue is empty and the next byte makes a new edge. Not so once the client has hung up: its end must be read.
      if (n < askedBytes && !this.#flow.lanHungUp) this.#flow.lanReadable = false;
      return n;
    }
    if (n === -EAGAIN) {
      this.#flow.lanReadable = false;
      return 0;
    }
    if (n === 0) {
      this.#sourceEnded = true;
      return 0;
    }
    this.broken = -n;
    this.brokenBy = 'read';
    return -1;
  }

  #send(at: number, length: number): boolean {
    if (length <= 0) {
      // Nonces used up: never seen, 2^53 chunks away.
      if (length < 0) this.broken = 'bad-chunk';
      return length === 0;
    }
    let n = this.#flow.wanWritable ? this.#sockets.write(this.#flow.wanFd, this.#scratch.slab, at, length) : -EAGAIN;
    if (n > 0) this.#wrote(n);
    if (n === length) return true;
    if (n < 0) {
      if (n !== -EAGAIN) {
        this.broken = -n;
        this.brokenBy = 'write';
        return false;
      }
      n = 0;
    }
    this.#flow.wanWritable = false;
    this.#flow.isFlooding = false;
    if (this.#held.put(this.#scratch.slab, at + n, length - n)) return true;
    this.broken = 'memory-limit';
    return false;
  }

  #flush(): boolean {
    if (!this.#flow.wanWritable) return true;
    const n = this.#sockets.write(this.#flow.wanFd, this.#held.slab, this.#held.start, this.#held.length);
    if (n < 0) {
      this.#flow.wanWritable = false;
      this.vainTries++;
      if (n === -EAGAIN) return true;
      this.broken = -n;
      this.brokenBy = 'write';
      return false;
    }
    this.vainTries = 0;
    this.#wrote(n);
    if (n < this.#held.length) this.#flow.wanWritable = false;
    this.#held.advance(n);
    return true;
  }

  #wrote(n: number): void {
    this.#flow.wroteBytes += n;
    this.#flow.creditBytes -= n;
  }

  #finish(): Turn {
    this.#ended = true;
    // A close that follows says it too; a reset that follows must not be taken for an end.
    if (this.#flow.down!.hasEnded || this.#flow.lanBroken) return ENDED;
    const result = this.#sockets.shutdownWrite(this.#flow.wanFd);
    if (result === 0) return ENDED;
    this.broken = -result;
    this.brokenBy = 'write';
    return BROKEN;
  }
}
