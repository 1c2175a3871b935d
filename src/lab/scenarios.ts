/**
 * `braid lab run NAME`: what can happen to a site's uplinks, each as a topology and a few actions, under one bulk flow and one thin flow each
 * way. What is shown is measured in this very run, also where it is unpleasant.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../error.ts';
import type { Lab } from './build.ts';
import type { Middlebox } from './middlebox.ts';
import { ping } from './tools.ts';
import { type Topology, type TwoSitesOptions, twoSites, type UplinkOptions } from './topology.ts';
import { churn } from './traffic.ts';

interface Step {
  readonly atSeconds: number;
  readonly what: string;
  /** @returns what is to be shown of it, where there is something */
  // biome-ignore lint/suspicious/noConfusingVoidType: most have nothing to show
  readonly act: (lab: Lab) => Promise<string | void> | void;
}

export interface Scenario {
  readonly name: string;
  readonly what: string;
  readonly topology: Topology;
  /** Before the daemons start. */
  readonly prepare?: (lab: Lab) => void;
  readonly seconds: number;
  readonly steps: readonly Step[];
}

const SHAPE = { rateMbit: 50, delayMs: 10, emulated: true };

function sites(more: UplinkOptions = {}, options: TwoSitesOptions = {}): Topology {
  return twoSites({ uplinks: [SHAPE, SHAPE].map((shape) => ({ ...shape, ...more })), ...options });
}

const step = (atSeconds: number, what: string, act: Step['act']): Step => ({ atSeconds, what, act });

const dies = (atSeconds: number) => step(atSeconds, 'fiber drops everything, silently', (lab) => lab.blackhole('fiber', true));
const heals = (atSeconds: number) => step(atSeconds, 'fiber is well again', (lab) => lab.blackhole('fiber', false));

/** A middlebox from the start; then its uplink's neighbour dies, so that one sees what the flow still has. */
function behind(name: string, kind: Middlebox, uplink: 'fiber' | 'cable', what: string): Scenario {
  return {
    name,
    what,
    topology: sites({ routed: true }),
    prepare: (lab) => lab.middlebox(uplink, kind, true),
    seconds: 8,
    steps: [step(5, `${uplink} lets everything through again`, (lab) => lab.middlebox(uplink, kind, false))],
  };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'blackhole',
    what: 'an uplink drops everything silently, and comes back',
    topology: sites(),
    seconds: 11,
    steps: [dies(3), heals(7)],
  },
  {
    name: 'one-way',
    what: 'one direction of an uplink is dead, then the other',
    topology: sites(),
    seconds: 14,
    steps: [
      step(3, 'fiber drops what berlin sends', (lab) => lab.blackhole('fiber', true, 'forward')),
      heals(6),
      step(9, 'fiber drops what munich sends', (lab) => lab.blackhole('fiber', true, 'backward')),
      heals(12),
    ],
  },
  {
    name: 'carrier',
    what: 'the cable is pulled at one end, then at the other',
    topology: sites(),
    seconds: 14,
    steps: [
      step(3, 'fiber pulled in berlin', (lab) => lab.carrier('fiber', 'berlin', false)),
      step(6, 'plugged in', (lab) => lab.carrier('fiber', 'berlin', true)),
      step(9, 'fiber pulled in munich', (lab) => lab.carrier('fiber', 'munich', false)),
      step(12, 'plugged in', (lab) => lab.carrier('fiber', 'munich', true)),
    ],
  },
  {
    name: 'flap',
    what: 'an uplink dies for 0.4 s, five times',
    topology: sites(),
    seconds: 14,
    steps: [2, 3.2, 4.4, 5.6, 6.8].map((at) =>
      step(at, 'fiber dies for 0.4 s', async (lab) => {
        await lab.blackhole('fiber', true);
        await sleep(400);
        await lab.blackhole('fiber', false);
      }),
    ),
  },
  {
    name: 'loss',
    what: 'an uplink loses 30 % of the packets',
    topology: sites(),
    seconds: 12,
    steps: [
      step(3, 'fiber loses 30 %', (lab) => lab.set('fiber', { lossPercent: 30 })),
      step(8, 'fiber is well again', (lab) => lab.set('fiber', { lossPercent: 0 })),
    ],
  },
  {
    name: 'slow',
    what: 'an uplink takes 300 ms longer from one moment to the next',
    topology: sites(),
    seconds: 12,
    steps: [
      step(3, 'fiber: 300 ms more', (lab) => lab.set('fiber', { delayMs: 160 })),
      step(8, 'fiber is well again', (lab) => lab.set('fiber', { delayMs: 10 })),
    ],
  },
  {
    name: 'collapse',
    what: 'the rate of an uplink collapses to 1 Mbit/s',
    topology: sites(),
    seconds: 12,
    steps: [step(3, 'fiber: 1 Mbit/s', (lab) => lab.rate('fiber', 1)), step(8, 'fiber: 50 Mbit/s', (lab) => lab.rate('fiber', 50))],
  },
  {
    name: 'nat',
    what: 'both sites behind 1:1 NAT, and an uplink dies',
    topology: sites({ nat: '1:1' }),
    seconds: 11,
    steps: [dies(4), heals(7)],
  },
  {
    name: 'nat-ports',
    what: 'munich behind NAT that forwards port 18388, and an uplink dies',
    topology: sites({ nat: [undefined, 'ports'] }),
    seconds: 11,
    steps: [dies(4), heals(7)],
  },
  {
    name: 'cgnat',
    what: "both sites' cable behind CGNAT, and berlin's fiber is pulled: new flows both ways",
    topology: twoSites({ internet: true, ipv4Only: true, uplinks: [SHAPE, { ...SHAPE, nat: 'cgnat' }] }),
    seconds: 14,
    steps: [
      step(4, 'fiber pulled in berlin', (lab) => lab.carrier('fiber', 'berlin', false)),
      step(6, 'new flows from berlin', (lab) => newFlows(lab, 'berlin-pc', 'munich-pc')),
      step(8, 'new flows from munich', (lab) => newFlows(lab, 'munich-pc', 'berlin-pc')),
      step(11, 'plugged in', (lab) => lab.carrier('fiber', 'berlin', true)),
    ],
  },
  behind('strip', 'strip-syn', 'fiber', 'a middlebox on fiber takes the MPTCP option out of SYNs'),
  behind('strip-join', 'strip-join', 'cable', 'a middlebox on cable takes it out of joins only'),
  behind('drop-syn', 'drop-syn', 'fiber', 'a middlebox on fiber drops SYNs that carry it'),
  behind('mtu', 'mtu', 'cable', 'cable carries packets of 1,300 bytes, and says so'),
  behind('udp-block', 'udp-block', 'fiber', 'fiber drops UDP'),
  {
    name: 'no-udp',
    what: 'every uplink drops UDP from one moment on',
    topology: sites({ routed: true }),
    seconds: 14,
    steps: [
      step(3, 'fiber and cable drop UDP', (lab) => both(lab, (uplink) => lab.middlebox(uplink, 'udp-block', true))),
      step(6, 'ping, meanwhile', (lab) => pinged(lab)),
      step(9, 'and let it through again', (lab) => both(lab, (uplink) => lab.middlebox(uplink, 'udp-block', false))),
    ],
  },
  {
    name: 'shrink',
    what: 'the largest packet that fiber carries shrinks from 1,500 to 1,280 and to 576 bytes, and nobody says so',
    topology: sites({ routed: true }),
    seconds: 18,
    steps: [
      step(3, 'fiber: 1,280 bytes', (lab) => lab.middlebox('fiber', 'mtu-silent', true, 1280)),
      step(7, 'ping with 1,500 bytes, do not fragment', (lab) => pinged(lab, 1472)),
      step(8, 'fiber: 576 bytes', (lab) => lab.middlebox('fiber', 'mtu-silent', true, 576)),
      step(12, 'ping with 1,500 bytes, do not fragment', (lab) => pinged(lab, 1472)),
      step(13, 'fiber: 1,500 bytes', (lab) => lab.middlebox('fiber', 'mtu-silent', false)),
    ],
  },
];

function both(lab: Lab, act: (uplink: string) => void): void {
  for (const { name } of lab.topology.uplinks) act(name);
}

async function pinged(lab: Lab, unfragmentedBytes?: number): Promise<string> {
  const size = unfragmentedBytes === undefined ? {} : { sizeBytes: unfragmentedBytes, dontFragment: true };
  const { received, sent, averageMs, mtu } = await ping(lab, { waitSeconds: 1, ...size });
  const after = averageMs === undefined ? '' : ` after ${averageMs.toFixed(0)} ms`;
  return `${received} of ${sent} answered${after}${mtu === undefined ? '' : `; ${mtu} bytes pass, says the gateway`}`;
}

/** Five connections from one side, as people open them. */
async function newFlows(lab: Lab, from: string, to: string): Promise<string> {
  const { attempted, completed, p50Ms, failed } = await churn(lab, {
    from,
    to,
    port: 5210,
    connectionsPerSecond: 5,
    seconds: 1,
    closer: 'client',
    lateMs: 1500,
  });
  const why = Object.entries(failed).map(([reason, count]) => `${count} ${reason}`);
  return `${completed} of ${attempted} answered${completed > 0 ? ` after ${p50Ms.toFixed(0)} ms` : ''}${why.length > 0 ? ` (${why.join(', ')})` : ''}`;
}

/** @throws BraidError LAB with the names there are */
export function scenarioOf(name: string): Scenario {
  const found = SCENARIOS.find((one) => one.name === name);
  if (!found) throw new BraidError('USAGE', `there is no scenario ${name}`, { hint: '`braid lab run` lists them' });
  return found;
}
