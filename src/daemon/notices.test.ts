import { describe, expect, it } from 'vitest';
import type { Notice } from '../engine/messages.ts';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import { createLog } from '../observe/log.ts';
import { logNotice } from './notices.ts';

const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)]);

function said(...notices: Notice[]): string[] {
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line.trim()), level: 'info', journal: true, nowMs: () => 0 });
  for (const notice of notices) logNotice(log, site, notice);
  return lines;
}

const at = (text: string, port: number) => ({ bytes: Uint8Array.from(text.split('.'), Number), port });

describe('what the workers notice', () => {
  it('is a warning where a configured peer is refused, once for many calls', () => {
    const call: Notice = { what: 'refused', fault: 'bad-tag', from: at('10.0.0.2', 40_000) };
    expect(said(call, call, call)).toEqual([
      expect.stringMatching(/^<4>flows: a call from munich \(10\.0\.0\.2\) is refused fault=bad-tag hint=.*send_key/),
    ]);
  });

  it('names a peer by its key, wherever it calls from', () => {
    expect(said({ what: 'refused', fault: 'timestamp', from: at('192.0.2.66', 1), peer: 0 })).toEqual([
      expect.stringMatching(/a call from munich \(192\.0\.2\.66\) is refused fault=timestamp hint="the two clocks differ/),
    ]);
  });

  it('is silence where a stranger knocks', () => {
    expect(said({ what: 'refused', fault: 'bad-tag', from: at('192.0.2.66', 1) })).toEqual([]);
  });

  it('sends the administrator to the peer that never answers', () => {
    expect(said({ what: 'unanswered', peer: 0, path: 0, ageMs: 10_010, isUsers: true })).toEqual([
      expect.stringMatching(/munich heard a request out and never answered hint=.*clocks/),
    ]);
  });

  it('names both cures for a target that does not answer', () => {
    const timeout: Notice = { what: 'connect-timeout', peer: 0, client: at('172.17.0.9', 5), target: at('172.16.0.5', 80) };
    expect(said(timeout)[0]).toMatch(/172\.16\.0\.5:80 did not answer 172\.17\.0\.9 .*add a route there, or set snat = true for munich/);
  });
});
