/** A run as text for the terminal: what ran, a table a matter with medians and (worst), then a line for each budget. */
import { verdicts } from './budgets.ts';
import type { Load } from './load.ts';
import type { Point } from './memory.ts';
import {
  BACK,
  CONNECTIONS,
  CONNECTIONS_NO_JOINS,
  RATES_MBIT,
  type Results,
  type Rounds,
  STREAMS,
  shapedMeasure,
  summary,
  THERE,
} from './results.ts';
import { runText } from './run.ts';
import type { Verdict } from './verdict.ts';

const BUSY_CORES = 0.3;

export function report(results: Results): string {
  return [
    ...heading(results),
    ...medians(results, 'Unshaped, Gbit/s', [...STREAMS], 'gbit', 2),
    ...medians(results, 'CPU seconds a gigabyte, both gateways', [...STREAMS], 'cpuSecondsPerGb', 2),
    ...medians(
      results,
      'Shaped, Gbit/s',
      RATES_MBIT.flatMap((rate) => [shapedMeasure(rate, THERE), shapedMeasure(rate, BACK)]),
      'gbit',
      3,
    ),
    ...medians(results, 'New connections a second', [CONNECTIONS, CONNECTIONS_NO_JOINS], 'perSecond', 0),
    ...medians(results, 'CPU ms a connection, both gateways', [CONNECTIONS, CONNECTIONS_NO_JOINS], 'cpuMsEach', 3),
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
    ...failureLines(results),
  ].join('\n');
}

/** What ran, where, and among what. */
export function heading(results: Rounds): string[] {
  const { rounds, seconds, subjects, skipped, samples } = results;
  const busy = samples.filter(({ load }) => load.busyCores > BUSY_CORES).length;
  return [
    runText(results),
    `median (worst) of ${rounds} interleaved rounds, ${seconds} s each`,
    ...(busy > 0 ? [`${busy} of ${samples.length} measurements began while others kept more than ${BUSY_CORES} cores busy`] : []),
    '',
    ...table(
      ['subject', 'what'],
      subjects.map(({ name, what }) => [name, what]),
    ),
    ...skipped.map(({ name, why }) => `${name} left out: ${why}`),
  ];
}

/** Behind a line about one measurement. */
export function busyText({ busyCores }: Load): string {
  return busyCores > BUSY_CORES ? `   (${busyCores.toFixed(1)} cores were busy before)` : '';
}

export function failureLines({ failures }: Rounds): string[] {
  return failures.length === 0 ? [] : ['', ...failures.map(({ subject, round, what }) => `FAILED  ${subject}, round ${round}: ${what}`)];
}

/** A line a subject, a column a measure; nothing where nobody was measured. */
export function medians(results: Rounds, title: string, measures: readonly string[], figure: string, digits: number): string[] {
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

export function verdictTable(verdicts: readonly Verdict[]): string[] {
  return table(
    ['budget', 'verdict', 'figure'],
    verdicts.map(({ budget, state, figure }) => [budget, state, figure]),
  );
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
    ...(measured.length > 0 ? [...verdictTable(measured)] : []),
    ...[...missing].map(([why, list]) => `${list.length} budgets not measured: ${why}`),
  ];
}
