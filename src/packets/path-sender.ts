/**
 * Sealed datagrams on their way to one path. Those of one size gather in a train that is sent with one call; at the end of a turn nothing is
 * left lying.
 *
 * Where the socket takes no more (the device behind it is slower than we are), whole trains wait, few of them: the oldest is dropped for the
 * newest, because of two packets that are late the older one is worth less.
 */
import { EAGAIN, EINVAL, EIO, EMSGSIZE, ENOBUFS } from '../kernel/constants.ts';
import { type Datagrams, TRAIN_MOST_BYTES, TRAIN_MOST_DATAGRAMS } from '../kernel/datagram-sockets.ts';
import { Slab } from '../native/index.ts';
import type { Fault } from '../status/counters.ts';

/** Together at most 520 KB, 40 ms at 100 Mbit/s, behind what the socket itself holds. */
export const QUEUE_MOST_TRAINS = 8;
const SLAB_BYTES = 1 << 16;
/** Slabs that trains were sent from, kept for the next ones that must wait. */
const SPARE_MOST = 2;

class Train {
  readonly slab = new Slab(SLAB_BYTES);
  bytes = 0;
  segmentBytes = 0;
  datagrams = 0;
}

/** What takes sealed datagrams to the peer over one path. */
export interface Sender {
  /** The largest datagram that passes. */
  mostBytes: number;
  /** Whether it is among those that have something to flush. */
  isDirty: boolean;
  readonly isBlocked: boolean;
  /** Where a datagram's bytes go, at the offset that `placeFor` answered. */
  readonly slab: Slab;
  /** @returns where in `slab` a datagram of this length can be written; what does not go with it is sent before. */
  placeFor(length: number): number;
  /** It was written. */
  add(length: number): void;
  flush(): void;
  /** Bytes are taken again. */
  drain(): void;
  /** The path is gone, or what leads over it: what waits is lost with it. */
  dropAll(): void;
}

interface PathSenderParts {
  /** What `datagrams` knows the remote by. */
  readonly slot: number;
  readonly datagrams: Datagrams;
  readonly fault: (fault: Fault) => void;
  readonly sent: (datagrams: number, bytes: number) => void;
  /** The socket takes no more: `drain` is to be called when it does again. */
  readonly blocked: (fd: number) => void;
}

export class PathSender implements Sender {
  /** Of the data socket of our end's address; -1 while there is none. */
  fd = -1;
  mostBytes = 0;
  isDirty = false;
  readonly slot: number;
  readonly #datagrams: Datagrams;
  readonly #fault: (fault: Fault) => void;
  readonly #sent: (datagrams: number, bytes: number) => void;
  readonly #blocked: (fd: number) => void;
  #train = new Train();
  readonly #queue: Train[] = [];
  readonly #spare: Train[] = [];

  constructor({ slot, datagrams, fault, sent, blocked }: PathSenderParts) {
    this.slot = slot;
    this.#datagrams = datagrams;
    this.#fault = fault;
    this.#sent = sent;
    this.#blocked = blocked;
  }

  get isBlocked(): boolean {
    return this.#queue.length > 0;
  }

  get slab(): Slab {
    return this.#train.slab;
  }

  placeFor(length: number): number {
    const train = this.#train;
    if (train.datagrams > 0 && (length > train.segmentBytes || train.bytes + length > TRAIN_MOST_BYTES)) this.flush();
    return this.#train.bytes;
  }

  add(length: number): void {
    const train = this.#train;
    if (train.datagrams === 0) train.segmentBytes = length;
    train.bytes += length;
    train.datagrams++;
    // Behind a smaller one nothing may follow.
    if (length < train.segmentBytes || train.datagrams === TRAIN_MOST_DATAGRAMS) this.flush();
  }

  flush(): void {
    const train = this.#train;
    if (train.datagrams === 0) return;
    if (this.#queue.length === 0 && this.#isDone(train)) return this.#clear(train);
    this.#queue.push(train);
    if (this.#queue.length === 1) this.#blocked(this.fd);
    this.#train = this.#spare.pop() ?? new Train();
    if (this.#queue.length > QUEUE_MOST_TRAINS) this.#drop(this.#queue.shift()!, 'queue-full');
  }

  drain(): void {
    for (let oldest = this.#queue[0]; oldest !== undefined && this.#isDone(oldest); oldest = this.#queue[0]) {
      this.#queue.shift();
      this.#giveBack(oldest);
    }
  }

  dropAll(): void {
    for (const train of this.#queue.splice(0)) this.#drop(train, 'no-path');
    this.#clear(this.#train);
  }

  /** @returns false where the train must wait. */
  #isDone(train: Train): boolean {
    const { slab, bytes, segmentBytes, datagrams } = train;
    if (this.fd < 0) return this.#failed('no-path', datagrams);
    const n = this.#datagrams.send(this.fd, this.slot, slab, 0, bytes, segmentBytes);
    if (n >= 0) {
      this.#sent(datagrams, bytes);
      return true;
    }
    if (n === -EAGAIN || n === -ENOBUFS) return false;
    // The device is smaller than one of them, or cannot have trains: then one by one.
    if (datagrams > 1 && (n === -EINVAL || n === -EMSGSIZE || n === -EIO)) return this.#sendSingly(train);
    return this.#failed(n === -EMSGSIZE ? 'too-big' : 'send-failed', datagrams);
  }

  #sendSingly({ slab, bytes, segmentBytes }: Train): true {
    for (let at = 0; at < bytes; at += segmentBytes) {
      const length = Math.min(segmentBytes, bytes - at);
      const n = this.#datagrams.send(this.fd, this.slot, slab, at, length, length);
      if (n >= 0) this.#sent(1, length);
      else this.#failed(n === -EMSGSIZE ? 'too-big' : 'send-failed', 1);
    }
    return true;
  }

  #failed(fault: Fault, datagrams: number): true {
    for (let i = 0; i < datagrams; i++) this.#fault(fault);
    return true;
  }

  #drop(train: Train, fault: Fault): void {
    this.#failed(fault, train.datagrams);
    this.#giveBack(train);
  }

  #giveBack(train: Train): void {
    this.#clear(train);
    if (this.#spare.length < SPARE_MOST) this.#spare.push(train);
  }

  #clear(train: Train): void {
    train.bytes = 0;
    train.datagrams = 0;
  }
}
