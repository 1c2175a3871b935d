/**
 * The way of a byte through a gateway. Everything here runs in order, on the worker's thread, in the worker's scratch.
 *
 *  from the LAN (seal-pump.ts)                                from the peer (open-pump.ts)
 *  1. kernel → scratch: one readv puts up to 4 × 65,535       1. what was left of a chunk, then one read behind it
 *     bytes where they will be sealed                         2. all complete chunks are opened in place
 *  2. each slot is sealed in place, its length in front,      3. scratch → kernel: one writev of the plaintext, which
 *     its tag behind: one contiguous run                         lies in segments between lengths and tags
 *  3. scratch → kernel: one write                             4. the kernel's refusal is copied to `held`, the beginning
 *  4. what the kernel did not take is copied to `held`           of the next chunk to `rest`
 *     and goes first next time
 *
 * A pump never waits: it runs until the kernel has nothing to give (or takes nothing), or until its turn is used up. No allocation, no
 * exception and no closure on this way; a fault of the network ends the flow with a counted reason.
 */
import type { Sockets } from '../kernel/sockets.ts';
import type { BlockPool } from './blocks.ts';
import type { Scratch } from './scratch.ts';
import type { SendWindow } from './send-window.ts';

/** What a turn came to. */
export const WAITING = 0;
export const AGAIN = 1;
export const ENDED = 2;
export const BROKEN = 3;
export type Turn = typeof WAITING | typeof AGAIN | typeof ENDED | typeof BROKEN;

/** Reads a turn before the next flow has its go: about a mebibyte. */
export const READS_A_TURN = 4;

/** Which leg a broken turn broke on; `fault`: the bytes themselves were wrong, or there is no memory for them. */
export type BrokenBy = 'read' | 'write' | 'fault';

export interface PumpParts {
  readonly sockets: Sockets;
  readonly scratch: Scratch;
  readonly pool: BlockPool;
  readonly window: Pick<SendWindow, 'opens'>;
}
