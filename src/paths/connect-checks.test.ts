import { beforeEach, describe, expect, it } from 'vitest';
import { at, peerOf } from '../engine/pair.fixture.ts';
import { FakeClock } from '../kernel/clock.ts';
import { endpointKey, MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import { ConnectChecks } from './connect-checks.ts';

const fiber = at('10.0.0.2', 8388);
const cable = at('10.1.0.2', 8388);
const { paths } = peerOf(0, 'munich', 17, 1, 2);

describe('a connect check', () => {
  let network: MemoryNetwork;
  let clock: FakeClock;
  let sockets: MemorySockets;
  let checks: ConnectChecks;
  let told: string[];

  beforeEach(() => {
    network = new MemoryNetwork();
    clock = new FakeClock();
    clock.advance(1_000_000);
    sockets = new MemorySockets(network, [at('10.0.0.1', 0).bytes, at('10.1.0.1', 0).bytes]);
    new MemorySockets(network, [fiber.bytes, cable.bytes]).listenPeer(4, 8388);
    told = [];
    checks = new ConnectChecks({
      sockets,
      clock,
      done: (_, path, result) => {
        const flags = result.answered ? `${result.plain ? ' plain' : ''}${result.dropsMptcp ? ' drops MPTCP' : ''}` : ` ${result.reason}`;
        told.push(`${paths[path]!.uplink.name} ${result.answered}${flags}`);
      },
    });
  });

  /** Checks both paths at once, and waits. */
  function pass(ms: number): void {
    for (const path of paths) checks.check(0, path);
    for (let passed = 0; passed < ms; passed += 20) {
      clock.advance(20);
      checks.step();
    }
  }

  it('is answered, on all paths at once, and leaves nothing open', () => {
    pass(20);
    expect(told).toEqual(['fiber true', 'cable true']);
    expect(sockets.openDescriptors).toBe(0);
    expect(checks.isRunning).toBe(false);
  });

  it('blames no path where this host has no descriptor left', () => {
    sockets.descriptorsMost = 0;
    pass(5_000);
    expect(told).toEqual([]);
    expect(checks.isRunning).toBe(false);
  });

  it('is refused, is not answered for three seconds, or cannot even be begun', () => {
    network.refused.add(endpointKey(fiber));
    network.silent.add(endpointKey(cable));
    pass(2_900);
    expect(told).toEqual(['fiber false ECONNREFUSED']);
    checks.step();
    clock.advance(200);
    checks.step();
    expect(told.at(-1)).toBe('cable false no answer for 3 s');
    expect(sockets.openDescriptors).toBe(0);
    sockets.dialPeer = () => -99;
    checks.check(0, paths[0]!);
    expect(told.at(-1)).toBe('fiber false EADDRNOTAVAIL');
  });

  it('finds who takes MPTCP out of connections', () => {
    network.stripsMptcp = true;
    pass(20);
    expect(told).toEqual(['fiber true plain', 'cable true plain']);
  });

  it('finds who drops SYNs with MPTCP: the plain one beside it is answered', () => {
    network.dropsMptcp.add(endpointKey(cable));
    pass(1_600);
    expect(told).toEqual(['fiber true', 'cable true drops MPTCP']);
    expect(sockets.openDescriptors).toBe(0);
  });

  it('is forgotten when it is called off', () => {
    network.silent.add(endpointKey(cable));
    checks.check(0, paths[1]!);
    checks.cancel(0, 1);
    expect([checks.isRunning, sockets.openDescriptors]).toEqual([false, 0]);
    checks.check(0, paths[1]!);
    checks.close();
    expect(sockets.openDescriptors).toBe(0);
  });
});
