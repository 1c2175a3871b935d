/**
 * Figures over time as text: a chart of a few rows with what happened marked below, and a line of signs where one row must do. Plain ASCII,
 * as everything that the command line says.
 */

/** A cell of the chart from nothing to full. */
const CELL = [' ', '.', ':', '#'];
/** The same where one row must do. */
const RAMP = [' ', '.', ':', '-', '=', '+', '*', '#'];
const CHART_ROWS = 8;
const LABEL_CHARS = 6;

interface Mark {
  readonly atSeconds: number;
  readonly text: string;
}

interface ChartOptions {
  readonly title: string;
  /** Of the whole width. */
  readonly seconds: number;
  /** Columns without the labels. */
  readonly width: number;
  readonly marks?: readonly Mark[];
  /** What the top of the chart stands for; absent: the highest value, rounded up. */
  readonly most?: number;
}

/** As many values as there are columns, each the mean of what falls into it. */
export function resampled(values: readonly number[], columns: number): number[] {
  return Array.from({ length: columns }, (_, i) => {
    const from = Math.floor((i * values.length) / columns);
    const part = values.slice(from, Math.max(from + 1, Math.floor(((i + 1) * values.length) / columns)));
    return part.length === 0 ? 0 : part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

export function sparkline(values: readonly number[], most: number = Math.max(...values)): string {
  return values.map((value) => RAMP[level(value, most, RAMP.length - 1)]!).join('');
}

/** Rows from the top down, an axis of seconds, and a line for each mark. */
export function chart(values: readonly number[], options: ChartOptions): string[] {
  const columns = resampled(values, options.width);
  const most = options.most ?? niceCeiling(Math.max(...columns));
  const steps = CELL.length - 1;
  const label = (text: string) => text.padStart(LABEL_CHARS);
  const rows = Array.from({ length: CHART_ROWS }, (_, i) => {
    const below = CHART_ROWS - 1 - i;
    const cells = columns.map((value) => CELL[Math.max(0, Math.min(steps, level(value, most, CHART_ROWS * steps) - steps * below))]!);
    return `${label(i === 0 ? String(most) : '')} |${cells.join('')}`.trimEnd();
  });
  const column = (atSeconds: number) => Math.min(options.width - 1, Math.floor((atSeconds / options.seconds) * options.width));
  return [
    `${label('')}  ${options.title}`,
    ...rows,
    `${label('0')} +${'-'.repeat(options.width)}`,
    `${label('')}  ${axis(options.seconds, options.width, column)}`,
    ...(options.marks ?? []).map(
      ({ atSeconds, text }) => `${label('')}  ${' '.repeat(column(atSeconds))}^ ${atSeconds.toFixed(1)} s  ${text}`,
    ),
  ];
}

/** Which of `levels` steps above nothing a value is. */
function level(value: number, most: number, levels: number): number {
  return most > 0 ? Math.max(0, Math.min(levels, Math.round((value / most) * levels))) : 0;
}

/** 1, 2 or 5 times a power of ten. */
function niceCeiling(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((one) => one >= value)!;
}

function axis(seconds: number, width: number, column: (atSeconds: number) => number): string {
  const step = [1, 2, 5, 10, 20, 60, 120, 300].find((one) => (one / seconds) * width >= 6) ?? 600;
  let text = '';
  for (let at = 0; at < seconds; at += step) text = text.padEnd(column(at)) + String(at);
  return `${text} s`;
}
