/** A site as tests have it: a right file, and the key files it names, in a folder of their own. */
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Of one byte again and again, in base64. */
export const key = (fill: number, bytes = 16) => Buffer.alloc(bytes, fill).toString('base64');

/** @returns the folder; the caller removes it. */
export function writeKeys(): string {
  const folder = mkdtempSync(join(tmpdir(), 'braid-config-test-'));
  const files: Record<string, string> = {
    'identity.key': key(1),
    'from-munich.key': key(2),
    'to-munich.key': key(3),
    'from-paris.key': key(4),
    'to-paris.key': `${key(5)}:${key(6)}\n`,
    'long.key': key(7, 32),
    'long2.key': key(8, 32),
    'long3.key': key(9, 32),
    'two.key': `${key(9)}:${key(10)}`,
    'text.key': 'correct horse battery staple\n',
    'copy.key': `${key(2)}\n`,
    'open.key': key(11),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  chmodSync(join(folder, 'open.key'), 0o640);
  mkdirSync(join(folder, 'folder.key'));
  return folder;
}

export const BERLIN = `site = "berlin"
lan = ["172.16.0.0/24", "fd00:16::/64"]

[[uplink]]
name = "fiber"
device = "eth2"

[[uplink]]
name = "cable"
device = "eth3"

[[peer]]
site = "munich"
lan = ["172.16.1.0/24"]
addresses = ["10.0.0.2", "10.1.0.2:9000"]
receive_key = { file = "from-munich.key" }
send_key = { file = "to-munich.key" }
`;

export const PARIS = `
[[peer]]
site = "paris"
lan = ["172.16.2.0/24"]
addresses = ["[2001:db8::2]:8388"]
receive_key = { file = "from-paris.key" }
send_key = { file = "to-paris.key" }
`;

export const THREE = `identity_key = { file = "identity.key" }\n${BERLIN}${PARIS}`;
