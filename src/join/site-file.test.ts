import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BraidError } from '../error.ts';
import { besideOthers, fileToInit, fileToJoin } from './site-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-sites-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const there = (...names: string[]) => {
  for (const name of names) writeFileSync(join(folder, name), '');
};
const ofHost = () => 'gw1';
const joins = (given: { config?: string; site?: string } = {}, host = ofHost) => fileToJoin(given, host, folder).replace(`${folder}/`, '');
const inits = (given: { config?: string; site?: string } = {}) => fileToInit(given, given.site ?? 'gw1', folder).replace(`${folder}/`, '');
const refusal = (act: () => unknown) => {
  try {
    return act();
  } catch (error) {
    const { code, message, hint } = error as BraidError;
    return [code, message.replaceAll(folder, 'DIR'), hint];
  }
};

describe('which site a host joins as', () => {
  it('is called as the host where there is none', () => {
    expect(joins()).toBe('gw1.toml');
    expect(fileToJoin({}, ofHost, join(folder, 'none'))).toBe(join(folder, 'none', 'gw1.toml'));
    there('.foo.toml.1234', '.bar.toml', 'foo.key', 'foo.invitations.json');
    expect(joins()).toBe('gw1.toml');
  });

  it('is the one that is there, whatever the host is called', () => {
    there('foo.toml');
    expect(
      joins({}, () => {
        throw new BraidError('JOIN_HOST', 'this host is called "localhost"');
      }),
    ).toBe('foo.toml');
  });

  it('must be said where there are several', () => {
    there('foo.toml', 'gw1.toml');
    expect(refusal(joins)).toEqual(['USAGE', 'which site joins? DIR has foo.toml, gw1.toml', '--site NAME, or --config FILE']);
    expect([joins({ site: 'foo' }), joins({ site: 'new' }), joins({ config: '/tmp/x.toml', site: 'foo' })]).toEqual([
      'foo.toml',
      'new.toml',
      '/tmp/x.toml',
    ]);
  });
});

describe('which site a host becomes', () => {
  it('is no second one unless somebody says so', () => {
    expect(inits()).toBe('gw1.toml');
    there('foo.toml');
    expect(refusal(inits)).toEqual([
      'CONFIG_WRITE',
      'this host is a site already: DIR/foo.toml',
      'for one more peer: `braid peer add`; --site gw1 makes one more site beside it',
    ]);
    there('gw1.toml');
    expect(inits()).toBe('gw1.toml');
    expect([inits({ site: 'new' }), inits({ config: '/tmp/x.toml' })]).toEqual(['new.toml', '/tmp/x.toml']);
  });

  it('is told what two sites of one host must not share', () => {
    expect(besideOthers(join(folder, 'foo.toml'), folder)).toEqual([]);
    there('foo.toml');
    expect(besideOthers(join(folder, 'foo.toml'), folder)).toEqual([]);
    expect(besideOthers('/tmp/new.toml', folder)).toEqual([]);
    expect(besideOthers(join(folder, 'new.toml'), folder)).toEqual([expect.stringContaining('foo.toml is there too')]);
  });
});
