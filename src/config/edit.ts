/**
 * A peer more or less in the text of a `SITE.toml`, with every comment and every blank of the administrator's kept. What comes out is parsed
 * again and compared: an edit that says anything else than what was meant is none.
 */
import { isDeepStrictEqual } from 'node:util';
import { parse } from 'smol-toml';
import { BraidError } from '../error.ts';
import { locate } from './locate.ts';

interface Draft {
  readonly peer?: readonly { readonly site?: unknown }[];
}

/** @param section a whole `[[peer]]` section. @throws BraidError CONFIG_EDIT */
export function withPeer(text: string, section: string): string {
  const gap = text === '' || text.endsWith('\n\n') ? '' : text.endsWith('\n') ? '\n' : '\n\n';
  const edited = `${text}${gap}${section.trimEnd()}\n`;
  const before = draftOf(text);
  const added = draftOf(section)?.peer;
  const wanted = before && added && { ...before, peer: [...(before.peer ?? []), ...added] };
  if (!wanted || !isDeepStrictEqual(draftOf(edited), wanted)) throw unfit('a [[peer]] section cannot be put behind what is in the file');
  return edited;
}

/** Comments directly above its header go with it. @throws BraidError CONFIG_EDIT */
export function withoutPeer(text: string, site: string): string {
  const before = draftOf(text);
  const index = before?.peer?.findIndex((one) => one.site === site) ?? -1;
  const lines = text.split('\n');
  const bounds = index < 0 ? undefined : sectionOf(text, lines, before!, index);
  if (!bounds) throw unfit(`${site} is not in a [[peer]] section of its own`);
  const [from, to] = bounds;
  const rest = [...lines.slice(0, from), ...lines.slice(to)];
  // The blank lines that parted it from both neighbours.
  while (from > 0 && rest[from - 1]?.trim() === '' && (rest[from] ?? '').trim() === '' && from < rest.length - 1) rest.splice(from, 1);
  const edited = rest.join('\n');
  const { peer: peers = [], ...others } = before!;
  const left = peers.filter((_, i) => i !== index);
  if (!isDeepStrictEqual(draftOf(edited), left.length > 0 ? { ...others, peer: left } : others))
    throw unfit(`the section of ${site} cannot be told from the rest of the file`);
  return edited;
}

/** @returns its first line and the one behind its last, from 0. */
function sectionOf(text: string, lines: readonly string[], draft: Draft, index: number): readonly [number, number] | undefined {
  const places = locate(text);
  const lineOf = (path: readonly (string | number)[]) => places.value(path).line - 1;
  const header = lineOf(['peer', index]);
  if (!lines[header]?.trimStart().startsWith('[[')) return undefined;
  const others = Object.entries(draft).flatMap(([key, value]) =>
    Array.isArray(value) ? value.map((_, i) => lineOf([key, i])) : [lineOf([key])],
  );
  let to = Math.min(lines.length, ...others.filter((line) => line > header && lines[line]!.trimStart().startsWith('[')));
  while (to > header + 1 && to < lines.length && isComment(lines[to - 1]!)) to--;
  let from = header;
  while (from > 0 && isComment(lines[from - 1]!)) from--;
  // Comments that follow something else without a blank line are about that.
  if (from > 0 && lines[from - 1]!.trim() !== '') from = header;
  return [from, to];
}

function isComment(line: string): boolean {
  return line.trimStart().startsWith('#');
}

function draftOf(text: string): Draft | undefined {
  try {
    // Plain objects, to be compared.
    return JSON.parse(JSON.stringify(parse(text, { unsafeKeyBehaviour: 'throw' }))) as Draft;
  } catch {
    return undefined;
  }
}

function unfit(why: string): BraidError {
  return new BraidError('CONFIG_EDIT', why, { hint: 'change the file by hand, then `braid reload`' });
}
