/** A run as text for the terminal: what ran, a table a matter with medians and (worst), then a line for each budget. */
import { verdicts } from './budgets.ts';
import type { Point } from './memory.ts';
import { BACK, CONNECTIONS, CONNECTIONS_NO_JOINS, RATES_MBIT, type Results, STREAMS, shapedMeasure, summary, THERE } from './results.ts';

export const BUSY_CORES = 0.3;

export function report(results: Results): string {
  const { machine, rounds, seconds } = results;
  const busy = results.samples.filter(({ load }) => load.busyCores > BUSY_CORES).length;
  return [
    `${results.at}  ${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`,
    `median (worst) of ${rounds} interleaved rounds, ${seconds} s each`,
    ...(busy > 0 ? [`${busy} of ${results.samples.length} measurements began while others kept more than ${BUSY_CORES} cores busy`] : []),
    '',
    ...table(
      ['subject', 'what'],
      results.subjects.map(({ name, what }) => [name, what]),
    ),
    ...results.skipped.map(({ name, why }) => `${name} left out: ${why}`),
    ...matter(results, 'Unshaped, Gbit/s', [...STREAMS], 'gbit', 2),
    ...matter(results, 'CPU seconds a gigabyte, both gateways', [...STREAMS], 'cpuSecondsPerGb', 2),
    ...matter(
      results,
      'Shaped, Gbit/s',
      RATES_MBIT.flatMap((rate) => [shapedMeasure(rate, THERE), shapedMeasure(rate, BACK)]),
      'gbit',
      3,
    ),
    ...matter(results, 'New connections a second', [CONNECTIONS, CONNECTIONS_NO_JOINS], 'perSecond', 0),
    ...matter(results, 'CPU ms a connection, both gateways', [CONNECTIONS, CONNECTIONS_NO_JOINS], 'cpuMsEach', 3),
    ...results.memory.flatMap(({ subject, idle, flows, soak }) => [
      ...(idle
        ? [
            '',
            `${subject} idle: RSS ${idle.rssMb.map((mb) => mb.toFixed(1)).join(' and ')} MB, ${idle.cpuPercent.map((percent) => percent.toFixed(2)).join(' and ')} % of a core`,
          ]
        : []),
      ...(flows ? series(`${subject}, idle flows`, flows) : []),
      ...(soak ? series(`${subject}, connections opened and closed (${soak.errors} errors)`, soak.points) : []),
    ]),
    ...verdictLines(results),
    ...(results.failures.length > 0
      ? ['', ...results.failures.map(({ subject, round, what }) => `FAILED  ${subject}, round ${round}: ${what}`)]
      : []),
  ].join('\n');
}

function matter(results: Results, title: string, measures: readonly string[], figure: string, digits: number): string[] {
  const rows = results.subjects.map(({ name }) => [
    name,
    ...measures.map((measure) => {
      const found = summary(results, name, measure, figure);
      return found ? `${found.median.toFixed(digits)} (${found.worst.toFixed(digits)})` : '';
    }),
  ]);
  const filled = rows.filter((row) => row.slice(1).some((cell) => cell !== ''));
  return filled.length === 0 ? [] : ['', title, ...table(['subject', ...measures], filled)];
}

function series(title: string, points: readonly Point[]): string[] {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  return [
    '',
    title,
    ...table(
      ['count', 'near RSS MB', 'far RSS MB', 'near descriptors', 'far descriptors'],
      points.map(({ count, rssBytes, descriptors }) => [String(count), ...rssBytes.map(mb), ...descriptors.map(String)]),
    ),
  ];
}

/** Markdown that is aligned for people. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)];
}

/** What has figures as a table; the others counted by what is missing. */
function verdictLines(results: Results): string[] {
  const all = verdicts(results);
  const measured = all.filter(({ state }) => state !== 'not measured');
  const missing = Map.groupBy(
    all.filter(({ state }) => state === 'not measured'),
    ({ figure }) => figure,
  );
  return [
    '',
    ...(measured.length > 0
      ? [
          ...table(
            ['budget', 'verdict', 'figure'],
            measured.map(({ budget, state, figure }) => [budget, state, figure]),
          ),
        ]
      : []),
    ...[...missing].map(([why, list]) => `${list.length} budgets not measured: ${why}`),
  ];
}
