import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Secret } from './secret.ts';

describe('secret', () => {
  const bytes = Uint8Array.from([1, 2, 3, 4]);

  it('does not print', () => {
    const secret = new Secret(bytes);
    const printed = [String(secret), JSON.stringify({ secret }), inspect({ secret }, { showHidden: true }), `${secret}`];
    for (const text of printed) {
      expect(text).toContain('(hidden)');
      expect(text).not.toMatch(/1.*2.*3.*4|AQIDBA|01020304/);
    }
  });

  it('keeps its own copy and compares by value', () => {
    const own = Uint8Array.from(bytes);
    const secret = new Secret(own);
    own.fill(0);
    expect([...secret.reveal()]).toEqual([1, 2, 3, 4]);
    expect(secret.equals(new Secret(bytes))).toBe(true);
    expect(secret.equals(new Secret(bytes.subarray(1)))).toBe(false);
  });

  it('is empty of meaning after wipe', () => {
    const secret = new Secret(bytes);
    secret.wipe();
    expect([...secret.reveal()]).toEqual([0, 0, 0, 0]);
    expect(secret.lengthBytes).toBe(4);
  });
});
