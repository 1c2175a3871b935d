/**
 * Where in the text a value of a TOML file stands: the parser hands out values without places, and an error without a place makes people
 * search.
 *
 * `locate` reads a text that the parser has accepted, so it only has to find the borders of keys and values, not to judge them.
 * It walks the same tree the parser builds: tables, arrays of tables, dotted keys, inline tables, arrays over several lines.
 */
export interface Position {
  /** Both from 1; a column counts UTF-16 units, as editors do. */
  readonly line: number;
  readonly column: number;
}

export type KeyPath = readonly (string | number)[];

export interface Located {
  /** Where the key of `path` is written; for an element of an array, where the element starts. */
  key(path: KeyPath): Position;
  /** Where the value of `path` starts; for a table written with a header, the header. A path that does not exist gives its nearest parent's place. */
  value(path: KeyPath): Position;
}

interface Node {
  readonly key: number;
  value: number;
  readonly members: Map<string, Node>;
  readonly items: Node[];
}

/** @param text a TOML document that was parsed without an error. */
export function locate(text: string): Located {
  const root = scan(text);
  const nearest = (path: KeyPath): { node: Node; whole: boolean } => {
    let node = root;
    for (const step of path) {
      const next = typeof step === 'number' ? node.items[step] : node.members.get(step);
      if (!next) return { node, whole: false };
      node = next;
    }
    return { node, whole: true };
  };
  return {
    key(path) {
      const { node, whole } = nearest(path);
      return positionAt(text, whole ? node.key : node.value);
    },
    value(path) {
      return positionAt(text, nearest(path).node.value);
    },
  };
}

function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}

function node(key: number, value: number): Node {
  return { key, value, members: new Map(), items: [] };
}

function scan(text: string): Node {
  const root = node(0, 0);
  let table = root;
  let at = text.startsWith('\ufeff') ? 1 : 0;

  const skip = (pattern: RegExp) => {
    pattern.lastIndex = at;
    at += pattern.exec(text)?.[0].length ?? 0;
  };
  const skipBlank = () => skip(BLANK);

  const readKey = (): { name: string; offset: number }[] => {
    const steps: { name: string; offset: number }[] = [];
    for (;;) {
      skip(SPACE);
      const offset = at;
      const quote = text[at];
      if (quote === '"' || quote === "'") skipString();
      else skip(BARE_KEY);
      const raw = text.slice(offset, at);
      steps.push({ name: quote === '"' ? unescapeBasic(raw.slice(1, -1)) : quote === "'" ? raw.slice(1, -1) : raw, offset });
      skip(SPACE);
      if (text[at] !== '.') return steps;
      at++;
    }
  };

  const skipString = () => {
    const quote = text[at]!;
    const triple = quote.repeat(3);
    if (text.startsWith(triple, at)) skip(quote === '"' ? MULTILINE_BASIC : MULTILINE_LITERAL);
    else skip(quote === '"' ? BASIC : LITERAL);
  };

  const readValue = (into: Node) => {
    into.value = at;
    const first = text[at];
    if (first === '"' || first === "'") skipString();
    else if (first === '[') readArray(into);
    else if (first === '{') readInlineTable(into);
    else skip(SCALAR);
  };

  const readArray = (into: Node) => {
    at++;
    for (skipBlank(); at < text.length && text[at] !== ']'; skipBlank()) {
      if (text[at] === ',') at++;
      else {
        const item = node(at, at);
        into.items.push(item);
        readValue(item);
        if (at === item.value) at++; // not TOML after all
      }
    }
    at++;
  };

  const readInlineTable = (into: Node) => {
    at++;
    for (skipBlank(); at < text.length && text[at] !== '}'; skipBlank()) {
      if (text[at] === ',') at++;
      else readPair(into);
    }
    at++;
  };

  const readPair = (into: Node) => {
    const steps = readKey();
    let target = into;
    for (const { name, offset } of steps) {
      const child = target.members.get(name) ?? node(offset, offset);
      target.members.set(name, child);
      target = child;
    }
    at++; // the equals sign
    skip(SPACE);
    readValue(target);
  };

  const readHeader = () => {
    const start = at;
    const many = text.startsWith('[[', at);
    at += many ? 2 : 1;
    const steps = readKey();
    at += many ? 2 : 1;
    table = root;
    for (const [i, { name, offset }] of steps.entries()) {
      const child = table.members.get(name) ?? node(offset, start);
      table.members.set(name, child);
      table = child;
      if (many && i === steps.length - 1) table.items.push(node(offset, start));
      table = table.items.at(-1) ?? table;
    }
    if (!many) table.value = start;
  };

  for (skipBlank(); at < text.length; skipBlank()) {
    const before = at;
    if (text[at] === '[') readHeader();
    else readPair(table);
    if (at === before) break; // not TOML after all: what was found so far still gives places
  }
  return root;
}

const SPACE = /[ \t]*/y;
const BLANK = /(?:[ \t\r\n]|#[^\n]*)*/y;
const BARE_KEY = /[A-Za-z0-9_-]*/y;
const BASIC = /"(?:[^"\\\n]|\\.)*"?/y;
const LITERAL = /'[^'\n]*'?/y;
// Up to two more quotes may stand directly before the closing three.
const MULTILINE_BASIC = /"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{3,5}/y;
const MULTILINE_LITERAL = /'''(?:[^']|'{1,2}(?!'))*'{3,5}/y;
// A date may have one space in it: 1979-05-27 07:32:00.
const SCALAR = /[^,\]}#\n\r \t]*(?: (?=\d\d:)[^,\]}#\n\r \t]*)?/y;

function unescapeBasic(raw: string): string {
  return raw.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))/g, (_, four, eight, two, one: string) =>
    one === undefined ? String.fromCodePoint(Number.parseInt(four ?? eight ?? two, 16)) : (ESCAPES[one] ?? one),
  );
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', t: '\t', n: '\n', f: '\f', r: '\r', e: '\u001b' };
