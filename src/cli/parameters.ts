/** Flags and arguments that several verbs have. */
import { DEFAULT_RUN_DIR } from '../api/run-dir.ts';
import { BRIEF } from './text.ts';

export const config = { kind: 'parsed', parse: String, brief: BRIEF.config, placeholder: 'FILE' } as const;
export const runDir = { kind: 'parsed', parse: String, brief: BRIEF.runDir, placeholder: 'DIR', default: DEFAULT_RUN_DIR } as const;
export const flag = (brief: string) => ({ kind: 'boolean', brief, withNegated: false, optional: true }) as const;
export const json = flag(BRIEF.json);
export const argument = (placeholder: string, brief: string) => ({ parse: String, placeholder, brief }) as const;
export const optionalSite = { ...argument('SITE', BRIEF.oneSite), optional: true } as const;
export const alias = { c: 'config' } as const;
export const text = (placeholder: string, brief: string) =>
  ({ kind: 'parsed', parse: String, placeholder, brief, optional: true }) as const;
export const texts = (placeholder: string, brief: string) => ({ ...text(placeholder, brief), variadic: true }) as const;
