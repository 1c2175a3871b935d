/** Which routing tables are ours, by number: two for all, one for each uplink, and one for what comes from inner addresses. */
import type { Site, Uplink } from '../site/types.ts';

/** For what comes from the uplink's addresses. */
export function tableOf(site: Pick<Site, 'network'>, { index }: Pick<Uplink, 'index'>): number {
  return site.network.tableBase + 2 + index;
}

/** Behind those of the uplinks: all that comes from an inner address goes into the lane. */
export function innerTable(site: Pick<Site, 'network' | 'uplinks'>): number {
  return tableOf(site, { index: site.uplinks.length });
}
