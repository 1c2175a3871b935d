/** Writes docs/config.md from the schema, so that the reference cannot say anything else than the program. `--check`: only compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { jsonSchema } from '../src/config/schema.ts';

interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
}

const HEAD = `# Configuration

<!-- Written by scripts/config-doc.ts from the schema; \`node scripts/config-doc.ts\` writes it anew. -->

One TOML file a site, by custom \`/etc/braid/SITE.toml\`. It is read when the daemon starts, \`braid reload\` takes over what changed of peers, and it is strict: an unknown key, or
one that this version would ignore, is an error. \`braid check FILE\` checks the file, this host, and one against the other;
\`braid schema\` prints the JSON Schema that editors understand.

Two sites that see each other over two uplinks each:

\`\`\`toml
site = "berlin"
lan  = ["172.16.0.0/24", "fd00:16::/64"]

[[uplink]]
name   = "fiber"
device = "eth2"

[[uplink]]
name   = "cable"
device = "eth3"

[[peer]]
site        = "munich"
lan         = ["172.16.1.0/24", "fd00:17::/64"]
addresses   = ["10.0.0.2", "10.1.0.2"]
receive_key = { file = "from-munich.key" }   # munich's to-berlin.key
send_key    = { file = "to-munich.key" }     # munich's from-berlin.key
\`\`\`
`;

const TAIL = `
## Keys

A key file is one line of base64, as \`braid genkey\` prints it, and readable by its owner only:
\`(umask 077; braid genkey > /etc/braid/to-munich.key)\`. Every pair of sites has one key for each direction; the file that is
\`send_key\` at one end is \`receive_key\` at the other.

A site with one peer uses these keys directly. With two peers or more it needs an identity key of its own (\`identity_key\`, SIP023), and
every peer that dials it puts that key in front of its own in the file of \`send_key\`: \`IDENTITY:USER\`. The key alone tells who is
calling, so no key may stand for two peers or two directions.

## Uplinks that are not there yet

Each \`device\` must exist when Braid starts. An uplink that is down, or has no address yet, is shown as down with the reason and is part of
no path until it is up and has one; one uplink at least must have an address at the start. An \`address\` that is not on its device is an error where the device
has another one of that family.

## Paths

A path is one of our uplinks with one of the peer's addresses, both of one family; \`pairing\` chooses them.

| pairing | which |
|---|---|
| \`auto\` | An address in an uplink's own subnet is reached over that uplink only. Any other address is reached over every uplink that has a gateway of that family. |
| \`paired\` | First with first, second with second, each family for itself. Positions count over all uplinks where the peer has as many addresses of the family, else over the uplinks that have an address of it. Other counts are an error. |
| \`mesh\` | Every uplink with every address. |

The gateway of an uplink is its \`gateway\`, else that of the device's default route, else that of a route of the device that leads to a peer.

## What may not overlap

The prefixes of \`lan\` and of every peer's \`lan\` are disjoint, contain no address of an uplink or of a peer, and no loopback, link-local,
multicast or reserved range. A device is an uplink or carries the LAN, never both.

## Numbers shared with other programs

\`[network]\` says which bits of the firewall mark, which routing tables and which rule preference are Braid's. The defaults stay away from
those of Kubernetes, Tailscale, WireGuard's wg-quick and mwan3. Two daemons in one network namespace need different ones; in
different namespaces they never collide. A collision is refused at the start, before anything was changed.
`;

function sections(): string {
  const root = jsonSchema() as Node;
  return [
    section('The site', 'At the top of the file, before the first section.', root, (key) => !isSection(root.properties![key]!)),
    ...Object.entries(root.properties!)
      .filter(([, node]) => isSection(node))
      .flatMap(([key, node]) => tables(key, node)),
  ].join('\n');
}

function tables(path: string, node: Node): string[] {
  const many = node.type === 'array';
  const inner = many ? node.items! : node;
  const below = Object.entries(inner.properties!).filter(([, child]) => isSection(child));
  return [
    section(many ? `\`[[${path}]]\`` : `\`[${path}]\``, node.description ?? '', inner, (key) => !isSection(inner.properties![key]!)),
    ...below.flatMap(([key, child]) => tables(`${path}.${key}`, child)),
  ];
}

/** A table of its own; a key's `{ file = ... }` is written inline. */
function isSection(node: Node): boolean {
  return node.items?.properties !== undefined || (node.properties !== undefined && !('file' in node.properties));
}

function section(title: string, intro: string, { properties = {}, required = [] }: Node, shown: (key: string) => boolean): string {
  const rows = Object.entries(properties)
    .filter(([key]) => shown(key))
    .map(
      ([key, node]) =>
        `| \`${key}\` | ${typeText(node)} | ${required.includes(key) ? 'required' : defaultText(node)} | ${cell(node.description ?? '')} |`,
    );
  return `\n## ${title}\n\n${intro}\n\n| key | value | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

function typeText(node: Node): string {
  if (node.enum) return node.enum.map((value) => `\`"${value}"\``).join(', ');
  if (node.anyOf) return node.anyOf.map(typeText).join(' or ');
  if (node.properties) return '`{ file = "…" }`';
  if (node.type === 'array') return `list of ${typeText(node.items!)}`;
  if (node.type === 'boolean') return 'true or false';
  if (node.type === 'object') return 'table of names and addresses';
  if (node.type !== 'integer') return 'string';
  return (node.maximum ?? 0) > 0xffff ? 'number' : `${node.minimum} to ${node.maximum}`;
}

function defaultText({ default: value, type }: Node): string {
  if (value === undefined || (typeof value === 'object' && Object.keys(value as object).length === 0)) return '';
  if (type === 'integer' && (value as number) > 0xff_ffff) return `\`0x${(value as number).toString(16)}\``;
  return `\`${JSON.stringify(value)}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

export function configDoc(): string {
  return `${HEAD}${sections()}${TAIL}`;
}

const file = fileURLToPath(new URL('../docs/config.md', import.meta.url));
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!process.argv.includes('--check')) writeFileSync(file, configDoc());
  else if (readFileSync(file, 'utf8') !== configDoc()) {
    process.stderr.write('docs/config.md is not what the schema says: node scripts/config-doc.ts\n');
    process.exitCode = 1;
  }
}
