/**
 * Many connections that do nothing: a program for both ends, run by Node inside namespaces.
 *
 *   idle-flows.ts serve HOST PORT    echoes
 *   idle-flows.ts hold HOST PORT     reads a number a line from stdin and opens or closes until so many are open, answers it
 *
 * Before it falls idle every connection moves 64 KiB there and back, so that what a flow keeps after its work is counted too.
 */
import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const WORK = Buffer.alloc(64 * 1024, 1);
const AT_ONCE = 32;

function serve(host: string, port: number): void {
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen({ host, port, backlog: 1024 }, () => console.log('listening'));
}

async function openOne(host: string, port: number): Promise<Socket> {
  const socket = createConnection({ host, port });
  await once(socket, 'connect');
  let back = 0;
  const echoed = new Promise<void>((resolve, reject) => {
    socket.once('error', reject).once('close', () => reject(new Error('closed before the echo was complete')));
    socket.on('data', (bytes: Buffer) => {
      back += bytes.length;
      if (back === WORK.length) resolve();
    });
  });
  socket.write(WORK);
  await echoed;
  return socket;
}

async function hold(host: string, port: number): Promise<void> {
  const held: Socket[] = [];
  for await (const line of createInterface({ input: process.stdin })) {
    const wanted = Number(line);
    while (held.length < wanted)
      held.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, wanted - held.length) }, () => openOne(host, port)))));
    for (const socket of held.splice(wanted)) socket.end();
    console.log(wanted);
  }
}

const [role, host, port] = process.argv.slice(2);
if (role === 'serve') serve(host!, Number(port));
else await hold(host!, Number(port));
