import { describe, expect, it } from 'vitest';
import { FakeClock } from '../kernel/clock.ts';
import { EAGAIN } from '../kernel/constants.ts';
import type { NetlinkPort } from '../kernel/netlink.ts';
import { type Links, LinkWatch } from './link-watch.ts';

class Scripted implements NetlinkPort {
  readonly datagrams: (Buffer | number)[] = [];
  readonly groups: number[] = [];
  closed = false;
  send = () => 0;
  deafen = () => 0;
  receive(): Buffer | number {
    return this.datagrams.shift() ?? -EAGAIN;
  }
  join(group: number): number {
    this.groups.push(group);
    return 0;
  }
  close(): void {
    this.closed = true;
  }
}

function watched(mayRead = () => true) {
  const port = new Scripted();
  const now = new Map([
    ['eth2', ['10.0.0.1']],
    ['eth3', ['10.1.0.1']],
  ]);
  const seen: Links[] = [];
  let changes = 0;
  const clock = new FakeClock();
  const watch = new LinkWatch({
    links: (links) => seen.push(links),
    changed: () => {
      changes++;
    },
    port,
    read: () => {
      if (!mayRead()) throw new Error('EMFILE');
      return new Map(now);
    },
    clock,
  });
  return { port, now, seen, watch, clock, changes: () => changes };
}

describe('the watch over links', () => {
  it('reads again when netlink says something, and tells only what is different', () => {
    const { port, now, seen, watch, changes } = watched();
    expect(port.groups).toEqual([1, 5, 7, 9, 11]);
    port.datagrams.push(Buffer.alloc(16));
    watch.poll();
    expect([seen.length, changes()]).toEqual([0, 1]);
    now.delete('eth3');
    port.datagrams.push(Buffer.alloc(16));
    watch.poll();
    expect(seen).toEqual([new Map([['eth2', ['10.0.0.1']]])]);
    expect(watch.links).toEqual(seen[0]);
  });

  it('takes an overrun for a change', () => {
    const { port, now, seen, watch } = watched();
    now.set('eth3', ['10.1.0.7']);
    port.datagrams.push(-105);
    watch.poll();
    expect(seen.length).toBe(1);
  });

  it('sees a change without a message within five seconds, and asks nobody in between', () => {
    const { now, seen, watch, clock } = watched();
    now.delete('eth2');
    for (let i = 0; i < 499; i++) {
      clock.advance(10);
      watch.poll();
    }
    expect(seen).toEqual([]);
    clock.advance(10);
    watch.poll();
    expect(seen.length).toBe(1);
  });

  it('leaves all as it was while the host cannot be read, and makes up for it', () => {
    let mayRead = true;
    const { port, now, seen, watch, changes } = watched(() => mayRead);
    mayRead = false;
    now.delete('eth3');
    port.datagrams.push(Buffer.alloc(16));
    for (let i = 0; i < 300; i++) watch.poll();
    expect([seen.length, changes()]).toEqual([0, 0]);
    mayRead = true;
    watch.poll();
    expect([seen.length, changes()]).toEqual([1, 1]);
  });

  it('gives its socket back', () => {
    const { port, watch } = watched();
    watch.stop();
    expect(port.closed).toBe(true);
  });
});
