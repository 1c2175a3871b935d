/** Values with words of their own for what is wrong with them. */
import * as z from 'zod';

/** What a refinement says: one line, and the way out where it is known. */
export interface Advice {
  readonly message: string;
  readonly hint?: string;
}

/** A string that `judge` finds nothing wrong with. */
export function checkedText(judge: (text: string) => Advice | undefined) {
  return z.string().superRefine((text, context) => {
    const advice = judge(text);
    if (advice) context.addIssue({ code: 'custom', message: advice.message, params: { hint: advice.hint } });
  });
}
