/** Small programs on LAN hosts: servers and clients of a few lines, run by Node. */
import type { Lab, LabProcess } from '../../../src/lab/index.ts';

/** Starts JavaScript on a node and waits until it says `ready`. */
export async function serve(lab: Lab, node: string, script: string): Promise<LabProcess> {
  const server = lab.start(node, [process.execPath, '-e', script]);
  await server.waitFor(/ready/);
  return server;
}

/** Runs JavaScript on a node to its end. @returns what it wrote to stdout, trimmed */
export async function run(lab: Lab, node: string, script: string, timeoutMs = 20_000): Promise<string> {
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
