/**
 * Callers of a lab that are no gateways: TCP connections that say given bytes and tell how they were treated, and the bytes of requests that
 * a gateway would believe, or nearly.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Method } from '../../../src/crypto/methods.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { request as requestBytes } from '../../../src/engine/calls.fixture.ts';
import type { Lab, LabProcess } from '../../../src/lab/index.ts';
import type { Target } from '../../../src/shadowsocks/address.ts';
import type { Codec } from '../../../src/shadowsocks/codec.ts';
import { codecOf } from '../../../src/shadowsocks/fixture.ts';
import { KeyRing } from '../../../src/shadowsocks/key-ring.ts';
import { parseAddress } from '../../../src/wire/ip.ts';
import { emitProxyHeader, PROXY_HEADER_EMIT_MOST_BYTES } from '../../../src/wire/proxy-header.ts';
import { startScript } from './programs.ts';

const METHOD: Method = '2022-blake3-aes-128-gcm';

export interface Call {
  readonly host: string;
  readonly port: number;
  readonly say: Uint8Array;
  /** Ends its own direction behind what it says. */
  readonly end?: boolean;
  /** Goes once it has heard that many bytes. */
  readonly enoughBytes?: number;
  /** Whose address it borrows; has to be one of the node's. */
  readonly from?: string;
}

interface Treatment {
  readonly receivedBytes: number;
  /** `nothing`: the connection stood until the caller lost patience. */
  readonly end: 'end' | 'reset' | 'refused' | 'no answer' | 'nothing' | 'enough';
  /** From the connection's start. */
  readonly afterMs: number;
}

const SCRIPT = `
const net = require('net');
const { calls, patienceMs } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const made = calls.map(({ host, port, say, end, enoughBytes, from }) => new Promise((resolve) => {
  const started = performance.now();
  let receivedBytes = 0, connected = false;
  const socket = net.connect({ host, port, allowHalfOpen: true, ...(from && { localAddress: from }) });
  const over = (how) => { resolve({ receivedBytes, end: how, afterMs: Math.round(performance.now() - started) }); socket.destroy(); };
  socket.on('connect', () => { connected = true; const bytes = Buffer.from(say, 'base64'); if (bytes.length) socket.write(bytes); if (end) socket.end(); });
  socket.on('data', (data) => { receivedBytes += data.length; if (receivedBytes >= enoughBytes) over('enough'); });
  socket.on('end', () => over('end'));
  socket.on('error', (error) => over(error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'ECONNRESET' || error.code === 'EPIPE' ? 'reset' : error.code));
  setTimeout(() => over(connected ? 'nothing' : 'no answer'), patienceMs).unref();
}));
setTimeout(() => {}, patienceMs + 500).unref();
const keep = setInterval(() => {}, 1000);
Promise.all(made).then((all) => { clearInterval(keep); process.stdout.write(JSON.stringify(all)); });
`;

/** Makes all calls at once from one node of the lab. */
export async function callAll(lab: Lab, node: string, calls: readonly Call[], patienceMs = 60_000): Promise<Treatment[]> {
  const input = JSON.stringify({ calls: calls.map((call) => ({ ...call, say: Buffer.from(call.say).toString('base64') })), patienceMs });
  return JSON.parse(await lab.must(node, [process.execPath, '-e', SCRIPT], { input, timeoutMs: patienceMs + 60_000 })) as Treatment[];
}

/** Callers that never come to an end, of whom every second one says something. Returns once all of them stand. */
export async function crowdOf(lab: Lab, node: string, { host, port, say }: Call, count: number): Promise<LabProcess> {
  const program = startScript(
    lab,
    node,
    `const net = require('net'); const say = Buffer.from('${Buffer.from(say).toString('base64')}', 'base64'); let open = 0;
     const one = (i) => { const s = net.connect(${port}, '${host}', () => { if (i % 2) s.write(say); if (++open === ${count}) console.log('all'); });
       s.on('error', () => {}); s.on('close', () => {}); };
     let i = 0; const more = () => { for (let n = 0; n < 200 && i < ${count}; n++) one(i++); if (i < ${count}) setTimeout(more, 20); }; more();
     setInterval(() => {}, 1000);`,
  );
  await program.waitFor(/all/);
  return program;
}

/** A codec with the keys of a file that `startBraid` wrote (`identity:user` or one key), and a clock that may be wrong. */
export function codecWith(lab: Lab, keyFile: string, skewSeconds = 0): Codec {
  return codecFor(keysIn(lab, keyFile), skewSeconds);
}

export function keysIn(lab: Lab, keyFile: string): Secret[] {
  const texts = readFileSync(join(lab.directory, keyFile), 'utf8').trim().split(':');
  return texts.map((text) => new Secret(Buffer.from(text, 'base64')));
}

export function codecFor(sendKeys: readonly Secret[], skewSeconds = 0): Codec {
  return codecOf(new KeyRing({ peers: [{ index: 0, method: METHOD, sendKeys }] }), {
    unixSeconds: () => Math.floor(Date.now() / 1000) + skewSeconds,
  });
}

export function request(codec: Codec, payload: Uint8Array, target?: Target, chunks?: readonly Uint8Array[]): Buffer {
  return requestBytes(codec, payload, target, chunks);
}

/** `ADDRESS PORT` of the client and of the target, as a PROXY header. */
export function proxyHeader(client: string, clientPort: number, target: string, targetPort: number): Buffer {
  const bytes = Buffer.alloc(PROXY_HEADER_EMIT_MOST_BYTES);
  const [one, other] = [client, target].map((text) => parseAddress(text)!.bytes) as [Uint8Array, Uint8Array];
  return bytes.subarray(0, emitProxyHeader({ bytes: one, port: clientPort }, { bytes: other, port: targetPort }, bytes));
}
