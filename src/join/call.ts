/** The guest's way to the host: the addresses of the code one after the other, until a connection stands. */
import { connect, type Socket } from 'node:net';
import { BraidError } from '../error.ts';
import type { InviteCode } from '../wire/invite-code.ts';
import { addressFromBytes, endpointText, type IpAddress } from '../wire/ip.ts';

const CONNECT_MOST_MS = 4_000;

/** @returns a connection and whom it leads to. @throws BraidError JOIN_UNANSWERED with what came of each address. */
export async function callFirst({ addresses, port }: InviteCode): Promise<{ readonly socket: Socket; readonly address: IpAddress }> {
  const failures: string[] = [];
  for (const bytes of addresses) {
    const address = addressFromBytes(bytes);
    const outcome = await dial(address.text, port);
    if (typeof outcome !== 'string') return { socket: outcome, address };
    failures.push(`${endpointText(address, port)}: ${outcome}`);
  }
  throw new BraidError('JOIN_UNANSWERED', `the other site was not reached: ${failures.join('; ')}`, {
    hint: 'its daemon must run, and its firewall let us in: `braid check` there says how',
  });
}

function dial(host: string, port: number): Promise<Socket | string> {
  return new Promise((done) => {
    const socket = connect({ host, port, noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy();
      done(`no answer for ${CONNECT_MOST_MS / 1_000} s`);
    }, CONNECT_MOST_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      done(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      done(error.code ?? error.message);
    });
  });
}
