import { describe, expect, it } from 'vitest';
import { flowLine } from './flow-line.ts';
import { createLog, type Level, LIMIT_MS } from './log.ts';

function logAt(level: Level, journal = false) {
  const lines: string[] = [];
  const clock = { ms: Date.parse('2026-03-01T12:00:00.000Z') };
  return { lines, clock, log: createLog({ write: (line) => lines.push(line), level, journal, nowMs: () => clock.ms }) };
}

describe('the log', () => {
  it('starts a line with the time, and names every level but information', () => {
    const { log, lines } = logAt('debug');
    log.info('daemon', 'ready', { site: 'berlin', paths: 2 });
    log.warn('paths', 'fiber is down', { reason: 'no route to host' });
    log.debug('engine', 'flow', {});
    expect(lines).toEqual([
      '2026-03-01T12:00:00.000Z daemon: ready site=berlin paths=2\n',
      '2026-03-01T12:00:00.000Z warn paths: fiber is down reason="no route to host"\n',
      '2026-03-01T12:00:00.000Z debug engine: flow\n',
    ]);
  });

  it('starts a line with its priority where the journal listens', () => {
    const { log, lines } = logAt('debug', true);
    log.error('daemon', 'a');
    log.warn('daemon', 'b');
    log.info('daemon', 'c');
    log.debug('daemon', 'd');
    expect(lines).toEqual(['<3>daemon: a\n', '<4>daemon: b\n', '<6>daemon: c\n', '<7>daemon: d\n']);
  });

  it('drops what is below its level', () => {
    const { log, lines } = logAt('warn');
    log.debug('x', 'a');
    log.info('x', 'b');
    log.warn('x', 'c');
    expect(lines).toHaveLength(1);
  });

  it('keeps everything on one line, whatever somebody else said', () => {
    const { log, lines } = logAt('info');
    log.info('peer\n', 'said\r\n<3>kernel: panic', { why: 'a\nb', quoted: 'say "hi"', empty: '', equals: 'a=b', gone: undefined });
    expect(lines).toEqual([
      '2026-03-01T12:00:00.000Z peer : said <3>kernel: panic why="a\\nb" quoted="say \\"hi\\"" empty="" equals="a=b"\n',
    ]);
  });

  it('limits lines of one key, and says how many were left out', () => {
    const { log, lines, clock } = logAt('info');
    for (let i = 0; i < 5; i++) log.warn('engine', 'refused', { i }, { limit: 'refused 10.0.0.9' });
    log.warn('engine', 'refused', {}, { limit: 'refused 10.0.0.8' });
    clock.ms += LIMIT_MS;
    log.warn('engine', 'refused', {}, { limit: 'refused 10.0.0.9' });
    expect(lines.map((line) => line.slice(25))).toEqual([
      'warn engine: refused i=0\n',
      'warn engine: refused\n',
      'warn engine: refused suppressed=4\n',
    ]);
  });

  it('keeps no more than a bounded number of keys', () => {
    const { log, lines } = logAt('info');
    for (let i = 0; i < 3000; i++) log.warn('engine', 'refused', {}, { limit: `key ${i}` });
    log.warn('engine', 'again', {}, { limit: 'key 0' });
    log.warn('engine', 'again', {}, { limit: 'key 2999' });
    expect(lines).toHaveLength(3001);
  });

  it('has one line for a flow', () => {
    const { log, lines } = logAt('info');
    const flow = {
      side: 'near',
      peer: 'munich',
      client: '172.16.0.10:41234',
      destination: '172.16.1.20:443',
      durationMs: 12_345,
      txBytes: 1,
      rxBytes: 2,
      subflows: 2,
      end: 'reset by the client',
    } as const;
    const { component, text, fields } = flowLine(flow);
    log.info(component, text, fields);
    expect(lines).toEqual([
      '2026-03-01T12:00:00.000Z flow: 172.16.0.10:41234 -> 172.16.1.20:443 to=munich seconds=12.345 txBytes=1 rxBytes=2 subflows=2 end="reset by the client"\n',
    ]);
    expect(flowLine({ ...flow, side: 'far' }).fields).toMatchObject({ from: 'munich' });
  });
});
