/** The failover bench as text: one table of gaps an event, then the other figures a line each. */
import { table } from '../report.ts';
import { runText } from '../run.ts';
import { type FailoverResults, spread } from './figures.ts';

export function failoverReport(results: FailoverResults): string {
  const lines = [runText(results)];
  for (const part of ['blackhole', 'events'] as const) {
    const measured = results.stalls.filter((one) => one.part === part);
    // The budget is for a kind of flow, whichever way it goes.
    const both = measured.map((one) => ({ ...one, flow: one.flow.replace(/ .*/, ', either way') }));
    const stalls = part === 'blackhole' ? [...measured, ...both] : measured;
    if (stalls.length === 0) continue;
    const groups = Map.groupBy(stalls, (one) => [one.event, `${one.rttMs}`, one.flow, one.subject].join('|'));
    const rows = [...groups].map(([key, list]) => {
      const found = spread(list.map((one) => one.gapMs))!;
      const count = (of: (one: (typeof list)[number]) => boolean) => String(list.filter(of).length);
      const [event, rttMs, flow, subject] = key.split('|') as [string, string, string, string];
      return [
        event,
        rttMs,
        flow,
        subject,
        String(found.count),
        ...[found.p50, found.p99, found.max].map((ms) => ms.toFixed(0)),
        count((one) => one.open),
        count((one) => !one.intact),
        count((one) => one.wrong),
      ];
    });
    rows.sort((a, b) => Number(a[1]) - Number(b[1]) || order(stalls, a[0]!) - order(stalls, b[0]!) || a[2]!.localeCompare(b[2]!));
    lines.push(
      '',
      `Longest gap, ms (${part === 'blackhole' ? 'silent blackhole of either uplink' : 'every way an uplink dies'}; open: not over when watching ended)`,
      ...table(['event', 'RTT ms', 'flow', 'subject', 'n', 'p50', 'p99', 'max', 'open', 'not intact', 'wrong bytes'], rows),
    );
  }
  for (const [part, list] of Map.groupBy(results.findings, (one) => one.part)) {
    lines.push('', part);
    lines.push(
      ...table(
        ['subject', 'what', 'figures'],
        list.map(({ subject, what, figures }) => [
          subject,
          what,
          Object.entries(figures)
            .map(
              ([name, value]) =>
                `${name} ${Number.isInteger(value) || !Number.isFinite(value) ? value : value.toFixed(value < 10 ? 2 : 1)}`,
            )
            .join(', '),
        ]),
      ),
    );
  }
  for (const { subject, what } of results.failures) lines.push('', `FAILED  ${subject}: ${what}`);
  return lines.join('\n');
}

/** As the events were played. */
function order(stalls: readonly { readonly event: string }[], event: string): number {
  return stalls.findIndex((one) => one.event === event);
}
