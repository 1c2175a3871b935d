import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withoutPeer, withPeer } from './edit.ts';

const section = (site: string) => `# a word on ${site}\n[[peer]]\nsite = "${site}"\nlan = ["172.16.1.0/24"]\n`;
const BEFORE = `# the head
site = "berlin" # the name

[[uplink]]
name = "fiber" # [[peer]] is only a word here
`;

describe('a file with a peer more or less', () => {
  it('keeps every other byte', () => {
    const middles = fc.array(fc.constantFrom('', '# why', '[log]\nflows = true # yes', '[network]\nmark = 7\n# of the network\n'), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(middles, fc.boolean(), (middle, hasEnd) => {
        const unique = [...new Set(middle)];
        const rest = `${BEFORE}${unique.join('\n')}${hasEnd ? '\n' : ''}`;
        const one = withPeer(rest, section('munich'));
        const both = withPeer(one, section('paris'));
        expect(both.startsWith(rest)).toBe(true);
        expect(withoutPeer(both, 'paris').trimEnd()).toBe(one.trimEnd());
        expect(withoutPeer(one, 'munich').trimEnd()).toBe(rest.trimEnd());
        const other = withoutPeer(both, 'munich');
        expect(other).toContain(section('paris').trimEnd());
        expect(other).not.toContain('munich');
        expect(other.startsWith(rest.trimEnd())).toBe(true);
      }),
    );
  });

  it('takes its sub-tables along, and leaves what stands behind', () => {
    const text = `${BEFORE}\n${section('munich')}\n[[peer.allow]]\nports = [22]\n\n[[peer.allow]]\nports = [\n  [443][0],\n]\n`.replace(
      '[443][0]',
      '443',
    );
    const behind = '\n# what follows\n[log]\nflows = true\n';
    expect(withoutPeer(text + behind, 'munich')).toBe(`${BEFORE}${behind}`);
  });

  it('is refused where the section cannot be told from the rest', () => {
    const inline = `${BEFORE.replace('site = "berlin"', 'site = "berlin"\npeer = [{ site = "munich" }]')}`;
    const parted = `${BEFORE}\n${section('munich')}\n[log]\nflows = true\n\n[[peer.allow]]\nports = [22]\n`;
    for (const text of [inline, parted]) expect(() => withoutPeer(text, 'munich')).toThrow(/munich/);
    expect(() => withPeer(inline, section('paris'))).toThrow();
    expect(() => withoutPeer(BEFORE, 'munich')).toThrow('munich is not in');
    expect(() => withPeer(BEFORE, '[[peer]]\nsite = "x"\n[log]\nflows = true')).toThrow();
  });
});
