import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Braids, type Lab, monotonicMs } from '../../src/lab/index.ts';
import { changes, expectUnharmed, lastEventId, running, startTwin, untilBoth, untilCarries } from './support/failover.ts';

/** Every way in which an uplink can die, under flows of every kind: none of them stands still for long, and all of them get the uplink back. */
let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  ({ lab, braids } = await startTwin({ ipv4Only: false }));
});
afterAll(() => lab?.close());

interface Death {
  readonly what: string;
  readonly uplink: string;
  readonly dead: (isDead: boolean) => Promise<void> | void;
  /** What berlin's events say of it. */
  readonly reason: RegExp;
}

const DEATHS: readonly Death[] = [
  {
    what: 'fiber drops everything',
    uplink: 'fiber',
    dead: (on) => lab.blackhole('fiber', on),
    reason: /no heartbeat|no acknowledgement|does not hear|taken it down/,
  },
  {
    what: 'cable drops everything',
    uplink: 'cable',
    dead: (on) => lab.blackhole('cable', on),
    reason: /no heartbeat|no acknowledgement|does not hear|taken it down/,
  },
  { what: 'fiber drops what berlin sends', uplink: 'fiber', dead: (on) => lab.blackhole('fiber', on, 'forward'), reason: /./ },
  { what: 'cable drops what munich sends', uplink: 'cable', dead: (on) => lab.blackhole('cable', on, 'backward'), reason: /./ },
  {
    what: 'the cable of fiber is pulled in berlin',
    uplink: 'fiber',
    dead: (on) => lab.carrier('fiber', 'berlin', !on),
    reason: /carrier lost/,
  },
  { what: 'the cable of cable is pulled in munich', uplink: 'cable', dead: (on) => lab.carrier('cable', 'munich', !on), reason: /./ },
  {
    what: 'fiber loses its address in berlin',
    uplink: 'fiber',
    dead: (on) => (on ? lab.removeAddress('fiber', 'berlin') : lab.addAddress('fiber', 'berlin')),
    reason: /has lost 10\.0\.0\.1/,
  },
  { what: 'cable is taken down in munich', uplink: 'cable', dead: (on) => lab.link('cable', 'munich', !on), reason: /./ },
];

describe.each(DEATHS)('where $what', ({ uplink, dead, reason }) => {
  it('nothing stands still for long, every byte arrives, and the healed uplink carries what runs', async () => {
    const since = await lastEventId(braids, 'berlin');
    const flows = await running(lab);
    const atMs = monotonicMs();
    await dead(true);
    await untilBoth(braids, uplink, ({ state }) => state === 'down' || state === 'probing', 30_000);
    expect(await flows.untilFlowing(atMs, 1_000, 30_000)).toBe(true);
    await dead(false);
    await untilBoth(braids, uplink, ({ state }) => state === 'up', 60_000);
    await untilCarries(lab, uplink);
    await expectUnharmed(flows, atMs);
    const seen = await changes(braids, 'berlin', uplink, since);
    expect(seen.find((one) => / -> down: /.test(one))).toMatch(reason);
    // A busy machine may make it suspect once more, which is no verdict.
    expect(seen.findLast((one) => !/-> suspect: /.test(one))).toMatch(/-> up: /);
  });
});

describe('an uplink whose address changes', () => {
  it('is followed, and carries what runs', async () => {
    const flows = await running(lab);
    const atMs = monotonicMs();
    lab.address('fiber', 'berlin', '10.0.0.77/24');
    await braids.untilStatus('berlin', ({ uplinks }) => uplinks.find(({ name }) => name === 'fiber')!.address === '10.0.0.77');
    await untilBoth(braids, 'fiber', ({ state }) => state === 'up', 60_000);
    await untilCarries(lab, 'fiber');
    await expectUnharmed(flows, atMs);
  });
});
