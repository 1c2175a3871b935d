import { describe, expect, it } from 'vitest';
import { at, peerOf, siteOf } from '../engine/pair.fixture.ts';
import { FakeClock } from '../kernel/clock.ts';
import { endpointKey, MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import type { Site } from '../site/types.ts';
import { PathChecks } from './path-checks.ts';

const fiber = at('10.0.0.2', 8388);
const cable = at('10.1.0.2', 8388);

class Checked {
  readonly network = new MemoryNetwork();
  readonly clock = new FakeClock();
  readonly sockets = new MemorySockets(this.network, [at('10.0.0.1', 0).bytes, at('10.1.0.1', 0).bytes]);
  readonly peer = new MemorySockets(this.network, [fiber.bytes, cable.bytes]);
  readonly changes: string[] = [];
  readonly heardAtMs = [0, 0];
  readonly links = new Map<string, readonly string[]>();
  readonly checks: PathChecks;
  readonly #listener: number;

  constructor(site: Site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)])) {
    this.clock.advance(1_000_000);
    for (const uplink of site.uplinks)
      this.links.set(
        uplink.device,
        uplink.addresses.map(({ text }) => text),
      );
    this.#listener = this.peer.listenPeer(4, 8388);
    this.checks = new PathChecks({
      site,
      sockets: this.sockets,
      clock: this.clock,
      links: () => this.links,
      heardAtMs: (_, path) => this.heardAtMs[path]!,
      changed: ({ path, state, reason }) => this.changes.push(`${path.uplink.name} ${state} ${reason}`.trim()),
    });
  }

  get states(): string[] {
    return this.checks.health.map((health) => health.state);
  }

  /** Steps every 20 ms, as the timer does while an answer is awaited. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 20) {
      this.clock.advance(20);
      this.checks.step();
    }
  }

  /** How many calls the peer got since it was asked last. */
  calls(): number {
    let count = 0;
    while (this.peer.accept(this.#listener) >= 0) count++;
    return count;
  }
}

describe('a path', () => {
  it('is down until it was tried, then up, with its round-trip time; and nothing stays open', () => {
    const { checks, changes, sockets } = new Checked();
    expect(checks.health.map(({ state, reason }) => `${state} ${reason}`)).toEqual(['down not tried yet', 'down not tried yet']);
    checks.step();
    checks.step();
    expect(checks.health.map(({ state, reason, rttMs }) => [state, reason, rttMs])).toEqual([
      ['up', '', 1],
      ['up', '', 1],
    ]);
    expect(changes).toEqual(['fiber up', 'cable up']);
    expect(sockets.openDescriptors).toBe(0);
  });

  it('that is refused says so once, is tried each second, and comes up when the peer listens', () => {
    const checked = new Checked();
    checked.network.refused.add(endpointKey(cable));
    checked.pass(100);
    expect(checked.changes).toEqual(['fiber up', 'cable down ECONNREFUSED']);
    checked.pass(3_000);
    expect(checked.changes).toHaveLength(2);
    checked.network.refused.clear();
    checked.pass(1_100);
    expect(checked.changes[2]).toBe('cable up');
  });

  it('that says nothing for three seconds is down, and says why', () => {
    const checked = new Checked();
    checked.network.silent.add(endpointKey(fiber));
    checked.pass(2_900);
    expect(checked.changes).toEqual(['cable up']);
    checked.pass(200);
    expect(checked.changes).toEqual(['cable up', 'fiber down no answer for 3 s']);
    expect(checked.sockets.openDescriptors).toBe(0);
  });

  it('that cannot even be dialled is down with the errno', () => {
    const checked = new Checked();
    checked.sockets.descriptorsMost = 0;
    checked.checks.step();
    expect(checked.changes).toEqual(['fiber down EMFILE', 'cable down EMFILE']);
  });

  it('that is up is left alone while bytes come over it, and tried again when none came for ten seconds', () => {
    const checked = new Checked();
    checked.pass(100);
    expect(checked.calls()).toBe(2);
    for (let i = 0; i < 30; i++) {
      checked.heardAtMs[0] = checked.clock.nowMs();
      checked.pass(1_000);
    }
    // Only the cable, which carried nothing, was tried.
    expect(checked.calls()).toBe(3);
    checked.network.silent.add(endpointKey(fiber));
    checked.pass(13_200);
    expect(checked.states).toEqual(['down', 'up']);
  });

  it('whose dial failed is tried at once, whatever was heard lately', () => {
    const checked = new Checked();
    checked.pass(100);
    checked.heardAtMs[0] = checked.clock.nowMs();
    checked.network.refused.add(endpointKey(fiber));
    checked.checks.suspect(0, 0);
    checked.pass(40);
    expect(checked.states).toEqual(['down', 'up']);
    expect(checked.changes.at(-1)).toBe('fiber down ECONNREFUSED');
    checked.calls();
    checked.checks.suspect(0, 0);
    checked.checks.suspect(0, 7);
    checked.pass(40);
    expect(checked.calls()).toBe(0);
  });
});

describe('the usable paths of a peer', () => {
  it('are those that are up, or all of them while none is', () => {
    const checked = new Checked();
    expect(checked.checks.usable()).toEqual([[0, 1]]);
    checked.network.refused.add(endpointKey(fiber));
    checked.pass(100);
    expect(checked.checks.usable()).toEqual([[1]]);
    checked.network.refused.add(endpointKey(cable));
    checked.checks.suspect(0, 1);
    checked.pass(100);
    expect(checked.checks.usable()).toEqual([[0, 1]]);
  });

  it('have backups last', () => {
    const peer = peerOf(0, 'munich', 17, 1, 2);
    const paths = peer.paths.map((path, index) => (index === 0 ? { ...path, uplink: { ...path.uplink, role: 'backup' as const } } : path));
    const checked = new Checked(siteOf('berlin', 16, 1, [{ ...peer, paths }]));
    expect(checked.checks.usable()).toEqual([[1, 0]]);
    checked.pass(100);
    expect(checked.checks.usable()).toEqual([[1, 0]]);
  });
});

describe('the timer', () => {
  it('steps by itself until it is stopped, and closes what it was waiting for', async () => {
    const checked = new Checked();
    checked.network.silent.add(endpointKey(cable));
    checked.checks.start();
    await expect.poll(() => checked.states, { timeout: 5_000 }).toEqual(['up', 'down']);
    expect(checked.sockets.openDescriptors).toBe(1);
    checked.checks.stop();
    expect(checked.sockets.openDescriptors).toBe(0);
    checked.network.silent.clear();
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(checked.states).toEqual(['up', 'down']);
  });

  it('is down at once without its device or its address, and checked as soon as they are back', () => {
    const checked = new Checked();
    checked.pass(100);
    expect(checked.states).toEqual(['up', 'up']);
    const [device, addresses] = [...checked.links][1]!;
    checked.links.delete(device);
    checked.pass(20);
    expect(checked.checks.health[1]).toMatchObject({ state: 'down', reason: 'down or no carrier' });
    checked.links.set(device, ['192.0.2.1']);
    checked.pass(20);
    expect(checked.checks.health[1]).toMatchObject({ state: 'down', reason: `${device} has lost 10.1.0.1` });
    checked.links.set(device, addresses);
    checked.pass(1_100);
    expect(checked.states).toEqual(['up', 'up']);
  });
});
