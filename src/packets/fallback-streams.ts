/** The fallback streams of all paths: which there are, and that they are read and written when their time comes. */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Slab } from '../native/index.ts';
import { type Counters, type Fault, pathIndexOf } from '../status/counters.ts';
import { FallbackStream } from './fallback-stream.ts';
import type { StreamSource } from './ingress.ts';

interface FallbackStreamsParts {
  readonly io: Pick<Sockets, 'read' | 'write' | 'close'>;
  readonly watch: (fd: number) => void;
  readonly counters: Counters;
  readonly nowMs: () => number;
  readonly fault: (fault: Fault) => void;
  readonly taken: (source: StreamSource, slab: Slab, at: number, length: number) => void;
  readonly settle: () => void;
  /** One came, or is gone: whoever sends over it looks again. */
  readonly changed: (peer: number) => void;
  readonly lost: (source: StreamSource, why: string) => void;
}

interface Open extends StreamSource {
  readonly fd: number;
  readonly stream: FallbackStream;
  isReadable: boolean;
}

export class FallbackStreams {
  readonly #parts: FallbackStreamsParts;
  #open: Open[] = [];

  constructor(parts: FallbackStreamsParts) {
    this.#parts = parts;
  }

  get hasWork(): boolean {
    for (let i = 0; i < this.#open.length; i++) if (this.#open[i]!.isReadable) return true;
    return false;
  }

  of(peer: number, path: number): FallbackStream | undefined {
    return this.#find(peer, path)?.stream;
  }

  /** The descriptor is ours from now on; one before it for this path is closed. */
  adopt(peer: number, path: number, fd: number): void {
    this.end(peer, path);
    const { io, counters, nowMs, fault, taken, settle } = this.#parts;
    const index = pathIndexOf(peer, path);
    const source: StreamSource = { peer, path };
    const stream = new FallbackStream(
      {
        io,
        nowMs,
        fault,
        sent: (datagrams, bytes) => {
          counters.addPathPackets(index, datagrams, 0);
          counters.addPathBytes(index, bytes, 0);
        },
        taken: (slab, at, length) => taken(source, slab, at, length),
        settle,
        lost: (why) => this.#lost(source, stream, why),
      },
      fd,
    );
    this.#open.push({ peer, path, fd, stream, isReadable: true });
    this.#parts.watch(fd);
    this.#parts.changed(peer);
  }

  end(peer: number, path: number): void {
    const open = this.#find(peer, path);
    if (!open) return;
    this.#forget(open.stream);
    open.stream.close();
    this.#parts.changed(peer);
  }

  heartbeat(peer: number, path: number, bytes: Uint8Array): void {
    this.of(peer, path)?.heartbeat(bytes);
  }

  /** @returns whether the descriptor is one of ours. */
  woken(fd: number, bits: number): boolean {
    const open = this.#open.find((one) => one.fd === fd);
    if (!open) return false;
    if ((bits & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) open.isReadable = true;
    if ((bits & EPOLLOUT) !== 0 && open.stream.isBlocked) open.stream.drain();
    return true;
  }

  run(): void {
    for (const open of [...this.#open]) if (open.isReadable) open.isReadable = open.stream.run();
  }

  close(): void {
    for (const { stream } of this.#open.splice(0)) stream.close();
  }

  #find(peer: number, path: number): Open | undefined {
    return this.#open.find((one) => one.peer === peer && one.path === path);
  }

  #lost(source: StreamSource, stream: FallbackStream, why: string): void {
    if (!this.#forget(stream)) return;
    this.#parts.changed(source.peer);
    this.#parts.lost(source, why);
  }

  #forget(stream: FallbackStream): boolean {
    const before = this.#open.length;
    this.#open = this.#open.filter((one) => one.stream !== stream);
    return this.#open.length < before;
  }
}
