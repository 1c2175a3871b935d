/** What is said over the emulator's socket. */
import type { ChannelSettings } from './model.ts';
import type { ChannelCounters } from './shared.ts';

export type LinkSettings = Partial<ChannelSettings>;
export type LinkDirection = 'both' | 'forward' | 'backward';

export type LinkRequest =
  | { readonly kind: 'set'; readonly uplink: string; readonly direction: LinkDirection; readonly settings: LinkSettings }
  | { readonly kind: 'carrier'; readonly uplink: string; readonly end: 0 | 1; readonly up: boolean }
  | { readonly kind: 'counters'; readonly uplink: string };

export interface LinkResponse {
  readonly error?: string;
  readonly counters?: readonly [ChannelCounters, ChannelCounters];
}
