/** What a peer is told of our side: prefixes, and of each path what it cannot see from there. Paths that were learnt from it are its own. */
import type { PathTables } from '../control/messages.ts';
import type { Site, Uplink } from '../site/types.ts';

/**
 * @param roleNow of an uplink that an administrator gave another one at run time.
 * @param laneStands whether this host's network has the packet lane, and takes subflows inside it.
 */
export function pathTables(
  site: Site,
  peer: number,
  roleNow: (uplink: string) => Uplink['role'] | undefined,
  laneStands: boolean,
): PathTables {
  const { paths, packets } = site.peers[peer]!;
  return {
    lan: site.lan.map(({ text }) => text),
    paths: paths
      .filter(({ learned }) => !learned)
      .map(({ index, uplink }) => ({
        index,
        uplink: uplink.name,
        role: roleNow(uplink.name) ?? uplink.role,
        metered: uplink.metered,
        ...(uplink.publicAddress && { publicAddress: uplink.publicAddress.text }),
        ...(uplink.inner && packets !== 'off' && laneStands && { inner: { address: uplink.inner.text, port: site.listenPort } }),
      })),
    observed: [],
  };
}
