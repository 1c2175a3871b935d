/** Flags and arguments that several verbs have. */
import { DEFAULT_RUN_DIR } from '../api/run-dir.ts';
import { BRIEF } from './text.ts';

export const config = { kind: 'parsed', parse: String, brief: BRIEF.config, placeholder: 'FILE' } as const;
export const runDir = { kind: 'parsed', parse: String, brief: BRIEF.runDir, placeholder: 'DIR', default: DEFAULT_RUN_DIR } as const;
export const flag = (brief: string) => ({ kind: 'boolean', brief, withNegated: false, optional: true }) as const;
export const json = flag(BRIEF.json);
/** Sockets and files are called by it; somebody may give the file instead. */
export function siteName(text: string): string {
  if (/^[a-z0-9-]{1,11}$/.test(text)) return text;
  throw new Error('expected the name of a site, 1 to 11 of a-z, 0-9 and -');
}
export const argument = (placeholder: string, brief: string) => ({ parse: String, placeholder, brief }) as const;
export const site = (brief: string) => ({ parse: siteName, placeholder: 'SITE', brief }) as const;
export const optionalSite = { ...site(BRIEF.oneSite), optional: true } as const;
export const alias = { c: 'config' } as const;
export const text = (placeholder: string, brief: string) =>
  ({ kind: 'parsed', parse: String, placeholder, brief, optional: true }) as const;
export const texts = (placeholder: string, brief: string) => ({ ...text(placeholder, brief), variadic: true }) as const;
