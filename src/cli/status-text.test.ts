import { describe, expect, it } from 'vitest';
import type { PathStatus, StatusSnapshot } from '../status/types.ts';
import { SNAPSHOT } from './example.ts';
import { statusText } from './status-text.ts';

const NO_PACKETS = { mtu: null, txPackets: 0, rxPackets: 0, txBytes: 0, rxBytes: 0, duplicates: 0, reordered: 0 } as const;
const NOW = 1_800_000_000_000;
const [munich] = SNAPSHOT.peers;
const [good] = munich!.paths;

function withPath(more: Partial<PathStatus>): string {
  return statusText({ ...SNAPSHOT, peers: [{ ...munich!, paths: [{ ...good!, ...more }] }], faults: {} }, NOW);
}

describe('a status for people', () => {
  it('says of a peer that takes no calls of ours what it is, since when, and does not call it up', () => {
    const refused = (more: object, sinceUnixMs = NOW - 60_000) =>
      statusText(
        {
          ...SNAPSHOT,
          peers: [{ ...munich!, paths: [], refusal: { reason: 'probably refuses our key', sinceUnixMs }, ...more }],
          faults: {},
        },
        NOW,
      );
    const down = { state: 'down', reason: 'probably refuses our key', control: 'connecting' };
    expect(refused(down)).toContain(`peer: munich                          down; probably refuses our key (since 07:59:00Z), 37 flows\n`);
    expect(refused(down, NOW - 86_400_000)).toContain('(since 2027-01-14T08:00:00Z)');
    expect(refused({})).toMatch(/up, 37 flows\n(.*\n)* {2}calls: probably refuses our key \(since 07:59:00Z\)\n/);
  });

  it('counts nothing where the kernel spreads', () => {
    const text = statusText({ ...SNAPSHOT, peers: [{ ...munich!, transport: 'ecmp', paths: [good!] }], faults: {} }, NOW);
    expect(text).toContain('UPLINK  PEER ADDRESS   STATE  CARRIES    RTT   LOSS\n');
    expect(text).not.toMatch(/SUBFLOWS|RECEIVED/);
  });

  it('shows everything that is remarkable within 100 columns', () => {
    const paths: PathStatus[] = [
      { ...good!, sinceUnixMs: NOW - 5000 },
      {
        ...good!,
        ...{ uplink: 'cable', peerAddress: '203.0.113.200:65535', state: 'suspect', carries: false, avoided: true },
        reason: '31 % of 200 heartbeats were lost while fiber lost none of its own in the same time, and more words than fit',
        ...{ lossPercent: 31.2, rttMs: 1312, flaps: 3, holdDownMs: 4000, sinceUnixMs: NOW - 306_000 },
        ...{ udp: 'blocked', mptcp: 'joins-stripped', mtu: 1400 },
      },
      { ...good!, uplink: 'lte', state: 'disabled', carries: false, subflows: 0, rttMs: null, lossPercent: null },
    ];
    const status: StatusSnapshot = {
      ...SNAPSHOT,
      uplinks: [
        { ...SNAPSHOT.uplinks[0]!, publicAddress: '203.0.113.7' },
        { ...SNAPSHOT.uplinks[1]!, role: 'backup', override: 'drain', metered: true, bytesToday: { tx: 1024, rx: 1_200_000 } },
      ],
      peers: [
        { ...munich!, control: 'connecting', clockSkewMs: 40_123, warmConnections: 4, reverseConnections: 2, plainFlows: 1, paths },
        {
          ...munich!,
          packets: { state: 'up', mtu: 1400, txPackets: 71, rxPackets: 12, txBytes: 1, rxBytes: 2, duplicates: 3, reordered: 0 },
          paths: [{ ...good!, packets: { lane: 'stream', txPackets: 1, rxPackets: 1, txBytes: 1, rxBytes: 1 } }],
        },
        {
          ...munich!,
          packets: { ...NO_PACKETS, state: 'down', reason: 'no path carries packets' },
          waitingFlows: 7,
          clockSkewMs: -1001,
          paths: [],
        },
      ],
      faults: {},
    };
    const text = statusText(status, NOW);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(text).toMatchInlineSnapshot(`
      "site: berlin                          up 3d 4h, 111 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   ROLE    STATE
        fiber   eth2    10.0.0.1  active  up
                public 203.0.113.7
        cable   eth3    -         backup  down; eth3 has no address
                override: drain; metered; today 1.14 MiB received, 1.00 KiB sent

      peer: munich                          up, 37 flows
        transfer: 41.2 GiB received, 8.73 GiB sent
        connections: 1 plain TCP, 4 warm, 2 reverse
        control: connecting
        clock: 40.1 s ahead of ours
        UPLINK  PEER ADDRESS         STATE     CARRIES  SUBFLOWS      RTT    LOSS  RECEIVED      SENT
        fiber   10.0.0.2:8388        up        yes            37    11 ms   0.0 %  41.2 GiB  8.73 GiB
        cable   203.0.113.200:65535  suspect   no             37  1312 ms  31.2 %  41.2 GiB  8.73 GiB
                suspect for 5m 6s; 31 % of 200 heartbeats were lost while fiber lost none of its own in
                the same time, and more words than fit; avoided; mtu 1400; UDP blocked; MPTCP stripped
                from joins; 3 flaps; held down 4.0 s more
        lte     10.0.0.2:8388        disabled  no              0        -       -  41.2 GiB  8.73 GiB

      peer: munich                          up, 37 flows
        transfer: 41.2 GiB received, 8.73 GiB sent
        packets: 12 received, 71 sent, mtu 1400, 3 duplicates
        UPLINK  PEER ADDRESS   STATE  CARRIES  SUBFLOWS    RTT   LOSS  RECEIVED      SENT
        fiber   10.0.0.2:8388  up     yes            37  11 ms  0.0 %  41.2 GiB  8.73 GiB
                packets over a stream

      peer: munich                          up, 37 flows, 7 waiting
        transfer: 41.2 GiB received, 8.73 GiB sent
        packets: down; no path carries packets
        clock: 1.0 s behind ours
      "
    `);
  });

  it('says nothing of what nobody knows, and of what is as it should be', () => {
    const plain = withPath({});
    expect(withPath({ mtu: 1500, flaps: null, holdDownMs: null, udp: 'unknown', mptcp: 'unknown', sinceUnixMs: NOW - 9000 })).toBe(plain);
    const quiet = { ...SNAPSHOT, peers: [{ ...munich!, clockSkewMs: 1000, plainFlows: null, waitingFlows: null }], faults: {} };
    expect(statusText(quiet, NOW)).not.toMatch(/clock|plain|waiting|control|warm/);
  });

  it.each([
    ['stripped', 'MPTCP stripped'],
    ['syn-dropped', 'SYNs with MPTCP dropped'],
  ] as const)('names a middlebox: %s', (mptcp, words) => {
    expect(withPath({ mptcp })).toContain(words);
  });
});
