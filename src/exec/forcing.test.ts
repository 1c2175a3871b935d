import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BraidError } from '../error.ts';
import { type ElfOptions, elfFile } from './elf.fixture.ts';
import { readElf } from './elf.ts';
import { findProgram, forcingOf, type Host } from './forcing.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-exec-test-'));
  writeFileSync(join(folder, 'wrap.so'), '');
});
afterEach(() => rmSync(folder, { recursive: true }));

const GLIBC = '/lib64/ld-linux-x86-64.so.2';
const host = (environment: Host['environment'] = {}, library = 'wrap.so'): Host => ({
  environment: { PATH: folder, ...environment },
  uid: 4711,
  libraries: new Map([[62, [join(folder, 'none.so'), join(folder, library)]]]),
});
const file = (name: string, content: string | Buffer, mode = 0o755) => {
  writeFileSync(join(folder, name), content);
  chmodSync(join(folder, name), mode);
  return join(folder, name);
};
const elf = (name: string, options: ElfOptions, mode?: number) => file(name, elfFile(options), mode);
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return `${(error as BraidError).code} ${(error as BraidError).message.replaceAll(folder, 'DIR')}`;
  }
  return 'none';
};

describe('a program is forced', () => {
  it('by the library where it is dynamic, in front of what is preloaded already', () => {
    const program = elf('curl', { interpreter: GLIBC });
    expect(forcingOf(program, host())).toEqual({ how: 'preload', environment: { LD_PRELOAD: join(folder, 'wrap.so') } });
    expect(forcingOf(program, host({ LD_PRELOAD: '/x.so' })).environment).toEqual({ LD_PRELOAD: `${join(folder, 'wrap.so')}:/x.so` });
  });

  it('by the environment where it is of Go, with and without its symbols, beside other settings', () => {
    for (const options of [
      { goVersion: 'go1.22.1' },
      { goVersion: 'go1.21' },
      { goNote: true },
      { goVersion: 'go1.26.8', interpreter: GLIBC },
    ])
      expect(forcingOf(elf('gost', options), host())).toEqual({ how: 'go', environment: { GODEBUG: 'multipathtcp=1' } });
    expect(forcingOf(join(folder, 'gost'), host({ GODEBUG: 'http2debug=1' })).environment).toEqual({
      GODEBUG: 'http2debug=1,multipathtcp=1',
    });
  });

  it.each(['#!DIR/python\n', '#! DIR/python -u\n', '#!/usr/bin/env python\n', '#!/usr/bin/env -S A=b python -u\n'])(
    'by its interpreter: %j',
    (line) => {
      elf('python', { interpreter: GLIBC });
      expect(forcingOf(file('script', line.replace('DIR', folder)), host()).how).toBe('preload');
    },
  );
});

describe('a program is refused, with the reason', () => {
  it.each<[string, ElfOptions | string, number, string]>([
    ['static', {}, 0o755, 'EXEC_FORCE DIR/it is static: nothing can be put in front of its sockets'],
    [
      'setuid',
      { interpreter: GLIBC },
      0o4755,
      'EXEC_FORCE DIR/it is setuid or setgid: the loader lets nobody put a library in front of it',
    ],
    [
      'old Go',
      { goVersion: 'go1.19.4' },
      0o755,
      'EXEC_FORCE DIR/it was built with go1.19.4: Go asks the kernel itself, and knows MPTCP since 1.21',
    ],
    ['musl', { interpreter: '/lib/ld-musl-x86_64.so.1' }, 0o755, 'EXEC_FORCE DIR/it is built for musl, and the library is for glibc'],
    [
      'another machine',
      { interpreter: GLIBC, machine: 40 },
      0o755,
      'EXEC_FORCE DIR/it is for another kind of machine (ELF machine 40) than the library',
    ],
    ['no program', 'echo hello\n', 0o755, 'EXEC_FORCE DIR/it is neither an ELF program nor a script with #!'],
  ])('%s', (_, content, mode, wanted) => {
    const program = typeof content === 'string' ? file('it', content, mode) : elf('it', content, mode);
    expect(refusal(() => forcingOf(program, host()))).toBe(wanted);
  });

  it('and says of a script which program it is', () => {
    elf('busybox', {});
    expect(refusal(() => forcingOf(file('script', `#!${folder}/busybox sh\n`), host()))).toBe(
      'EXEC_FORCE DIR/script runs in DIR/busybox, which is static: nothing can be put in front of its sockets',
    );
    expect(refusal(() => forcingOf(file('loop', `#!${folder}/loop\n`), host()))).toMatch(/is a script of a script, more than 4 deep/);
    expect(refusal(() => forcingOf(file('lost', '#!/usr/bin/env nowhere\n'), host()))).toBe('EXEC_PROGRAM there is no program nowhere');
  });

  it.each([
    ['gone', '/nowhere/python'],
    ['a folder', 'DIR'],
  ])('where the interpreter of a script is %s', (_, interpreter) => {
    const script = file('script', `#!${interpreter.replace('DIR', folder)}\n`);
    expect(refusal(() => forcingOf(script, host()))).toBe(`EXEC_PROGRAM DIR/script runs in ${interpreter}, and there is no such program`);
  });

  it('where it may be run and not read', ({ skip }) => {
    skip(process.getuid!() === 0, 'as root nothing is unreadable');
    expect(refusal(() => forcingOf(elf('secret', { interpreter: GLIBC }, 0o111), host()))).toBe(
      'EXEC_PROGRAM DIR/secret cannot be read, to see how it can be forced: EACCES',
    );
  });

  it('without the library', () => {
    expect(refusal(() => forcingOf(elf('curl', { interpreter: GLIBC }), host({}, 'gone.so')))).toMatch(
      /^EXEC_FORCE libmptcpwrap.so of mptcpize is not on this host \(looked for .*none.so, .*gone.so\)$/,
    );
  });
});

it('a program is found as a shell finds it', () => {
  mkdirSync(join(folder, 'a/tool'), { recursive: true });
  mkdirSync(join(folder, 'b'));
  file('b/tool', 'x', 0o644);
  const path = `${folder}/a:${folder}/b`;
  expect(refusal(() => findProgram('tool', { PATH: path }))).toBe('EXEC_PROGRAM DIR/b/tool is not executable');
  const runnable = file('tool', 'x');
  expect(findProgram('tool', { PATH: `${path}:${folder}` })).toBe(runnable);
  expect(refusal(() => findProgram('none', { PATH: path }))).toBe('EXEC_PROGRAM there is no program none');
  expect(refusal(() => findProgram('./none', {}))).toBe('EXEC_PROGRAM there is no program ./none');
});

it('whatever the bytes of a file, they are read without an error', () => {
  const good = elfFile({ interpreter: GLIBC, goVersion: 'go1.22', goNote: true });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }), fc.nat(good.length), (changes, length) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      readElf(file('fuzzed', bytes.subarray(0, length)));
    }),
    { numRuns: 300 },
  );
});
