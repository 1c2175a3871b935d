import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cleanMappings, giveBackMemory } from './spare-memory.ts';

const SMAPS = `00400000-00500000 r--p 00000000 08:01 42                      /opt/node/bin/node
Rss:                 900 kB
Anonymous:             0 kB
00500000-02500000 r-xp 00100000 08:01 42                      /opt/node/bin/node
Rss:               30000 kB
Anonymous:             0 kB
02500000-02700000 r--p 02100000 08:01 42                      /opt/node/bin/node
Anonymous:            24 kB
02700000-02710000 rw-p 02300000 08:01 42                      /opt/node/bin/node
Anonymous:             0 kB
7f0000000000-7f0000100000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000200000-7f0000201000 r--s 00000000 08:01 43                      /var/shared
Anonymous:             0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
`;

describe('memory that is given back', () => {
  it('is that of files to which nobody can have written, and not what the loader filled in', () => {
    expect(cleanMappings(SMAPS)).toEqual([
      { start: 0x400000, length: 0x100000 },
      { start: 0x500000, length: 0x2000000 },
    ]);
  });

  it('is not resident any more, and everything still runs', () => {
    const residentOf = () => Number(/RssFile:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
    const before = residentOf();
    giveBackMemory();
    expect(residentOf()).toBeLessThan(before * 0.8);
    expect(JSON.parse(JSON.stringify({ is: ['well', 1n.toString()] }))).toEqual({ is: ['well', '1'] });
  });
});
