/** The MPTCP endpoints that somebody gave the kernel by hand, as the recipe does: they tell which devices are uplinks, and what NAT shows of us. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface MptcpEndpoint {
  readonly address: string;
  readonly device?: string;
  readonly signal: boolean;
}

const run = promisify(execFile);

/** None where the kernel or `ip` does not know MPTCP: they are hints only. */
export async function readMptcpEndpoints(): Promise<MptcpEndpoint[]> {
  try {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
    return parseEndpoints((await run('ip', ['-j', 'mptcp', 'endpoint', 'show'], { env, timeout: 10_000 })).stdout);
  } catch {
    return [];
  }
}

/** @param text of `ip -j mptcp endpoint show`; older versions print text with `-j`, too. */
export function parseEndpoints(text: string): MptcpEndpoint[] {
  const plain = text.trim();
  if (plain === '') return [];
  if (!plain.startsWith('['))
    return plain.split('\n').map((line) => {
      const words = line.trim().split(/\s+/);
      const device = words[words.indexOf('dev') + 1];
      return { address: words[0]!, signal: words.includes('signal'), ...(words.includes('dev') && { device: device! }) };
    });
  const rows = JSON.parse(plain) as {
    readonly address?: string;
    readonly dev?: string;
    readonly signal?: boolean;
    readonly flags?: readonly string[];
  }[];
  return rows.flatMap(({ address, dev, signal, flags }) =>
    address === undefined
      ? []
      : [{ address, signal: signal === true || (flags ?? []).includes('signal'), ...(dev !== undefined && { device: dev }) }],
  );
}
