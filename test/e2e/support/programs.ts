/**
 * Programs and flows beside a test: small servers and clients on LAN hosts, run by Node, and traffic that goes on while the test looks at
 * something else. A test that fails in the middle must not drag the next one along, so whatever is started here has ended, and been waited
 * for, before the next test begins.
 */
import { onTestFinished } from 'vitest';
import type { Lab, LabProcess } from '../../../src/lab/index.ts';

/** Starts a program that ends with the test at the latest. */
export function start(lab: Lab, node: string, argv: readonly string[]): LabProcess {
  const program = lab.start(node, argv);
  onTestFinished(async () => {
    await program.stop().catch(() => {}); // one that could not be started has told whoever waits for it
  });
  return program;
}

/** The same for JavaScript. */
export function startScript(lab: Lab, node: string, script: string): LabProcess {
  return start(lab, node, [process.execPath, '-e', script]);
}

/** Starts JavaScript that ends with the test, and waits until it says `ready`. */
export async function serve(lab: Lab, node: string, script: string): Promise<LabProcess> {
  const server = startScript(lab, node, script);
  await server.waitFor(/ready/);
  return server;
}

/** The same for all tests of a lab: ends with the lab. */
export async function serveAlways(lab: Lab, node: string, script: string): Promise<LabProcess> {
  const server = lab.start(node, [process.execPath, '-e', script]);
  await server.waitFor(/ready/);
  return server;
}

/** Traffic beside the test: ends with it at the latest, and its failure is for whoever awaits it. */
export function beside<T>(begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const running = begin(end.signal);
  const over = running.then(
    () => {},
    () => {},
  );
  onTestFinished(() => {
    end.abort();
    return over;
  });
  return running;
}

/** Runs JavaScript on a node to its end. @returns what it wrote to stdout, trimmed */
export async function run(lab: Lab, node: string, script: string, timeoutMs = 60_000): Promise<string> {
  return (await lab.must(node, [process.execPath, '-e', script], { timeoutMs })).trim();
}

/** A web server that answers with `body` and the address it sees. */
export function webServer(host: string, port: number, body: string): string {
  return `require('http').createServer((q, r) => r.end(${JSON.stringify(body)} + ' ' + q.socket.remoteAddress)).listen(${port}, ${JSON.stringify(host)}, () => console.log('ready'))`;
}

/** Connects and prints how it ends: `end`, or the error's code. */
export function connectUntilEnd(host: string, port: number): string {
  return `const s = require('net').connect({ host: ${JSON.stringify(host)}, port: ${port} });
    s.on('connect', () => s.write('hello'));
    s.on('error', (e) => console.log(e.code)); s.on('end', () => { console.log('end'); s.destroy(); });`;
}
