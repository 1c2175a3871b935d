import { createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type BoundPort, parseBoundPorts, portProblems, readBoundPorts } from './bound-ports.ts';
import { exampleSite } from './example.ts';

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state: string) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 632 1\n`;

const found = (protocol: BoundPort['protocol'], ...lines: string[]) =>
  portProblems(exampleSite(), parseBoundPorts(protocol, HEAD + lines.join(''))).map(({ message, hint }) => `${message} | ${hint}`);

describe('ports that somebody has', () => {
  it('are named once each, with the key that says another one', () => {
    expect(found('TCP', line('00000000:20C4', '0A'), line('0100007F:20C4', '0A'), line('0100007F:20C5', '0A'))).toEqual([
      'TCP port 8388 expected to be free, got somebody at 0.0.0.0:8388 | ss -tlnp shows who; change listen, or stop that program',
      'TCP port 8389 expected to be free, got somebody at 127.0.0.1:8389 | ss -tlnp shows who; change network.tproxy_port, or stop that program',
    ]);
    expect(found('UDP', line('0100000A:20C4', '07'))).toEqual([
      'UDP port 8388 expected to be free, got somebody at 10.0.0.1:8388 | ss -ulnp shows who; change listen, or stop that program',
    ]);
    expect(found('TCP', line(`${'0'.repeat(32)}:20C4`, '0A'))).toHaveLength(1);
  });

  it('are none where the port, the place or the state is another', () => {
    // A connection, another port, UDP and the transparent port on an address that is not ours.
    expect(found('TCP', line('0100000A:20C4', '01'), line('00000000:20C6', '0A'), line('0900000A:20C5', '0A'))).toEqual([]);
    expect(found('UDP', line('0900000A:20C4', '07'))).toEqual([]);
  });

  it("are read from this host's own list", async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const ours = readBoundPorts().filter((one) => one.protocol === 'TCP' && one.port === port);
    expect(ours.map(({ family, address }) => `${family} ${address.text}`)).toEqual(['4 127.0.0.1']);
  });
});
