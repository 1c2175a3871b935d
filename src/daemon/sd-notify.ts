/** Tells systemd how we are (sd_notify(3)): a datagram to the socket that NOTIFY_SOCKET names. Does nothing where there is no systemd. */
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM } from '../kernel/constants.ts';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';

const SUN_PATH_AT = 2;
/** linux/un.h UNIX_PATH_MAX */
const SUN_PATH_BYTES = 108;
const TEXT_AT = 256;
/** A thread's heart beats as often. */
const SIGN_LEAST_MS = 500;

export class SdNotify {
  readonly #address: string | undefined;
  readonly watchdogMs: number | undefined;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#address = environment.NOTIFY_SOCKET;
    const microseconds = Number(environment.WATCHDOG_USEC);
    const forUs = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === process.pid;
    this.watchdogMs = this.#address && forUs && microseconds > 0 ? microseconds / 1000 : undefined;
  }

  /** systemd hears from us only while each of the `beats` goes on. @returns what ends it. */
  whileAllBeat(beats: () => readonly number[]): () => void {
    if (this.watchdogMs === undefined) return () => {};
    let before: readonly number[] = [];
    const timer = setInterval(
      () => {
        const now = beats();
        if (now.every((count, index) => count !== before[index])) this.send('WATCHDOG=1');
        before = now;
      },
      Math.max(SIGN_LEAST_MS, this.watchdogMs / 2),
    );
    return () => clearInterval(timer);
  }

  /** @param state e.g. `READY=1` or `STATUS=2 of 2 paths up`, lines joined by \n. */
  send(state: string): void {
    const address = this.#address;
    if (!address || Buffer.byteLength(address) > SUN_PATH_BYTES) return;
    const fd = libcCalls.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    const slab = new Slab(SLAB_MIN_BYTES);
    slab.bytes.writeUInt16LE(AF_UNIX, 0);
    const pathBytes = slab.bytes.write(address, SUN_PATH_AT);
    // A leading @ stands for the abstract namespace, whose names begin with a zero byte.
    if (address.startsWith('@')) slab.bytes[SUN_PATH_AT] = 0;
    const textBytes = slab.bytes.write(state, TEXT_AT);
    libcCalls.sendto(fd, slab.range(TEXT_AT, textBytes), textBytes, 0, slab.range(0, SUN_PATH_AT + pathBytes), SUN_PATH_AT + pathBytes);
    libcCalls.close(fd);
  }
}
