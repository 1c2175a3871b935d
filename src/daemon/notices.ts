/** What the workers notice, in words an administrator can act on. Each is limited by its key: the network can cause them at will. */
import type { Notice } from '../engine/messages.ts';
import { errnoName } from '../kernel/errno.ts';
import type { Log } from '../observe/log.ts';
import type { Site } from '../site/types.ts';
import { addressFromBytes, endpointText, sameAddress } from '../wire/ip.ts';

export function logNotice(log: Log, site: Site, notice: Notice): void {
  switch (notice.what) {
    case 'refused': {
      const from = addressFromBytes(notice.from.bytes);
      const isAt = ({ addresses }: Site['peers'][number]) => addresses.some(({ address }) => sameAddress(address.bytes, from.bytes));
      const peer = notice.peer === undefined ? site.peers.find(isAt) : site.peers[notice.peer];
      // Strangers knock on every port of the internet: they are counted, not logged.
      if (!peer) return;
      const hint = HINTS[notice.fault] ?? 'see docs/operations.md#faults';
      log.warn(
        'flows',
        `a call from ${peer.site} (${from.text}) is refused`,
        { fault: notice.fault, hint },
        { limit: `refused ${peer.site}` },
      );
      return;
    }
    case 'refused-target': {
      const { site: name } = site.peers[notice.peer]!;
      const hint = TARGET_HINTS[notice.fault] ?? 'see docs/operations.md#faults';
      const limit = { limit: `refused-target ${name} ${notice.fault}` };
      log.warn('flows', `${name} asked for ${notice.target} and is refused`, { fault: notice.fault, hint }, limit);
      return;
    }
    case 'unanswered': {
      const { site: name } = site.peers[notice.peer]!;
      const hint = 'its log and `braid status` there say why: keys that differ, clocks more than 30 s apart';
      log.warn('flows', `${name} heard a request out and never answered`, { hint }, { limit: `unanswered ${name}` });
      return;
    }
    case 'cannot-listen':
      log.error('daemon', `${notice.where} cannot be had`, { error: errnoName(notice.error), hint: 'ss -tlnp shows who listens there' });
      return;
    case 'connect-timeout': {
      const target = endpointText(addressFromBytes(notice.target.bytes), notice.target.port);
      const client = addressFromBytes(notice.client.bytes).text;
      const { site: name } = site.peers[notice.peer]!;
      const isForeign = site.peers[notice.peer]!.kind === 'shadowsocks';
      const hint = isForeign
        ? 'it is down, or has no way back to our LAN address'
        : `it is down, or its way back to ${client} does not lead through this gateway: add a route there, or set snat = true for ${name}`;
      log.warn('flows', `${target} did not answer ${client}`, { peer: name, hint }, { limit: `connect-timeout ${target}` });
      return;
    }
  }
}

const TARGET_HINTS: Readonly<Record<string, string>> = {
  'mux-refused': 'switch multiplex off in its outbound: one MPTCP connection a flow is what the uplinks are joined by',
  'uot-refused': 'set packets = "uot" for it, or take udp_over_tcp out of its outbound',
  'unknown-target': 'a name is refused unless [names] says what address of our lan it stands for',
  'target-outside-lan': 'a gateway dials into its own lan only: check the route rules there',
};

const HINTS: Readonly<Record<string, string>> = {
  'bad-tag': 'its send_key here and our receive_key for it differ, or it is not the peer who calls',
  'unknown-user': 'its send_key names no peer of ours: check the user key behind the colon and our receive_key',
  timestamp: 'the two clocks differ by more than 30 s',
  'before-start': 'it was stamped before this daemon started: its clock is behind, or this is a recording',
  replayed: 'the same request came twice: a recording, or somebody duplicates packets with their payload',
};
