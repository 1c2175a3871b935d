import { fetchEvents, followEvents } from '../../api/client.ts';
import { BraidError } from '../../error.ts';
import type { EventRecord } from '../../status/types.ts';
import { oneSite } from '../one-site.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

export interface EventsFlags {
  readonly follow?: boolean;
  readonly json?: boolean;
  readonly kernel?: boolean;
  readonly since?: number;
  readonly runDir: string;
}

/** What happened, oldest first; then, with `--follow`, what happens. The kernel's events are kept by nobody, so they can only be followed. */
export default async function events(
  this: Cli,
  { follow = false, json = false, kernel = false, since = 0, runDir }: EventsFlags,
  site?: string,
): Promise<void> {
  const { stdout, stderr } = this.process;
  const one = oneSite(runDir, site);
  let lastId = since;
  const show = (event: EventRecord) => {
    if (since > 0 && event.id > lastId + 1) stderr.write(SAY.forgotten(event.id - lastId - 1));
    if (event.id > 0) lastId = event.id;
    stdout.write(json ? `${JSON.stringify({ schema: 1, ...event })}\n` : eventText(event));
  };
  if (!follow && !kernel) return (await fetchEvents(runDir, one, since)).forEach(show);
  await followEvents(runDir, one, { sinceId: since, kernel, onEvent: show });
  throw new BraidError('DAEMON_NOT_RUNNING', SAY.ended(one));
}

/** `2026-03-01T12:00:00.064Z path munich cable 10.1.0.2:8388: up -> down; no acknowledgement for 64 ms while fiber answered 3 ms ago` */
function eventText({ atUnixMs, kind, peer, uplink, peerAddress, from, to, text }: EventRecord): string {
  const time = new Date(atUnixMs).toISOString();
  if (kind === 'kernel') return `${time} kernel ${text}\n`;
  const subject = [kind, peer, uplink, peerAddress].filter((part) => part !== undefined).join(' ');
  const change = to === undefined ? '' : `${from === undefined ? to : from === to ? `still ${to}` : `${from} -> ${to}`}; `;
  return `${time} ${subject}: ${change}${text}\n`;
}
