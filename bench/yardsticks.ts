/**
 * Relays from outside the project, measured beside Braid where somebody has them; they are neither built nor shipped here.
 *
 * | environment | program |
 * |---|---|
 * | BRAID_BENCH_RELAY | a C relay: `RELAY out` at the far gateway, `PEER=ADDRESS RELAY in` at the near one |
 * | BRAID_BENCH_RELAY_FFI | the same as a script for our Node, koffi beside it |
 * | BRAID_BENCH_SING_BOX, or sing-box on PATH | SS 2022 behind a TPROXY inbound |
 * | BRAID_BENCH_SSLOCAL and BRAID_BENCH_SSSERVER, or both on PATH | shadowsocks-rust |
 */
import { resolve } from 'node:path';
import { dialled, type Lab } from '../src/lab/index.ts';
import { isReadable, onPath } from './programs.ts';
import { FAR_PORT, freshKey, NEAR_PORT, noJoins, privateFile, type RelayPair, startRelays } from './recipe.ts';
import type { Skipped } from './results.ts';
import type { Subject } from './subjects.ts';

const METHOD = '2022-blake3-aes-128-gcm';
const KEY_BYTES = 16;

interface Yardsticks {
  readonly found: readonly Subject[];
  /** A line for each that is not there. */
  readonly absent: readonly Skipped[];
}

export function yardsticks(environment: NodeJS.ProcessEnv): Yardsticks {
  const found: Subject[] = [];
  const absent: Skipped[] = [];
  const offer = (name: string, what: string, variables: readonly (readonly [variable: string, program?: string])[], pair: MakePair) => {
    const programs = variables.map(([variable, program]) => locate(environment, variable, program));
    const missing = programs.find((program) => 'why' in program);
    if (missing && 'why' in missing) absent.push({ name, why: missing.why });
    else found.push(yardstick(name, what, (lab) => pair(lab, ...programs.map((program) => ('file' in program ? program.file : '')))));
  };
  offer('relay', 'C reference, AES-128-GCM, one join', [['BRAID_BENCH_RELAY']], (lab, relay) => ({
    near: { argv: [relay!, 'in'], env: { PEER: dialled(lab) } },
    far: { argv: [relay!, 'out'] },
  }));
  offer('relay-ffi', 'the same in JavaScript, one join', [['BRAID_BENCH_RELAY_FFI']], (lab, script) => ({
    near: { argv: [process.execPath, script!, 'in'], env: { PEER: dialled(lab) } },
    far: { argv: [process.execPath, script!, 'out'] },
  }));
  offer('sing-box', `sing-box, TPROXY, ${METHOD}, one join`, [['BRAID_BENCH_SING_BOX', 'sing-box']], singBox);
  offer(
    'ss-rust',
    `shadowsocks-rust, TPROXY, ${METHOD}, one join`,
    [
      ['BRAID_BENCH_SSLOCAL', 'sslocal'],
      ['BRAID_BENCH_SSSERVER', 'ssserver'],
    ],
    shadowsocksRust,
  );
  return { found, absent };
}

type MakePair = (lab: Lab, ...programs: string[]) => RelayPair;

function yardstick(name: string, what: string, pair: (lab: Lab) => RelayPair): Subject {
  return {
    name,
    what,
    relays: true,
    byDefault: true,
    shaped: false,
    lan: true,
    start: async (lab) => {
      await startRelays(lab, pair(lab));
      return { withoutJoins: () => noJoins(lab) };
    },
  };
}

function locate(environment: NodeJS.ProcessEnv, variable: string, program?: string): { file: string } | { why: string } {
  const named = environment[variable];
  if (named) return isReadable(resolve(named)) ? { file: resolve(named) } : { why: `${variable}: ${named} cannot be read` };
  if (program === undefined) return { why: `${variable} names no program` };
  const file = onPath(environment, program);
  return file === undefined ? { why: `no ${program} on PATH, and ${variable} names none` } : { file };
}

function singBox(lab: Lab, program: string): RelayPair {
  const password = freshKey(KEY_BYTES);
  const run = (name: string, inbound: object, outbound: object) => ({
    argv: [
      program,
      'run',
      '-c',
      privateFile(lab, `sing-box-${name}.json`, {
        log: { level: 'error' },
        inbounds: [{ tag: 'in', listen: '0.0.0.0', network: 'tcp', ...inbound }],
        outbounds: [{ tag: 'out', ...outbound }],
        route: { final: 'out', auto_detect_interface: false },
      }),
    ],
  });
  const shadowsocks = { type: 'shadowsocks', method: METHOD, password, tcp_multi_path: true };
  return {
    near: run('near', { type: 'tproxy', listen_port: NEAR_PORT }, { ...shadowsocks, server: dialled(lab), server_port: FAR_PORT }),
    far: run('far', { ...shadowsocks, listen_port: FAR_PORT }, { type: 'direct' }),
  };
}

function shadowsocksRust(lab: Lab, sslocal: string, ssserver: string): RelayPair {
  const common = { method: METHOD, password: freshKey(KEY_BYTES), mode: 'tcp_only', mptcp: true, no_delay: true, server_port: FAR_PORT };
  const local = { protocol: 'redir', local_address: '0.0.0.0', local_port: NEAR_PORT, tcp_redir: 'tproxy', mode: 'tcp_only' };
  return {
    near: { argv: [sslocal, '-c', privateFile(lab, 'sslocal.json', { ...common, server: dialled(lab), locals: [local] })] },
    far: { argv: [ssserver, '-c', privateFile(lab, 'ssserver.json', { ...common, server: '0.0.0.0' })] },
  };
}
