/** Names that two Braids ask each other for. Reserved: only for a peer whose kind is `braid`. */
import type { Target } from '../shadowsocks/address.ts';

/** A flow. With its PROXY header in the request; or without, then the connection is parked and the header is in the first chunk. */
export const FLOW_TARGET = 'flow.braid.internal';
/** The stream between the two main threads. */
export const CONTROL_TARGET = 'control.braid.internal';
/** Packets of one path, where UDP does not pass on it. */
export const PACKETS_TARGET = 'packets.braid.internal';
/** The caller cannot be dialled: whoever is called may start a flow over this connection, in the other direction. */
export const REVERSE_TARGET = 'reverse.braid.internal';

export const FLOW_REQUEST: Target = { kind: 'name', name: FLOW_TARGET, port: 0 };
export const CONTROL_REQUEST: Target = { kind: 'name', name: CONTROL_TARGET, port: 0 };
export const PACKETS_REQUEST: Target = { kind: 'name', name: PACKETS_TARGET, port: 0 };
export const REVERSE_REQUEST: Target = { kind: 'name', name: REVERSE_TARGET, port: 0 };
