/**
 * The thread that moves frames between TAP devices, once started for ever.
 *
 *   1. deliver what is due                      (write, from the slot it was read into)
 *   2. sleep until the next is due, or until a frame comes
 *   3. read every device until it has no more   (read, straight into a free slot; the model says when it is due, or lost)
 *
 * Under load a wake-up for each frame would cost more than the frame: while more than a few are under way the thread sleeps TICK_MS at a
 * time and takes what has gathered, and dates arrivals back by half a tick. Idle links are served by epoll at once.
 */
import { workerData } from 'node:worker_threads';
import { errno, libcCalls, Slab } from '../../native/index.ts';
import { Channel, LOST, seededRandom } from './model.ts';
import { DelayQueue, NO_SLOT } from './queue.ts';
import { SharedChannel } from './shared.ts';
import { VNET_HEADER_BYTES } from './tap.ts';

/** One direction: frames read from `from` are written to `to`. */
export interface ChannelSpec {
  readonly from: number;
  readonly to: number;
  readonly mtu: number;
}

export interface LoopData {
  readonly channels: readonly ChannelSpec[];
  readonly memory: SharedArrayBuffer;
  readonly seed: number;
}

const TICK_MS = 0.25;
const BUSY_FRAMES = 8;
/** 8,192 frames of 1,514 bytes are 1 s of 100 Mbit/s, or 100 ms of 1 Gbit/s. */
const SLOTS = 8192;
const IDLE_WAKE_MS = 100;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EPOLLET = 0x8000_0000;
/** VLAN tag and Ethernet header in front of the MTU. */
const FRAME_OVERHEAD_BYTES = 18;

class Forwarder {
  readonly #spec: ChannelSpec;
  readonly #shared: SharedChannel;
  readonly #model: Channel;
  readonly #slotBytes: number;
  readonly #slab: Slab;
  readonly queue = new DelayQueue(SLOTS);

  constructor(spec: ChannelSpec, shared: SharedChannel, seed: number) {
    this.#spec = spec;
    this.#shared = shared;
    this.#model = new Channel(shared, seededRandom(seed));
    this.#slotBytes = Math.ceil((spec.mtu + FRAME_OVERHEAD_BYTES + VNET_HEADER_BYTES) / 64) * 64;
    this.#slab = new Slab((SLOTS + 1) * this.#slotBytes);
  }

  takeArrivals(nowMs: number): void {
    for (;;) {
      const free = this.queue.acquire();
      const slot = free === NO_SLOT ? SLOTS : free; // the spare slot swallows what does not fit
      const length = libcCalls.read(this.#spec.from, this.#slab.range(slot * this.#slotBytes, this.#slotBytes), this.#slotBytes);
      if (length <= 0) {
        if (free !== NO_SLOT) this.queue.release(free);
        return; // nothing more, or the device is down
      }
      const dueMs = this.#model.arrive(nowMs);
      if (free === NO_SLOT) this.#shared.countDropped();
      else if (dueMs === LOST) {
        this.#shared.countLost();
        this.queue.release(free);
      } else this.queue.push(free, length, dueMs);
    }
  }

  deliverDue(nowMs: number): void {
    while (this.queue.nextDueMs() <= nowMs) {
      const slot = this.queue.shift();
      const length = this.queue.lengthBytes[slot]!;
      if (this.#shared.blackhole) this.#shared.countLost();
      else if (libcCalls.write(this.#spec.to, this.#slab.range(slot * this.#slotBytes, length), length) < 0) this.#shared.countDropped();
      else this.#shared.countFrame(length - VNET_HEADER_BYTES);
      this.queue.release(slot);
    }
  }
}

class Waiter {
  readonly #slab = new Slab(4096);
  readonly #arrivals = libcCalls.epoll_create1(0);
  readonly #nothing = libcCalls.epoll_create1(0);

  constructor(fds: readonly number[]) {
    // struct epoll_event is packed on x86-64 only; nobody looks at the data, every device is read anyway.
    for (const fd of fds) {
      this.#slab.bytes.writeUInt32LE((EPOLLIN | EPOLLET) >>> 0, 0);
      if (libcCalls.epoll_ctl(this.#arrivals, EPOLL_CTL_ADD, fd, this.#slab.range(0, 16)) < 0)
        throw new Error(`epoll_ctl: errno ${errno()}`);
    }
  }

  /** Sleeps; with `alsoForArrivals` only until a frame comes. */
  sleep(ms: number, alsoForArrivals: boolean): void {
    const nanoseconds = Math.max(0, Math.round(ms * 1e6));
    this.#slab.bytes.writeUInt32LE(Math.floor(nanoseconds / 1e9), 64);
    this.#slab.bytes.writeUInt32LE(nanoseconds % 1e9, 72);
    libcCalls.epoll_pwait2(
      alsoForArrivals ? this.#arrivals : this.#nothing,
      this.#slab.range(128, 16 * 64),
      64,
      this.#slab.range(64, 16),
      0,
    );
  }
}

function run({ channels, memory, seed }: LoopData): never {
  const forwarders = channels.map((spec, i) => new Forwarder(spec, new SharedChannel(memory, i), seed + i));
  const waiter = new Waiter(channels.map((spec) => spec.from));
  for (;;) {
    let nowMs = performance.now();
    let underWay = 0;
    let nextDueMs = Number.POSITIVE_INFINITY;
    for (const forwarder of forwarders) {
      forwarder.deliverDue(nowMs);
      underWay += forwarder.queue.size;
      nextDueMs = Math.min(nextDueMs, forwarder.queue.nextDueMs());
    }
    const busy = underWay > BUSY_FRAMES;
    if (busy) waiter.sleep(TICK_MS, false);
    else waiter.sleep(Math.min(nextDueMs - performance.now(), IDLE_WAKE_MS), true);
    nowMs = performance.now();
    const arrivedMs = busy ? nowMs - TICK_MS / 2 : nowMs;
    for (const forwarder of forwarders) forwarder.takeArrivals(arrivedMs);
  }
}

run(workerData as LoopData);
