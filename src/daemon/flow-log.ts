/** One line at the end of each flow, as the workers tell it. */
import type { FlowRecord } from '../engine/messages.ts';
import { flowLine } from '../observe/flow-line.ts';
import type { Log } from '../observe/log.ts';
import type { Site } from '../site/types.ts';
import { addressFromBytes, endpointText } from '../wire/ip.ts';

export function logFlow(log: Log, site: Site, record: FlowRecord): void {
  const { peer, client, target } = record;
  const line = flowLine({
    ...record,
    peer: site.peers[peer]!.site,
    client: endpointText(addressFromBytes(client.bytes), client.port),
    destination: endpointText(addressFromBytes(target.bytes), target.port),
  });
  log.info(line.component, line.text, line.fields);
}
