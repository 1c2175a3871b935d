import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../kernel/constants.ts';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { SdNotify } from './sd-notify.ts';

const directory = mkdtempSync(join(tmpdir(), 'braid-notify-'));
const opened: number[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const fd of opened.splice(0)) libcCalls.close(fd);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** systemd's end of NOTIFY_SOCKET. Node has no datagram sockets of this family. */
function receiver(name: string): () => string | undefined {
  const slab = new Slab(SLAB_MIN_BYTES);
  const fd = libcCalls.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  opened.push(fd);
  slab.bytes.writeUInt16LE(AF_UNIX, 0);
  const length = 2 + slab.bytes.write(name.replace(/^@/, '\0'), 2);
  expect(libcCalls.bind(fd, slab.range(0, length), length)).toBe(0);
  return () => {
    const n = libcCalls.recv(fd, slab.range(0, slab.lengthBytes), slab.lengthBytes, 0);
    return n < 0 ? undefined : slab.bytes.toString('utf8', 0, n);
  };
}

describe('systemd', () => {
  it.each([
    ['in the file system', join(directory, 'notify')],
    ['in the abstract namespace', `@braid-test-${process.pid}`],
  ])('hears what we say on its socket %s', (_, address) => {
    const heard = receiver(address);
    const notify = new SdNotify({ NOTIFY_SOCKET: address });
    notify.send('READY=1\nSTATUS=2 of 2 paths up, Übertragung läuft');
    notify.send('STOPPING=1');
    expect([heard(), heard(), heard()]).toEqual(['READY=1\nSTATUS=2 of 2 paths up, Übertragung läuft', 'STOPPING=1', undefined]);
  });

  it('is not spoken to where there is none, where nobody listens, or where its name is too long', () => {
    for (const address of [undefined, join(directory, 'nobody'), `/${'x'.repeat(200)}`]) {
      const notify = new SdNotify(address === undefined ? {} : { NOTIFY_SOCKET: address });
      expect(() => notify.send('READY=1')).not.toThrow();
    }
  });

  it('wants a sign of life where it says so, to us', () => {
    const of = (environment: NodeJS.ProcessEnv) => new SdNotify({ NOTIFY_SOCKET: '/run/x', ...environment }).watchdogMs;
    expect(of({ WATCHDOG_USEC: '30000000' })).toBe(30_000);
    expect(of({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid) })).toBe(30_000);
    expect(of({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' })).toBeUndefined();
    expect([of({}), of({ WATCHDOG_USEC: '0' }), of({ WATCHDOG_USEC: 'soon' })]).toEqual([undefined, undefined, undefined]);
    expect(new SdNotify({ WATCHDOG_USEC: '30000000' }).watchdogMs).toBeUndefined();
  });

  it('has that sign while every thread goes on, and not once one of them stands still', () => {
    vi.useFakeTimers();
    const heard = receiver(join(directory, 'watchdog'));
    const notify = new SdNotify({ NOTIFY_SOCKET: join(directory, 'watchdog'), WATCHDOG_USEC: '4000000' });
    const beats = [0, 0];
    const stop = notify.whileAllBeat(() => [...beats]);
    const next = (...more: number[]) => {
      more.forEach((count, index) => {
        beats[index]! += count;
      });
      vi.advanceTimersByTime(2_000);
      return heard();
    };
    expect([next(1, 1), next(3, 1), next(1, 0), next(0, 1), next(1, 1)]).toEqual([
      'WATCHDOG=1',
      'WATCHDOG=1',
      undefined,
      undefined,
      'WATCHDOG=1',
    ]);
    stop();
    expect(next(1, 1)).toBeUndefined();
  });
});
