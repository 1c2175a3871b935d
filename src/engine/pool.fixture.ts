/** Two gateways in memory with connections that stand ready between them. */
import { endpointKey } from '../kernel/memory-network.ts';
import type { Flow } from './flow.ts';
import { at, Pair, type PairOptions, type Talker } from './pair.fixture.ts';

export const UPLINKS = [at('10.0.0.2', 8388), at('10.1.0.2', 8388)].map(endpointKey);

/** Two gateways, the near one with connections that stand ready. */
export function warmed(warm = 2, options: PairOptions = {}): Pair {
  const pair = new Pair(options);
  pair.near.keepReady({ warm });
  pair.pass(400);
  if (pair.near.counters.pool(0).warm !== warm)
    throw new Error(`${warm} connections expected to stand ready, got ${pair.near.counters.pool(0).warm}`);
  pair.listen();
  return pair;
}

/** The far gateway can be reached by no dial; it keeps connections open for the near one's flows. */
export function reversed(reverse = 2): Pair {
  const pair = new Pair({ farHasNoAddress: true });
  pair.far.keepReady({ reverse });
  pair.pass(300);
  const stand = [pair.near.counters.pool(0).reverse, pair.far.counters.pool(0).offered];
  if (stand.some((count) => count !== reverse)) throw new Error(`${reverse} connections expected to be open, got ${stand}`);
  pair.listen();
  return pair;
}

/** No dial to the far gateway is answered from here on. */
export function closeTheRoad(pair: Pair): void {
  for (const uplink of UPLINKS) pair.network.silent.add(uplink);
}

export const inPhase = (flows: Iterable<Flow>, phase: string) => [...flows].filter((flow) => flow.phase === phase);

export function said(talker: Talker): string {
  talker.read();
  return talker.received.toString();
}
