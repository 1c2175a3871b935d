/** The demo's act for everything that is not TCP: what an administrator tries first, and UDP that goes on while an uplink is pulled. */
import { setTimeout as sleep } from 'node:timers/promises';
import { countsOf, type DatagramCounts, type DatagramResult, datagrams, quicLike, TWICE_PORT, voice } from './datagrams.ts';
import type { DemoAct, Stage } from './demo.ts';
import { longestGapMs, monotonicMs } from './gaps.ts';
import { ping, traceroute, withNameServer } from './tools.ts';
import { greTunnel } from './tunnels.ts';

export interface PacketsShown {
  readonly ping: { readonly sent: number; readonly received: number; readonly averageMs: number | null };
  /** What the gateway says that passes, to a host that sent 1,500 bytes. */
  readonly mtu: number | null;
  readonly hops: readonly string[];
  readonly dns: { readonly asked: number; readonly answered: number };
  /** Pings through a GRE tunnel between the PCs. */
  readonly gre: { readonly sent: number; readonly received: number };
  readonly pulled: { readonly uplink: string; readonly afterSeconds: number };
  readonly flows: readonly PacketFlow[];
}

interface PacketFlow extends DatagramCounts {
  /** Around the pull; null: nothing came at all. */
  readonly longestGapMs: number | null;
}

const GAP_WATCH_MS = 3_000;
const PULL_AT = 0.5;
/** The far gateway is no hop: it answers for itself, and the host is behind it. */
const HOPS = 3;

export async function playPackets({ lab, out, seconds }: Stage, uplink: string, title: string): Promise<DemoAct> {
  out.write(`\n${title}\n`);
  const say = (what: string, words: string) => out.write(`   ${what.padEnd(16)} ${words}\n`);
  try {
    const load = { sizeBytes: 1_400, mbit: 10 };
    await using flows = await datagrams(lab, { flows: [{ name: 'UDP 1,400 B', up: load, down: load }, quicLike(10), voice()] });
    await using twice = await datagrams(lab, { port: TWICE_PORT, flows: [voice('voice twice')] });
    await Promise.all([flows.untilFlowing(), twice.untilFlowing()]);
    const startMs = monotonicMs();
    const pinged = await ping(lab, { count: 5 });
    const average = pinged.averageMs === undefined ? '' : `, ${pinged.averageMs.toFixed(1)} ms`;
    say('ping', `${pinged.received} of ${pinged.sent} answered${average}`);
    const tooBig = await ping(lab, { count: 1, sizeBytes: 1_472, dontFragment: true });
    say(
      'ping -s 1472',
      tooBig.mtu === undefined ? 'nobody says what passes' : `don't fragment: the gateway says that ${tooBig.mtu} bytes pass`,
    );
    const hops = await traceroute(lab);
    say('traceroute', hops.join('  '));
    const dns = await withNameServer(lab, {}, (ask) => ask(10));
    say('DNS', `${dns.answered} of ${dns.asked} answered`);
    const gre = await throughGre(lab);
    say('GRE', `a tunnel between the PCs: ${gre.received} of ${gre.sent} answered`);
    await sleep(Math.max(0, startMs + PULL_AT * seconds * 1000 - monotonicMs()));
    const pulledMs = monotonicMs();
    await lab.carrier(uplink, 'berlin', false);
    say(`${((pulledMs - startMs) / 1000).toFixed(1)} s`, `${uplink} is pulled`);
    await sleep(Math.max(1_000, startMs + seconds * 1000 - monotonicMs()));
    const results = [...(await flows.stop()), ...(await twice.stop())];
    const shown = results.map((one) => flowOf(one, pulledMs));
    for (const one of shown) say(one.flow, flowWords(one));
    const packets: PacketsShown = {
      ping: { sent: pinged.sent, received: pinged.received, averageMs: pinged.averageMs ?? null },
      mtu: tooBig.mtu ?? null,
      hops,
      dns: { asked: dns.asked, answered: dns.answered },
      gre: { sent: gre.sent, received: gre.received },
      pulled: { uplink, afterSeconds: (pulledMs - startMs) / 1000 },
      flows: shown,
    };
    return acted(title, results, packets);
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    out.write(`   FAILED: ${fault}\n`);
    return { name: 'packets', title, intact: false, fault, bytes: 0, goodputMbit: 0, longestStallMs: 0, client: '-' };
  }
}

async function throughGre(lab: Stage['lab']) {
  await using tunnel = await greTunnel(lab);
  return await ping(lab, { address: tunnel.addresses[1] });
}

function flowOf(one: DatagramResult, pulledMs: number): PacketFlow {
  const gapMs = longestGapMs(one, pulledMs, pulledMs + GAP_WATCH_MS);
  return { ...countsOf(one), longestGapMs: Number.isFinite(gapMs) ? gapMs : null };
}

function flowWords({ sent, lost, duplicated, reordered, corrupted, longestGapMs }: PacketFlow): string {
  const gap = longestGapMs === null ? 'NOTHING CAME' : `longest gap ${longestGapMs.toFixed(0)} ms`;
  const more = [
    ...(duplicated > 0 ? [`${duplicated} twice`] : []),
    ...(reordered > 0 ? [`${reordered} late`] : []),
    ...(corrupted > 0 ? [`${corrupted} CHANGED`] : []),
  ];
  return [`${lost} of ${sent} lost`, gap, ...more].join(', ');
}

function acted(title: string, results: readonly DatagramResult[], packets: PacketsShown): DemoAct {
  const bulk = results[0]!;
  const fault = faultOf(packets);
  return {
    name: 'packets',
    title,
    intact: fault === undefined,
    ...(fault !== undefined && { fault }),
    bytes: results.reduce((sum, one) => sum + one.bytes, 0),
    goodputMbit: (bulk.bytes * 8) / Math.max(1, bulk.lastAtMs - bulk.firstAtMs) / 1000,
    longestStallMs: Math.max(0, ...packets.flows.map((one) => one.longestGapMs ?? 0)),
    client: results.find((one) => one.direction === 'up')?.peer.split(' ')[0] ?? '-',
    packets,
  };
}

/** What an uplink that was pulled is no excuse for. */
function faultOf({ ping, hops, dns, gre, flows }: PacketsShown): string | undefined {
  if (ping.received < ping.sent) return `${ping.sent - ping.received} of ${ping.sent} pings were not answered`;
  if (hops.length !== HOPS || hops.includes('*')) return `traceroute saw ${hops.join(' ')}`;
  if (dns.answered < dns.asked) return `${dns.asked - dns.answered} of ${dns.asked} questions to the name server were not answered`;
  if (gre.received < gre.sent) return `${gre.sent - gre.received} of ${gre.sent} pings through GRE were not answered`;
  const silent = flows.find((one) => one.longestGapMs === null || one.longestGapMs >= GAP_WATCH_MS);
  if (silent) return `${silent.flow} did not get over the pulled uplink`;
  const wrong = flows.find((one) => one.corrupted > 0 || one.duplicated > 0);
  return wrong && `${wrong.flow}: ${wrong.corrupted} datagrams changed, ${wrong.duplicated} came twice`;
}
