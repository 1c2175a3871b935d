import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BraidError } from '../error.ts';
import { parseJson } from './json.ts';

const failure = (text: string): string => {
  try {
    parseJson('c.json', text);
  } catch (error) {
    const { code, place, message } = error as BraidError;
    return `${code} ${place?.line}:${place?.column} ${message}`;
  }
  return 'none';
};
/** Tables here have no prototype, those of JSON.parse do. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;

describe('JSON with comments', () => {
  it('is read as JSON.parse reads it, however it is written', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(0, 1, 4), (text, indent) => {
        const wanted = JSON.parse(text) as unknown;
        expect(plain(parseJson('c.json', JSON.stringify(wanted, null, indent)).value)).toEqual(plain(wanted));
      }),
    );
  });

  it('takes comments wherever a blank may stand, and none out of strings', () => {
    const { value, places } = parseJson(
      'c.json',
      '\ufeff{ // the site\n  /* two\n lines ** / */ "a": ["x // y", /* 1 */ "# no"], # end\n  "b": {"c": true}\n}\n// over',
    );
    expect(plain(value)).toEqual({ a: ['x // y', '# no'], b: { c: true } });
    expect(places.value(['a', 1])).toEqual({ line: 3, column: 40 });
    expect(places.key(['b', 'c'])).toEqual({ line: 4, column: 9 });
    expect(places.value(['b', 'nowhere'])).toEqual({ line: 4, column: 8 });
  });

  it('takes a comma behind the last item, as sing-box does', () => {
    expect(plain(parseJson('c.json', '{"a": [1, 2,], }').value)).toEqual({ a: [1, 2] });
  });

  it.each([
    ['{\n "a": 1,\n "b" 2\n}', 'CONFIG_SYNTAX 3:6 expected a colon behind the name'],
    ['{"a": 1,,}', 'CONFIG_SYNTAX 1:9 expected a name in double quotes'],
    ['[,]', 'CONFIG_SYNTAX 1:2 expected a value'],
    ['[1 2]', 'CONFIG_SYNTAX 1:4 expected a comma or ]'],
    ['{"a": "x\n"}', 'CONFIG_SYNTAX 1:7 expected a string that ends on its line'],
    ['{"a": "\\q"}', 'CONFIG_SYNTAX 1:7 expected another escape in the string'],
    ['{"a": {}, "a": {}}', 'CONFIG_SYNTAX 1:11 the same name is there twice'],
    ['{a: 1}', 'CONFIG_SYNTAX 1:2 expected a name in double quotes'],
    ['{} {}', 'CONFIG_SYNTAX 1:4 expected nothing behind the closing bracket'],
    ['{"a": truely}', 'CONFIG_SYNTAX 1:7 expected a value'],
    ['{"a": 01}', 'CONFIG_SYNTAX 1:7 expected a value'],
    ['{"a": [', 'CONFIG_SYNTAX 1:8 expected more: the file ends too early'],
    ['', 'CONFIG_SYNTAX 1:1 expected more: the file ends too early'],
    ['{} /* no end', 'CONFIG_SYNTAX 1:4 expected an end of the comment'],
    ['['.repeat(102), 'CONFIG_SYNTAX 1:102 expected at most 100 levels of brackets'],
  ])('%j is refused with its place', (text, wanted) => {
    expect(failure(text)).toBe(wanted);
  });

  it('whatever the text is, it is read or refused with a place inside it', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      '//',
      '/*',
      '*/',
      '#',
      '\n',
      ' ',
      'true',
      '-1e5',
      '0',
      '"a"',
      '\u0000',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        const text = parts.join('');
        const outcome = failure(text);
        const [, line, column] = /^CONFIG_SYNTAX (\d+):(\d+) /.exec(outcome) ?? [];
        if (outcome === 'none') return;
        expect(Number(line)).toBeLessThanOrEqual(text.split('\n').length);
        expect(Number(column)).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
  });

  it('never repeats what it read', () => {
    expect(failure('{"password": "c2VjcmV0" "x"}')).not.toContain('c2VjcmV0');
  });
});
