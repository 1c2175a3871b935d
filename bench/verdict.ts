/** A budget, and whether a run kept it. */
export interface Verdict {
  readonly budget: string;
  readonly state: 'met' | 'missed' | 'not measured';
  readonly figure: string;
}

export function judged(budget: string, isMet: boolean, figure: string): Verdict {
  return { budget, state: isMet ? 'met' : 'missed', figure };
}

export function notMeasured(budget: string, why: string): Verdict {
  return { budget, state: 'not measured', figure: why };
}
