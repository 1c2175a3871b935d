import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runInTerminal, writeFiles } from './example.ts';
import type { Rooms } from './rooms.ts';

let folder = '';
beforeAll(() => {
  folder = writeFiles();
});
afterAll(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[], from?: Rooms) => runInTerminal(folder, argv, from);

describe('a wrong command line', () => {
  it.each([
    [['sttaus']],
    [['status', '--jsn']],
    [['run']],
    [['run', '-c']],
    [['genkey', '--method', 'rot13']],
    [['status', 'a', 'b']],
    [['lab', 'exec', 'x']],
    [['nonsense', '--help']],
    [['events', '--since', '-1']],
    [['events', '--since', 'yesterday']],
    [['uplink', 'set', 'cable']],
    [['uplink', 'set', 'cable', '--role', 'spare']],
    [['uplink', 'drain']],
  ])('%j', async (argv) => {
    expect(await braid(argv)).toMatchSnapshot();
  });
});

describe('help', () => {
  it.each([
    [['--help']],
    [['help']],
    [['run', '--help']],
    [['help', 'status']],
    [['lab', '--help']],
    [['uplink', '--help']],
    [['import', 'sing-box', '--help']],
    [['export', 'sing-box', '--help']],
    [['exec', '--help']],
    [['up', '--help']],
    [['uplink', 'set', '--help']],
    [['events', '--help']],
  ])('%j', async (argv) => {
    expect(await braid(argv)).toMatchSnapshot();
  });
});
