/** Figures over time as text: a chart of a few rows with what happened marked below, and a line of blocks where a row must do. */

const BLOCKS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const CHART_ROWS = 6;
const LABEL_CHARS = 6;

export interface Mark {
  readonly atSeconds: number;
  readonly text: string;
}

export interface ChartOptions {
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
  return values.map((value) => BLOCKS[eighths(value, most, 1)]!).join('');
}

/** Rows from the top down, an axis of seconds, and a line for each mark. */
export function chart(values: readonly number[], options: ChartOptions): string[] {
  const columns = resampled(values, options.width);
  const most = options.most ?? niceCeiling(Math.max(...columns));
  const label = (text: string) => text.padStart(LABEL_CHARS);
  const rows = Array.from({ length: CHART_ROWS }, (_, i) => {
    const below = CHART_ROWS - 1 - i;
    const cells = columns.map((value) => BLOCKS[Math.max(0, Math.min(8, eighths(value, most, CHART_ROWS) - 8 * below))]!);
    return `${label(i === 0 ? String(most) : '')} │${cells.join('')}`.trimEnd();
  });
  const column = (atSeconds: number) => Math.min(options.width - 1, Math.floor((atSeconds / options.seconds) * options.width));
  return [
    `${label('')}  ${options.title}`,
    ...rows,
    `${label('0')} └${'─'.repeat(options.width)}`,
    `${label('')}  ${axis(options.seconds, options.width, column)}`,
    ...(options.marks ?? []).map(
      ({ atSeconds, text }) => `${label('')}  ${' '.repeat(column(atSeconds))}▲ ${atSeconds.toFixed(1)} s  ${text}`,
    ),
  ];
}

function eighths(value: number, most: number, rows: number): number {
  return most > 0 ? Math.max(0, Math.min(8 * rows, Math.round((value / most) * 8 * rows))) : 0;
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
