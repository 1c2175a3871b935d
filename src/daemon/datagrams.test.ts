import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { LinuxDatagrams } from '../kernel/datagram-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { heartbeatSpace, packetSpace } from '../wire/datagram.ts';
import { addressFromBytes, type IpAddress, parseAddress } from '../wire/ip.ts';
import { UplinkDatagrams, type UplinkDatagramsParts } from './datagrams.ts';

const ONE = parseAddress('127.0.0.1')!;
const OTHER = parseAddress('127.0.0.2')!;
const SIX = parseAddress('::1')!;

const open: UplinkDatagrams[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

async function freePort(): Promise<number> {
  const probe = createSocket('udp4').bind(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise<void>((done) => probe.close(() => done()));
  return port;
}

function uplinks(port: number, more: Partial<UplinkDatagramsParts> = {}) {
  const heard: string[] = [];
  const failures: string[] = [];
  const datagrams = new UplinkDatagrams({
    port,
    received: (bytes: Uint8Array, local: IpAddress, remote: SocketAddress) =>
      heard.push(`${Buffer.from(bytes).toString()} at ${local.text} from ${addressFromBytes(remote.bytes).text}:${remote.port}`),
    failed: (words) => failures.push(words),
    ...more,
  });
  open.push(datagrams);
  const hear = () => {
    datagrams.read();
    return heard;
  };
  return { datagrams, hear, failures };
}

describe('the datagrams of the uplinks', () => {
  it('leave from the address they are sent from, and say which address they came to', async () => {
    const port = await freePort();
    const { datagrams, hear } = uplinks(port);
    datagrams.follow([ONE, OTHER, SIX]);
    const send = (from: IpAddress, to: IpAddress, words: string) => datagrams.send(from, { bytes: to.bytes, port }, Buffer.from(words));
    await expect
      .poll(() => {
        send(ONE, OTHER, 'there');
        return hear();
      })
      .toContain(`there at 127.0.0.2 from 127.0.0.1:${port}`);
    send(OTHER, ONE, 'back');
    send(SIX, SIX, 'six');
    await expect.poll(hear).toEqual(expect.arrayContaining([`back at 127.0.0.1 from 127.0.0.2:${port}`, `six at ::1 from ::1:${port}`]));
    expect(datagrams.bytesOf('127.0.0.2')).toEqual({ tx: 4, rx: datagrams.bytesOf('127.0.0.1').tx });
  });

  it('are nowhere where the address is gone, and say why a socket cannot be had', async () => {
    const port = await freePort();
    const taken = createSocket('udp4').bind(port, '127.0.0.1');
    await once(taken, 'listening');
    const { datagrams, hear, failures } = uplinks(port);
    datagrams.follow([ONE, OTHER]);
    await expect.poll(() => failures).toEqual([expect.stringContaining('127.0.0.1')]);
    taken.close();
    datagrams.follow([]);
    datagrams.send(OTHER, { bytes: ONE.bytes, port }, Buffer.from('x'));
    expect(hear()).toEqual([]);
  });

  it('share a port with the packet lane, which takes its part, has it taken back, and while it is gone keeps packets from us', async () => {
    const port = await freePort();
    const kernel = new LinuxDatagrams();
    const told: string[] = [];
    let isThere = true;
    const { datagrams, hear } = uplinks(port, {
      handOver: (address, fd) => {
        told.push(`takes ${address}`);
        if (!isThere) return 'parked';
        kernel.close(fd);
        return 'taken';
      },
      takeBack: (address) => told.push(`gives ${address}`),
    });
    datagrams.follow([ONE, OTHER]);
    datagrams.follow([OTHER]);
    expect(told).toEqual(['takes 127.0.0.1', 'takes 127.0.0.2', 'gives 127.0.0.1']);
    isThere = false;
    datagrams.renew();
    // Not before the thread has surely closed what it had.
    await expect.poll(() => told.slice(3)).toEqual(['gives 127.0.0.2', 'takes 127.0.0.2']);
    const sealed = (space: number, words: string) => Buffer.concat([Buffer.alloc(8), Buffer.from([space, 0, 0, 0]), Buffer.from(words)]);
    await expect
      .poll(() => {
        datagrams.send(OTHER, { bytes: OTHER.bytes, port }, sealed(packetSpace(0), 'a packet'));
        datagrams.send(OTHER, { bytes: OTHER.bytes, port }, sealed(heartbeatSpace(0), 'a heartbeat'));
        return hear().length;
      })
      .toBeGreaterThan(0);
    expect(hear().every((words) => words.includes('a heartbeat'))).toBe(true);
  });

  it('are read in turns, and say since when they were there', async () => {
    const port = await freePort();
    const ages: number[] = [];
    const { datagrams } = uplinks(port, { received: (_bytes, _local, _remote, ageMs) => ages.push(ageMs) });
    datagrams.follow([ONE]);
    const send = () => datagrams.send(ONE, { bytes: ONE.bytes, port }, Buffer.alloc(40, heartbeatSpace(0)));
    for (let i = 0; i < 300; i++) send();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const lastAtMs = performance.now();
    send();
    expect(datagrams.read()).toBe(true);
    expect(ages).toHaveLength(256);
    expect(datagrams.read()).toBe(false);
    expect(ages).toHaveLength(301);
    expect(ages[0]).toBeGreaterThanOrEqual(49);
    // The wall clock, by which they are stamped, and ours may differ by a hair.
    expect(ages[300]).toBeLessThanOrEqual(performance.now() - lastAtMs + 1);
  });

  it('go nowhere at port 0, which an attacker can give as the source, and open nothing after their end', async () => {
    const port = await freePort();
    const { datagrams } = uplinks(port);
    datagrams.follow([ONE]);
    const send = (to: number) => datagrams.send(ONE, { bytes: ONE.bytes, port: to }, Buffer.from('x'));
    await expect
      .poll(() => {
        send(port);
        datagrams.read();
        return datagrams.bytesOf('127.0.0.1').rx;
      })
      .toBeGreaterThan(0);
    const before = datagrams.bytesOf('127.0.0.1').tx;
    expect(() => send(0)).not.toThrow();
    expect(datagrams.bytesOf('127.0.0.1').tx).toBe(before);
    datagrams.close();
    datagrams.follow([ONE]);
    const free = createSocket('udp4').bind(port, '127.0.0.1');
    await once(free, 'listening');
    free.close();
  });
});
