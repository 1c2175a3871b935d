import { describe, expect, it } from 'vitest';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import { MemoryPathManager } from '../kernel/memory-path-manager.ts';
import type { Peer } from '../site/types.ts';
import { parseAddress } from '../wire/ip.ts';
import { Widening } from './widening.ts';

const TOKEN = 77;

class Widened {
  readonly pathManager = new MemoryPathManager();
  readonly failed: string[] = [];
  readonly later: { readonly delayMs: number; readonly then: () => void }[] = [];
  usable = [[0, 1, 2]];
  readonly widening: Widening;

  constructor(peer: Peer = peerOf(0, 'munich', 17, 1, 2, { uplinks: 3 })) {
    for (const path of peer.paths) this.pathManager.addresses.add(path.localAddress.text);
    this.widening = new Widening({
      site: siteOf('berlin', 16, 1, [peer], { uplinks: 3 }),
      pathManager: this.pathManager,
      usable: () => this.usable,
      failed: (path, answer) => this.failed.push(`${path.uplink.name} ${answer}`),
      later: (delayMs, then) => this.later.push({ delayMs, then }),
    });
  }

  connection(path = 0, established = true) {
    const connection = this.pathManager.connect(TOKEN, parseAddress(`10.${path}.0.1`)!);
    connection.established = established;
    return connection;
  }

  widen(path = 0): void {
    this.widening.widen({ token: TOKEN, peer: 0, path });
  }
}

describe('a flow that is widened', () => {
  it('gets a subflow over each other usable path', () => {
    const all = new Widened();
    const connection = all.connection();
    all.widen();
    expect(connection.subflows).toEqual(['10.1.0.1 10.1.0.2:8388', '10.2.0.1 10.2.0.2:8388']);
    const some = new Widened();
    const second = some.connection(1);
    some.usable = [[0, 1]];
    some.widen(1);
    expect(second.subflows).toEqual(['10.0.0.1 10.0.0.2:8388']);
  });

  it('gives each local address the same id for its whole life, and another to none', () => {
    const widened = new Widened();
    const connection = widened.connection(1);
    widened.widen(1);
    widened.widen(1);
    expect(widened.failed).toEqual([]);
    expect(new Set(connection.ids.values()).size).toBe(connection.ids.size);
  });

  it('has id 0 for a second address of the peer over the uplink of the dial', () => {
    const peer = peerOf(0, 'munich', 17, 1, 2, { uplinks: 1 });
    const path = { ...peer.paths[0]!, index: 1, peerAddress: { address: parseAddress('10.0.0.3')!, port: 9_000 } };
    const widened = new Widened({ ...peer, paths: [...peer.paths, path] });
    widened.usable = [[0, 1]];
    const connection = widened.connection();
    widened.widen();
    expect(connection.subflows).toEqual(['10.0.0.1 10.0.0.3:9000']);
    expect(widened.failed).toEqual([]);
  });

  it('is asked for again, ever more rarely, until the peer has acknowledged data', () => {
    const widened = new Widened();
    widened.usable = [[0, 1]];
    const connection = widened.connection(0, false);
    widened.widen();
    const delays: number[] = [];
    for (let tries = 0; tries < 4; tries++) {
      const [next] = widened.later.splice(0);
      delays.push(next!.delayMs);
      if (tries === 3) connection.established = true;
      next!.then();
    }
    expect(delays).toEqual([10, 20, 40, 80]);
    expect(connection.subflows).toEqual(['10.1.0.1 10.1.0.2:8388']);
    expect(widened.later).toEqual([]);
  });

  it('is given up without a word where the peer never acknowledges, or the flow has ended', () => {
    const silent = new Widened();
    silent.usable = [[0, 1]];
    silent.connection(0, false);
    silent.widen();
    let waitedMs = 0;
    for (let tries = 0; silent.later.length > 0; tries++) {
      expect(tries).toBeLessThan(20);
      const next = silent.later.shift()!;
      waitedMs += next.delayMs;
      next.then();
    }
    expect(waitedMs).toBeGreaterThan(2_000);
    const ended = new Widened();
    ended.widen();
    expect([silent.failed, ended.failed, ended.later]).toEqual([[], [], []]);
  });

  it('says which uplink was refused, and the other ones are opened all the same', () => {
    const widened = new Widened();
    widened.pathManager.addresses.delete('10.1.0.1');
    const connection = widened.connection();
    widened.widen();
    expect(widened.failed).toEqual(['cable EADDRNOTAVAIL']);
    expect(connection.subflows).toEqual(['10.2.0.1 10.2.0.2:8388']);
  });

  it('leaves backups alone while another path is usable', () => {
    const peer = peerOf(0, 'munich', 17, 1, 2, { uplinks: 3 });
    const paths = peer.paths.map((path, index) => (index > 0 ? { ...path, uplink: { ...path.uplink, role: 'backup' as const } } : path));
    const widened = new Widened({ ...peer, paths });
    const connection = widened.connection();
    widened.widen();
    expect(connection.subflows).toEqual([]);
    widened.usable = [[1, 2]];
    const onBackup = widened.connection(1);
    widened.widen(1);
    expect(onBackup.subflows).toEqual(['10.2.0.1 10.2.0.2:8388']);
  });
});
