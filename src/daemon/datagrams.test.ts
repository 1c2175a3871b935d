import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { addressFromBytes, type IpAddress, parseAddress } from '../wire/ip.ts';
import { UplinkDatagrams } from './datagrams.ts';

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

function uplinks(port: number) {
  const heard: string[] = [];
  const failures: string[] = [];
  const datagrams = new UplinkDatagrams({
    port,
    received: (bytes: Buffer, local: IpAddress, remote: SocketAddress) =>
      heard.push(`${bytes.toString()} at ${local.text} from ${addressFromBytes(remote.bytes).text}:${remote.port}`),
    failed: (words) => failures.push(words),
  });
  open.push(datagrams);
  return { datagrams, heard, failures };
}

describe('the datagrams of the uplinks', () => {
  it('leave from the address they are sent from, and say which address they came to', async () => {
    const port = await freePort();
    const { datagrams, heard } = uplinks(port);
    datagrams.follow([ONE, OTHER, SIX]);
    const send = (from: IpAddress, to: IpAddress, words: string) => datagrams.send(from, { bytes: to.bytes, port }, Buffer.from(words));
    await expect
      .poll(() => {
        send(ONE, OTHER, 'there');
        return heard;
      })
      .toContain(`there at 127.0.0.2 from 127.0.0.1:${port}`);
    send(OTHER, ONE, 'back');
    send(SIX, SIX, 'six');
    await expect
      .poll(() => heard)
      .toEqual(expect.arrayContaining([`back at 127.0.0.1 from 127.0.0.2:${port}`, `six at ::1 from ::1:${port}`]));
    expect(datagrams.bytesOf('127.0.0.2')).toEqual({ tx: 4, rx: datagrams.bytesOf('127.0.0.1').tx });
  });

  it('are nowhere where the address is gone, and say why a socket cannot be had', async () => {
    const port = await freePort();
    const taken = createSocket('udp4').bind(port, '127.0.0.1');
    await once(taken, 'listening');
    const { datagrams, heard, failures } = uplinks(port);
    datagrams.follow([ONE, OTHER]);
    await expect.poll(() => failures).toEqual([expect.stringContaining('127.0.0.1')]);
    taken.close();
    datagrams.follow([]);
    datagrams.send(OTHER, { bytes: ONE.bytes, port }, Buffer.from('x'));
    expect(heard).toEqual([]);
  });

  it('go nowhere at port 0, which an attacker can give as the source, and open nothing after their end', async () => {
    const port = await freePort();
    const { datagrams } = uplinks(port);
    datagrams.follow([ONE]);
    const send = (to: number) => datagrams.send(ONE, { bytes: ONE.bytes, port: to }, Buffer.from('x'));
    await expect
      .poll(() => {
        send(port);
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
