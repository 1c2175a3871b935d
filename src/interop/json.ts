/**
 * JSON as people write it for sing-box: with comments of the three usual forms, and with the place of every value, so that an error can say
 * where. A name that is there twice is an error: programs differ in which of the two they take.
 *
 * An error never repeats what was read: it may be a key.
 */
import type { KeyPath, Located, Position } from '../config/locate.ts';
import { BraidError } from '../error.ts';

interface Node {
  readonly key: number;
  readonly at: number;
  readonly children: Map<string | number, Node>;
}

export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue };

/** Deeper than any configuration, and shallow enough for the stack. */
const DEPTH_MOST = 100;

/** @throws BraidError CONFIG_SYNTAX with the place. */
export function parseJson(file: string, source: string): { readonly value: JsonValue; readonly places: Located } {
  // Some editors put a mark in front; it shifts nothing that people count.
  const text = source.startsWith('\ufeff') ? ` ${source.slice(1)}` : source;
  const reader = new Reader(file, text);
  const { value, node } = reader.document();
  const find = (path: KeyPath): { readonly node: Node; readonly whole: boolean } => {
    let at = node;
    for (const step of path) {
      const next = at.children.get(step);
      if (!next) return { node: at, whole: false };
      at = next;
    }
    return { node: at, whole: true };
  };
  return {
    value,
    places: {
      key: (path) => positionAt(text, ((found) => (found.whole ? found.node.key : found.node.at))(find(path))),
      value: (path) => positionAt(text, find(path).node.at),
    },
  };
}

interface Read {
  readonly value: JsonValue;
  readonly node: Node;
}

class Reader {
  readonly #file: string;
  readonly #text: string;
  #at = 0;

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
  }

  document(): Read {
    const read = this.#value(this.#skip(), 0);
    if (this.#skip() < this.#text.length) this.#fail('expected nothing behind the closing bracket');
    return read;
  }

  #value(key: number, depth: number): Read {
    const at = this.#skip();
    if (depth > DEPTH_MOST) this.#fail(`expected at most ${DEPTH_MOST} levels of brackets`);
    const node: Node = { key, at, children: new Map() };
    const first = this.#text[at];
    if (first === '{') return { value: this.#object(node, depth), node };
    if (first === '[') return { value: this.#array(node, depth), node };
    if (first === '"') return { value: this.#string(), node };
    return { value: this.#scalar(), node };
  }

  #object(node: Node, depth: number): JsonValue {
    const value: Record<string, JsonValue> = Object.create(null);
    this.#items('}', () => {
      const key = this.#skip();
      if (this.#text[key] !== '"') this.#fail('expected a name in double quotes');
      const name = this.#string();
      if (node.children.has(name)) this.#fail('the same name is there twice', key);
      if (this.#text[this.#skip()] !== ':') this.#fail('expected a colon behind the name');
      this.#at++;
      const member = this.#value(key, depth + 1);
      value[name] = member.value;
      node.children.set(name, member.node);
    });
    return value;
  }

  #array(node: Node, depth: number): JsonValue {
    const value: JsonValue[] = [];
    this.#items(']', () => {
      const item = this.#value(this.#skip(), depth + 1);
      node.children.set(value.length, item.node);
      value.push(item.value);
    });
    return value;
  }

  /** What stands between brackets, with commas between the items. */
  #items(close: string, readItem: () => void): void {
    this.#at++;
    if (this.#text[this.#skip()] !== close)
      for (;;) {
        readItem();
        const next = this.#text[this.#skip()];
        if (next === close) break;
        if (next !== ',') this.#fail(`expected a comma or ${close}`);
        this.#at++;
        // sing-box takes a comma behind the last item, too.
        if (this.#text[this.#skip()] === close) break;
      }
    this.#at++;
  }

  #string(): string {
    STRING.lastIndex = this.#at;
    const match = STRING.exec(this.#text);
    if (!match) this.#fail('expected a string that ends on its line');
    const start = this.#at;
    this.#at = STRING.lastIndex;
    try {
      return JSON.parse(match[0]) as string;
    } catch {
      return this.#fail('expected another escape in the string', start);
    }
  }

  #scalar(): JsonValue {
    SCALAR.lastIndex = this.#at;
    const match = SCALAR.exec(this.#text);
    if (!match) this.#fail(this.#at < this.#text.length ? 'expected a value' : 'expected more: the file ends too early');
    this.#at = SCALAR.lastIndex;
    return JSON.parse(match[0]) as JsonValue;
  }

  /** Past blanks and comments. */
  #skip(): number {
    BLANK.lastIndex = this.#at;
    BLANK.exec(this.#text);
    this.#at = BLANK.lastIndex;
    if (this.#text.startsWith('/*', this.#at)) this.#fail('expected an end of the comment');
    return this.#at;
  }

  #fail(message: string, at = this.#at): never {
    throw new BraidError('CONFIG_SYNTAX', message, { place: { file: this.#file, ...positionAt(this.#text, at) } });
  }
}

const BLANK = /(?:[ \t\r\n]|\/\/[^\n]*|#[^\n]*|\/\*(?:[^*]|\*(?!\/))*\*\/)*/y;
const STRING = /"(?:[^"\\\n]|\\.)*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/y;

function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}
