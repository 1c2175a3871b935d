/** The line that `log.flows = true` asks for, one at the end of each flow. */
import type { Fields } from './log.ts';

interface EndedFlow {
  /** `near`: it came from our LAN; `far`: it came from the peer. */
  readonly side: 'near' | 'far';
  /** The peer's site. */
  readonly peer: string;
  /** `ADDRESS:PORT` or `[IPV6]:PORT`. */
  readonly client: string;
  readonly destination: string;
  readonly durationMs: number;
  /** Towards the peer, and from it. */
  readonly txBytes: number;
  readonly rxBytes: number;
  readonly subflows: number;
  /** In words: `closed`, `reset by the client`, `refused`, ... */
  readonly end: string;
}

/** `172.16.0.10:41234 -> 172.16.1.20:443` with what happened to it; units are in the names, so that lines can be added up. */
export function flowLine(flow: EndedFlow): { readonly component: 'flow'; readonly text: string; readonly fields: Fields } {
  return {
    component: 'flow',
    text: `${flow.client} -> ${flow.destination}`,
    fields: {
      [flow.side === 'near' ? 'to' : 'from']: flow.peer,
      seconds: (flow.durationMs / 1000).toFixed(3),
      txBytes: flow.txBytes,
      rxBytes: flow.rxBytes,
      subflows: flow.subflows,
      end: flow.end,
    },
  };
}
