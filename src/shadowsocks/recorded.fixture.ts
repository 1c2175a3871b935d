/** Bytes that unmodified sing-box and shadowsocks-rust programs put on the wire (test/vectors/README.md), and the keys they had. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { parseAddress } from '../wire/ip.ts';
import type { Target } from './address.ts';
import { KeyRing } from './key-ring.ts';

const FOLDER = join(import.meta.dirname, '../../test/vectors');

export interface Recorded {
  readonly method: Method;
  readonly keys: {
    readonly psk?: string;
    readonly ipsk?: string;
    readonly upsk?: string;
    readonly users?: readonly { readonly upsk: string }[];
  };
}

export interface RecordedTarget {
  readonly type: 'ipv4' | 'ipv6' | 'domain';
  readonly host: string;
  readonly port: number;
}

export function recordings(pattern: RegExp): string[] {
  return readdirSync(FOLDER).filter((name) => pattern.test(name));
}

export function load<Vector>(name: string): Vector {
  return JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as Vector;
}

export function secret(base64: string): Secret {
  return new Secret(Buffer.from(base64, 'base64'));
}

/** Both ends of the recording in one ring: the users in the server's order are the peers. */
export function ringOf({ keys, method }: Recorded): { readonly ring: KeyRing; readonly peer: number } {
  if (keys.psk !== undefined) {
    const key = secret(keys.psk);
    return { ring: new KeyRing({ peers: [{ index: 0, method, receiveKey: key, sendKeys: [key] }] }), peer: 0 };
  }
  const users = keys.users!.map((user) => user.upsk);
  const peers = users.map((user, index) => ({ index, method, receiveKey: secret(user), sendKeys: [secret(keys.ipsk!), secret(user)] }));
  return { ring: new KeyRing({ identityKey: secret(keys.ipsk!), peers }), peer: users.indexOf(keys.upsk!) };
}

export function targetOf({ type, host, port }: RecordedTarget): Target {
  return type === 'domain' ? { kind: 'name', name: host, port } : { kind: type, bytes: parseAddress(host)!.bytes, port };
}
