import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MemoryNamespaces } from './memory-namespaces.ts';
import { allStates, type LabState, leftText, remove, strays, writeState } from './state.ts';
import { twoSites } from './topology.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-labs-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const lab = (run: string, ...nodes: string[]): LabState => ({
  schema: 1,
  run,
  owner: { pid: 0, startTicks: 1 },
  namespaces: nodes.map((node) => `brd-${run}-${node}`),
  processes: [],
  topology: twoSites(),
  withBraid: false,
});

it('a lab whose namespaces will not go is listed until they do', () => {
  const state = lab('try', 'berlin', 'munich');
  writeState(folder, state);
  const host = new MemoryNamespaces(state.namespaces, new Map([['brd-try-munich', 8]]));
  const left = remove(folder, state, host);
  expect(leftText('try', left)).toBe('lab try: could not be removed: brd-try-munich (busy)');
  expect(allStates(folder)).toEqual([{ ...state, namespaces: ['brd-try-munich'] }]);
  expect(remove(folder, allStates(folder)[0]!, host)).toEqual([]);
  expect(allStates(folder)).toEqual([]);
  expect([...host.names]).toEqual([]);
});

it('nothing is removed but what is called as the lab', () => {
  const state = { ...lab('try', 'berlin'), namespaces: ['brd-try-berlin', 'brd-other-berlin', 'customer'] };
  const host = new MemoryNamespaces(state.namespaces);
  expect(remove(folder, state, host)).toEqual([]);
  expect([...host.names]).toEqual(['brd-other-berlin', 'customer']);
});

it('namespaces that no lab lists are found by what seems to be their run', () => {
  writeState(folder, lab('try', 'berlin'));
  writeState(folder, lab('e2e-play', 'berlin'));
  const names = [
    'brd-try-berlin',
    'brd-e2e-play-berlin',
    'brd-e2e-other-berlin',
    'brd-54f4ff-berlin',
    'brd-54f4ff-berlin-pc',
    'brd-',
    'customer',
  ];
  expect([...strays(folder, names)]).toEqual([
    ['e2e', ['brd-e2e-other-berlin']],
    ['54f4ff', ['brd-54f4ff-berlin', 'brd-54f4ff-berlin-pc']],
  ]);
  expect([...strays(join(folder, 'none'), [])]).toEqual([]);
});

it('a lab that cannot be noted down is not begun', () => {
  writeFileSync(join(folder, 'file'), '');
  expect(() => writeState(join(folder, 'file'), lab('try', 'berlin'))).toThrow(
    expect.objectContaining({ code: 'LAB', message: `${join(folder, 'file', 'try')}: cannot be written: ENOTDIR` }),
  );
});
