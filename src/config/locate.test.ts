import fc from 'fast-check';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { type KeyPath, locate } from './locate.ts';

const BERLIN = `# a site
site = "berlin"
lan  = [
  "172.16.0.0/24", # the office
  "fd00:16::/64",
]
identity_key = { file = "/etc/braid/berlin.key", "odd key" = 1 }
network.mark = 0x42

[[uplink]]
name = "fiber"

  [[uplink]]
  name = '''
cable'''
  role = "active"   # not "backup"

[[peer]]
site = "munich"
[[peer.allow]]
ports = [ 22, "80-90" ]
[[peer.allow]]
ports = [
  443]
[log]
flows = true
`;

describe('places in a TOML file', () => {
  const places = locate(BERLIN);
  it.each<[KeyPath, string, string]>([
    [['site'], '2:1', '2:8'],
    [['lan'], '3:1', '3:8'],
    [['lan', 1], '5:3', '5:3'],
    [['identity_key', 'file'], '7:18', '7:25'],
    [['identity_key', 'odd key'], '7:50', '7:62'],
    [['network', 'mark'], '8:9', '8:16'],
    [['uplink', 0, 'name'], '11:1', '11:8'],
    [['uplink', 1], '13:5', '13:3'],
    [['uplink', 1, 'name'], '14:3', '14:10'],
    [['uplink', 1, 'role'], '16:3', '16:10'],
    [['peer', 0, 'allow', 0, 'ports', 1], '21:15', '21:15'],
    [['peer', 0, 'allow', 1, 'ports', 0], '24:3', '24:3'],
    [['log', 'flows'], '26:1', '26:9'],
  ])('%j: key at %s, value at %s', (path, key, value) => {
    const text = ({ line, column }: { line: number; column: number }) => `${line}:${column}`;
    expect([text(places.key(path)), text(places.value(path))]).toEqual([key, value]);
  });

  it('gives the place of the table for a key that is not there', () => {
    expect(places.key(['uplink', 1, 'device'])).toEqual({ line: 13, column: 3 });
    expect(places.value(['peer', 0, 'allow', 1, 'from'])).toEqual({ line: 22, column: 1 });
    expect(places.key(['peer', 7])).toEqual(places.value(['peer']));
    expect(places.key(['nothing', 'of', 'this'])).toEqual({ line: 1, column: 1 });
  });

  it('stays calm on what is no TOML', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('[', ']', '"', "'", '=', '\n', '{', '}', 'a', '.', ',', '\\', '#', ' ') }), (text) => {
        expect(locate(text).value(['a', 0, 'a']).line).toBeGreaterThan(0);
      }),
    );
  });
});

/** One way to write a value, with the value it stands for: what a place must point at. */
type Written = { readonly text: string; readonly leaves: readonly { readonly path: KeyPath; readonly text: string }[] };

const scalar: fc.Arbitrary<string> = fc.oneof(
  fc.integer().map(String),
  fc.boolean().map(String),
  fc.constantFrom(
    '0x42',
    '1e3',
    '-0.5',
    '1979-05-27T07:32:00Z',
    '1979-05-27 07:32:00',
    '07:32:00',
    '"""a "" b"""',
    "'''it''s ]'''",
    '"""\\""""',
    '"""x"""""',
    `'#"[{'`,
  ),
  fc.string({ unit: fc.constantFrom('a', '"', '\\', '#', ']', '}', '=', ' ', ',', '\u00e9') }).map((text) => JSON.stringify(text)),
);

const keyText = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9_-]{0,5}$/),
  fc.string({ unit: fc.constantFrom('a', '.', '"', '=', ' ', '#', ']'), minLength: 1, maxLength: 4 }).map((text) => JSON.stringify(text)),
  fc.stringMatching(/^[b-z.=#[ ]{1,4}$/).map((text) => `'${text}'`),
);
const plainName = (key: string) => (key.startsWith('"') ? (JSON.parse(key) as string) : key.startsWith("'") ? key.slice(1, -1) : key);
const filler = fc.constantFrom('', ' ', '\t');
const gap = fc.constantFrom('', ' ', '\n', ' # why ]}"\n  ');

const { value } = fc.letrec<{ value: Written; array: Written; table: Written }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    scalar.map((text) => ({ text, leaves: [{ path: [], text }] })),
    tie('array'),
    tie('table'),
  ),
  array: fc.tuple(fc.array(fc.tuple(tie('value'), gap), { maxLength: 3 }), gap).map(([items, end]) => ({
    text: `[${items.map(([item, before]) => `${before}${item.text}`).join(',')}${end}]`,
    leaves: items.flatMap(([item], i) => item.leaves.map((leaf) => ({ ...leaf, path: [i, ...leaf.path] }))),
  })),
  table: fc.uniqueArray(fc.tuple(keyText, tie('value'), filler), { maxLength: 3, selector: ([key]) => plainName(key) }).map((members) => ({
    text: `{${members.map(([key, member, space]) => `${space}${key}${space}=${space}${member.text}`).join(',')} }`,
    leaves: members.flatMap(([key, member]) => member.leaves.map((leaf) => ({ ...leaf, path: [plainName(key), ...leaf.path] }))),
  })),
}));

const section = fc.record({
  header: fc.constantFrom('[t%]', '[[m]]', '[[m.n]]', '[ "q%" . d ]'),
  pairs: fc.uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,3}$/), fc.boolean(), filler, value), {
    maxLength: 3,
    selector: ([key]) => key,
  }),
});

describe('places in any document', () => {
  it('point at the very text of each value that the parser reads', () => {
    fc.assert(
      fc.property(fc.array(section, { maxLength: 5 }), fc.boolean(), (sections, windows) => {
        let text = '';
        const leaves: { path: KeyPath; text: string }[] = [];
        let many = 0;
        let nested = 0;
        for (const [i, { header, pairs }] of sections.entries()) {
          if (header === '[[m.n]]' && many === 0) continue;
          if (header === '[[m]]') [many, nested] = [many + 1, 0];
          if (header === '[[m.n]]') nested++;
          const base: Record<string, KeyPath> = {
            '[t%]': [`t${i}`],
            '[[m]]': ['m', many - 1],
            '[[m.n]]': ['m', many - 1, 'n', nested - 1],
            '[ "q%" . d ]': [`q${i}`, 'd'],
          };
          text += `${header.replace('%', String(i))} # a section\n`;
          for (const [key, dotted, space, written] of pairs) {
            // `n` is the name of the nested array of tables
            const name = `k${key}`;
            text += `${space}${name}${dotted ? `${space}. x` : ''} = ${written.text}${space}\n`;
            for (const leaf of written.leaves)
              leaves.push({ text: leaf.text, path: [...base[header]!, name, ...(dotted ? ['x'] : []), ...leaf.path] });
          }
        }
        if (windows) text = text.replaceAll('\n', '\r\n');
        const document = parse(text) as unknown;
        const places = locate(text);
        const lines = text.split('\n');
        for (const leaf of leaves) {
          const found = leaf.path.reduce<unknown>((at, step) => (at as Record<string | number, unknown>)[step], document);
          expect(found, `${JSON.stringify(leaf.path)} of\n${text}`).not.toBeUndefined();
          const { line, column } = places.value(leaf.path);
          expect(
            lines
              .slice(line - 1)
              .join('\n')
              .slice(column - 1),
            `${JSON.stringify(leaf.path)} of\n${text}`,
          ).toSatisfy((rest: string) => rest.startsWith(leaf.text));
        }
      }),
      { numRuns: 500 },
    );
  });
});
