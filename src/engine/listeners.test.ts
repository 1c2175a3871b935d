import { describe, expect, it } from 'vitest';
import { MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import type { Site } from '../site/types.ts';
import { Acceptor } from './acceptor.ts';
import { Listeners } from './listeners.ts';
import { peerOf, siteOf } from './pair.fixture.ts';

const both = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)]);
const four: Site = { ...both, uplinks: both.uplinks.map((uplink) => ({ ...uplink, addresses: [uplink.addresses[0]!] })) };

function listening() {
  const network = new MemoryNetwork();
  const addresses = both.uplinks.flatMap((uplink) => uplink.addresses.map(({ bytes }) => bytes));
  const sockets = new MemorySockets(network, addresses);
  const acceptor = new Acceptor(sockets, () => {});
  const listeners = new Listeners({ sockets, acceptor, near: () => {}, far: () => {} });
  return { network, listeners, sockets };
}

describe('listeners for peers', () => {
  it('are there for the families that uplinks have, and come with the first address of another', () => {
    const { network, listeners } = listening();
    expect(listeners.open(four)).toBeUndefined();
    const before = network.listeners.size;
    expect(listeners.open(four)).toBeUndefined();
    expect(network.listeners.size).toBe(before);
    expect(listeners.open(both)).toBeUndefined();
    expect(network.listeners.size).toBe(before + 2);
    expect(listeners.open(both)).toBeUndefined();
    expect(network.listeners.size).toBe(before + 2);
  });

  it('say what could not be had, and try again', () => {
    const { listeners, sockets } = listening();
    const taken = sockets.listenPeer(6, both.listenPort);
    expect(listeners.open(four)).toBeUndefined();
    expect(listeners.open(both)).toEqual({ what: `peer listener on [::]:${both.listenPort}`, error: 98 });
    sockets.close(taken);
    expect(listeners.open(both)).toBeUndefined();
  });

  it('come for a family of LAN addresses with the first peer that has one', () => {
    const { network, listeners } = listening();
    const lan = four.lan.filter(({ family }) => family === 4);
    const alone: Site = { ...four, lan, peers: [] };
    expect(listeners.open(alone)).toBeUndefined();
    const before = network.listeners.size;
    expect(listeners.open({ ...four, lan })).toBeUndefined();
    expect(network.listeners.size).toBe(before + 1);
  });
});
