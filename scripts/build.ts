/**
 * Bundles the program into dist/: `braid.js`, and a file for each thread and child process that is started by its URL.
 *
 * Everything lies flat in dist/, so `new URL('./engine/worker.ts', import.meta.url)` of any source file can become `./engine-worker.js`,
 * whichever chunk the code ends up in. A verb's code is loaded when it is called. koffi stays outside: it finds its binary beside itself.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'src');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };

/** A path that names a program to start, or a file beside the sources; may have a `${name}` in it. */
const OWN_URL = /new URL\((['`])(\.[^'`]+)\1, import\.meta\.url\)/g;

/** `src/engine/worker.ts` is `engine-worker` in dist. */
function flatName(file: string): string {
  return relative(source, file).replace(/\.ts$/, '').replaceAll('/', '-');
}

function urlInDist(file: string, path: string): string {
  const target = resolve(dirname(file), path);
  return target.startsWith(source) && target.endsWith('.ts') ? `./${flatName(target)}.js` : relative(join(root, 'dist'), target);
}

const ownUrls: Plugin = {
  name: 'own-urls',
  setup(bundler) {
    bundler.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path: file }) => ({
      contents: readFileSync(file, 'utf8').replace(
        OWN_URL,
        (_, quote, path) => `new URL(${quote}${urlInDist(file, path)}${quote}, import.meta.url)`,
      ),
      loader: 'ts',
    }));
  },
};

/** Every program that some source file starts by its URL. */
function startedPrograms(): string[] {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  );
  const found = files.flatMap((name) => {
    const file = join(source, name);
    const paths = [...readFileSync(file, 'utf8').matchAll(OWN_URL)].map((match) => resolve(dirname(file), match[2]!));
    return paths.filter((path) => path.startsWith(source)).flatMap((path) => (path.includes('${') ? programsLike(path, files) : [path]));
  });
  return [...new Set(found)];
}

/** The files that `dir/${name}.ts` can mean. */
function programsLike(path: string, files: readonly string[]): string[] {
  const [before = '', after = ''] = path.split(/\$\{[^}]*\}/);
  return files
    .map((name) => join(source, name))
    .filter((file) => file.startsWith(before) && file.endsWith(after) && !file.slice(before.length).includes('/'));
}

const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: { braid: 'src/main.ts', ...Object.fromEntries(startedPrograms().map((file) => [flatName(file), file])) },
  outdir: 'dist',
  chunkNames: 'chunk-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  external: ['koffi'],
  plugins: [ownUrls],
  sourcemap: 'linked',
  legalComments: 'linked',
  define: { BRAID_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
  write: false,
});
// What was there stays until there is something better.
rmSync(join(root, 'dist'), { recursive: true, force: true });
mkdirSync(join(root, 'dist'));
for (const file of outputFiles) writeFileSync(file.path, file.contents);
process.stderr.write(`built dist/ of braid ${version}\n`);
