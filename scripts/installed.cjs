// Exit code 0 where node_modules is what package-lock.json says. Runs on the machine's own Node, which may be as old as 18.
const { existsSync, readFileSync } = require('node:fs');

const packages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;

function matches() {
  const wanted = packages('package-lock.json');
  const there = packages('node_modules/.package-lock.json');
  const same = (name) =>
    there[name]?.version === wanted[name].version && there[name]?.integrity === wanted[name].integrity && existsSync(name);
  // Optional packages are those of other machines, except for the runtime.
  const needed = (name) => name !== '' && (!wanted[name].optional || name === `node_modules/node-linux-${process.arch}`);
  return Object.keys(wanted).filter(needed).every(same) && Object.keys(there).every((name) => name in wanted);
}

try {
  process.exitCode = matches() ? 0 : 1;
} catch {
  process.exitCode = 1; // nothing installed yet
}
