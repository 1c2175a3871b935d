/** The room's door: what `crypto` and `kernel` may use. */
export { type EvpCalls, errno, type Handle, libcCalls, loadEvp } from './ffi.ts';
export { type Address, SLAB_MIN_BYTES, Slab } from './slab.ts';
export { collectGarbage, giveBackMemory } from './spare-memory.ts';
