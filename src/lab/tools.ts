/** What administrators try a network with (ping, traceroute, a resolver, iperf3 with UDP), as functions that read the answer for the caller. */
import { BraidError } from '../error.ts';
import type { Lab } from './build.ts';
import type { DnsTask } from './traffic/dns.ts';
import { type Between, Ends, endsOf, PATIENCE_MS, program, STARTED } from './traffic.ts';

interface PingOptions extends Between {
  readonly count?: number;
  readonly intervalSeconds?: number;
  /** Of the ICMP payload: 8 and the IP header come on top. */
  readonly sizeBytes?: number;
  /** Absent: as ping likes. */
  readonly dontFragment?: boolean;
  readonly dsField?: number;
  /** How long to wait for an answer. */
  readonly waitSeconds?: number;
}

interface Pinged {
  readonly sent: number;
  readonly received: number;
  readonly duplicates: number;
  readonly averageMs: number | undefined;
  /** What a router or our own kernel said passes. */
  readonly mtu: number | undefined;
  /** What routers said instead of an answer, `ADDRESS WORDS`, each once. */
  readonly errors: readonly string[];
  readonly text: string;
}

/** Debian's ping; no answer is a result, too. */
export async function ping(lab: Lab, options: PingOptions = {}): Promise<Pinged> {
  const { from, address } = endsOf(lab.topology, options, 0);
  const { count = 3, intervalSeconds = 0.2, sizeBytes, dontFragment, dsField, waitSeconds = 2 } = options;
  const { stdout, stderr } = await lab.exec(
    from,
    [
      'ping',
      '-n',
      ...['-c', String(count), '-i', String(intervalSeconds), '-W', String(waitSeconds)],
      ...(sizeBytes === undefined ? [] : ['-s', String(sizeBytes)]),
      ...(dontFragment === undefined ? [] : ['-M', dontFragment ? 'do' : 'dont']),
      ...(dsField === undefined ? [] : ['-Q', String(dsField)]),
      address,
    ],
    { timeoutMs: PATIENCE_MS + count * (intervalSeconds + waitSeconds) * 1000 },
  );
  const text = `${stdout}${stderr}`;
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
  if (sent === undefined) throw new BraidError('LAB', `ping from ${from} to ${address}: a summary expected, got ${text.trim()}`);
  const average = /= [\d.]+\/([\d.]+)\//.exec(text)?.[1];
  const mtu = /mtu ?[=:] ?(\d+)/.exec(text)?.[1];
  return {
    sent: Number(sent),
    received: Number(received),
    duplicates: Number(/\+(\d+) duplicates/.exec(text)?.[1] ?? 0),
    averageMs: average === undefined ? undefined : Number(average),
    mtu: mtu === undefined ? undefined : Number(mtu),
    errors: [...new Set([...text.matchAll(/^From (\S+):? icmp_seq=\d+ (.*)$/gm)].map(([, who, words]) => `${who} ${words}`))],
    text,
  };
}

interface TracerouteOptions extends Between {
  /** With ICMP instead of UDP. */
  readonly icmp?: boolean;
}

/** @returns the address of each hop, `*` where none answered */
export async function traceroute(lab: Lab, options: TracerouteOptions = {}): Promise<string[]> {
  const { from, address } = endsOf(lab.topology, options, 0);
  const stdout = await lab.must(from, ['traceroute', '-n', '-q', '1', '-w', '2', '-m', '6', ...(options.icmp ? ['-I'] : []), address]);
  return [...stdout.matchAll(/^ *\d+ +(\S+)/gm)].map(([, hop]) => hop!);
}

/** A name server on `to`, for as long as `act` runs; `ask` sends it real queries from `from`. */
export async function withNameServer<T>(
  lab: Lab,
  options: Between & { readonly answer?: string },
  act: (ask: (count: number) => Promise<Resolved>) => Promise<T>,
): Promise<T> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5_900);
  const { answer = '192.0.2.53' } = options;
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, program('dns', { host: address, port, answer } satisfies DnsTask));
    await server.waitFor(STARTED, PATIENCE_MS);
    return act(
      async (count) => JSON.parse(await lab.must(from, [process.execPath, '-e', asking(address, port, answer, count)])) as Resolved,
    );
  });
}

interface Resolved {
  readonly asked: number;
  readonly answered: number;
  readonly slowestMs: number;
}

/** Without a second try: a lost packet is a lost answer. */
function asking(address: string, port: number, answer: string, count: number): string {
  const server = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  return `const { Resolver } = require('node:dns').promises; const r = new Resolver({ timeout: 2000, tries: 1 });
    r.setServers(['${server}']);
    (async () => { let answered = 0, slowestMs = 0;
      for (let i = 0; i < ${count}; i++) { const t = performance.now();
        try { if ((await r.resolve4('host' + i + '.munich.example'))[0] === '${answer}') answered++; } catch {}
        slowestMs = Math.max(slowestMs, performance.now() - t); }
      console.log(JSON.stringify({ asked: ${count}, answered, slowestMs })); })();`;
}

interface UdpIperf3Options extends Between {
  readonly seconds?: number;
  /** Bits a second as iperf3 reads them, `200M`. */
  readonly rate: string;
  /** Absent: iperf3's own choice. */
  readonly sizeBytes?: number | undefined;
  readonly reverse?: boolean;
}

export interface UdpIperf3Result {
  readonly receivedMbit: number;
  readonly packets: number;
  readonly lost: number;
  readonly lostPercent: number;
  readonly outOfOrder: number;
  /** Of the lost: those that reached the reading host and found no room in iperf3's socket there. */
  readonly noRoom: number;
}

/** `iperf3 -u`. @throws BraidError LAB with iperf3's own words where it fails */
export async function udpIperf3(lab: Lab, options: UdpIperf3Options): Promise<UdpIperf3Result> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5_201);
  const { seconds = 5, rate, sizeBytes, reverse = false } = options;
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, ['iperf3', '--forceflush', '-s', '-1', '-B', address, '-p', String(port)]);
    await server.waitFor(/listening/, PATIENCE_MS);
    const size = sizeBytes === undefined ? [] : ['-l', String(sizeBytes)];
    const argv = ['iperf3', '-J', '-u', '-c', address, '-p', String(port), '-t', String(seconds), '-b', rate, ...size];
    // As much as `net.core.rmem_max` lets it have.
    const reader = reverse ? from : to;
    const noRoomBefore = await noRoomOf(lab, reader);
    const client = ends.start(from, [...argv, '-w', '400K', '--get-server-output', ...(reverse ? ['-R'] : [])]);
    const { stdout } = await client.finished(seconds * 1000 + PATIENCE_MS);
    const raw = JSON.parse(stdout) as Iperf3Json;
    if (raw.error !== undefined) throw new BraidError('LAB', `iperf3 -u from ${from} to ${address}: ${raw.error}`);
    const { lost_packets: lost, packets } = raw.end.sum;
    // Who reads counts the order: the server, or with -R we.
    const streams = (reverse ? raw : (raw.server_output_json ?? raw)).end.streams;
    return {
      receivedMbit: ((packets - lost) * streams[0]!.udp.bytes * 8) / Math.max(1, streams[0]!.udp.packets) / raw.end.sum.seconds / 1e6,
      packets,
      lost,
      lostPercent: (100 * lost) / Math.max(1, packets),
      outOfOrder: streams.reduce((sum, { udp }) => sum + (udp.out_of_order ?? 0), 0),
      noRoom: (await noRoomOf(lab, reader)) - noRoomBefore,
    };
  });
}

async function noRoomOf(lab: Lab, node: string): Promise<number> {
  const [names, values] = (await lab.must(node, ['grep', '^Udp:', '/proc/net/snmp'])).split('\n').map((line) => line.split(' '));
  return Number(values![names!.indexOf('RcvbufErrors')]);
}

interface Iperf3Json {
  readonly error?: string;
  readonly end: {
    readonly sum: { readonly lost_packets: number; readonly packets: number; readonly seconds: number };
    readonly streams: readonly { readonly udp: { readonly bytes: number; readonly packets: number; readonly out_of_order?: number } }[];
  };
  readonly server_output_json?: Iperf3Json;
}
