/** What the main thread says of paths, the site and keys at run time: addresses and peers come and go, codes are given out and used up. */
import { invitationsFrom, type KeyRing, peersFrom } from '../shadowsocks/key-ring.ts';
import type { PeerPaths, ToWorker } from './messages.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** Decided anew about all peers. */
export function takePaths(loop: WorkerLoop, peers: readonly PeerPaths[]): void {
  loop.subflows.usePaths(peers); // first: what is on a dead path waits
  loop.near.usePaths(peers);
}

/** `loop.site` is another. A revoked peer's flows end here; with its keys gone, none of them could go on. */
export function takeSite(loop: WorkerLoop): void {
  const { site } = loop;
  loop.subflows.useSite(site);
  loop.near.useSite(site);
  loop.pooled.useSite(site);
  for (const flow of [...loop.flows]) if (site.peers[flow.peer]?.revoked) loop.end(flow, 'the peer was revoked', 'reset');
}

/** The main thread's ring took the same keys before, so this one does, too. */
export function useKeys(ring: KeyRing, command: Extract<ToWorker, { readonly kind: 'keys' | 'invitations' }>): void {
  if (command.kind === 'invitations') return ring.invite(invitationsFrom(command.all));
  for (const index of command.removed) ring.remove(index);
  for (const peer of peersFrom(command.added)) ring.add(peer);
}
