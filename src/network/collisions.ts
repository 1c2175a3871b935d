/** Whether somebody else already has what a plan claims. Asked before the first change, so that a refusal leaves nothing behind. */
import { BraidError } from '../error.ts';
import type { HostState } from './host-state.ts';
import { hex } from './nft-table.ts';
import { MAIN_TABLE, type Plan } from './steps.ts';

/**
 * @param nftTableThere whether a table of the plan's name exists.
 * @param ours keys of the steps that are known to be this site's own.
 * @returns the first collision.
 */
export function findCollision(plan: Plan, state: HostState, nftTableThere: boolean, ours: ReadonlySet<string>): BraidError | undefined {
  if (nftTableThere && !ours.has(`nft ${plan.table}`))
    return taken(
      `nft table inet ${plan.table} exists and no undo journal knows it`,
      `nft list table inet ${plan.table}; another daemon of this site?`,
    );
  const { mark, mask, tables, preferences, nexthops, device, destinations = [] } = plan.claims;
  const held = state.devices.find(({ name }) => name === device);
  if (held && !ours.has(`link ${held.name}`))
    return new BraidError(
      'HOST_DEVICE',
      `device ${held.name} expected to be free for the packet lane, got one of kind ${held.kind ?? 'hardware'}`,
      {
        hint: `ip -d link show ${held.name}; another daemon of this site?`,
      },
    );
  for (const rule of state.rules.filter((one) => !ours.has(one.text))) {
    const common = rule.mark ? rule.mark.mask & mask : 0;
    if (rule.mark && common !== 0 && ((rule.mark.value ^ mark) & common) === 0)
      return new BraidError('HOST_MARK_TAKEN', `mark ${hex(mark)}/${hex(mask)} expected to be free, got: ip ${rule.text}`, {
        hint: 'set [network] mark and mask to bits nobody uses',
      });
    if (tables.includes(rule.table)) return taken(`routing table ${rule.table} expected to be free, got: ip ${rule.text}`, FREE_TABLES);
    if (preferences.includes(rule.preference))
      return taken(
        `rule preference ${rule.preference} expected to be free, got: ip ${rule.text}`,
        'set [network] rule_preference to a free range',
      );
  }
  const nexthop = nexthops && state.nexthops.find(({ id }) => id >= nexthops.first && id <= nexthops.last && !ours.has(`nexthop ${id}`));
  if (nexthop)
    return taken(`nexthop ids ${nexthops.first} to ${nexthops.last} expected to be free, got: ip ${nexthop.text}`, FREE_NEXTHOPS);
  const inOurPlace = state.routes.find(
    (one) =>
      one.table === MAIN_TABLE &&
      one.metric === undefined &&
      one.device !== device &&
      !ours.has(one.text) &&
      destinations.some(({ family, destination }) => family === one.family && destination === one.destination),
  );
  if (inOurPlace)
    return taken(
      `a place in the main routing table expected to be free for a peer's prefix, got: ip ${inOurPlace.text}`,
      'remove this route, give it a metric, or set `packets = "off"` for the peer where it needs TCP only',
    );
  const route = state.routes.find((one) => tables.includes(one.table) && !ours.has(one.text));
  return route && taken(`routing table ${route.table} expected to be empty, got: ip ${route.text}`, FREE_TABLES);
}

const FREE_NEXTHOPS = 'set [network] nexthop_base to a free range';
const FREE_TABLES = 'set [network] table_base to a free range';

function taken(message: string, hint: string): BraidError {
  return new BraidError('HOST_TABLE_TAKEN', message, { hint });
}
