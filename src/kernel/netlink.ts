/**
 * Netlink: how one asks the kernel for what has no system call of its own. Messages and attributes are plain bytes here; what they mean is
 * said by the files above (mptcp-pm.ts). Requests are synchronous: the kernel answers inside `send`, before `recv` is called.
 *
 *    message    ┌ length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32 │ payload … ┐   host order, padded to 4
 *    attribute  ┌ length u16 │ type u16 │ value … ┐                                          padded to 4
 *
 * Everything that arrives is bounds-checked; a message that does not fit its own lengths is KERNEL_LAYOUT, not a guess.
 */
import { BraidError } from '../error.ts';
import { errnoName } from './errno.ts';

/** One socket of AF_NETLINK. `LinuxNetlink` is the real one; the twin answers from a script. */
export interface NetlinkPort {
  /** @returns 0 or -errno. */
  send(message: Buffer): number;
  /** @returns the next datagram, which the caller may keep, or -errno; -EAGAIN where there is none. */
  receive(): Buffer | number;
  /** Subscribes to a multicast group. @returns 0 or -errno. */
  join(group: number): number;
  /** Lets nothing more in, while still counting as a listener of its groups. @returns 0 or -errno. */
  deafen(): number;
  close(): void;
}

export interface NetlinkFailure {
  /** Name of the errno, `ENOTCONN`. */
  readonly error: string;
  /** The kernel's own words (NLMSGERR_ATTR_MSG); empty where it has none. */
  readonly words: string;
}

interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

// linux/netlink.h
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;

/** Asks and collects the answer's payloads. Answers to earlier, given-up questions are skipped by their sequence number. */
export class NetlinkSocket {
  readonly port: NetlinkPort;
  #sequence = 0;

  constructor(port: NetlinkPort) {
    this.port = port;
  }

  /** @returns payloads of the answer (none for a bare acknowledgement), or why the kernel refused. */
  request(type: number, flags: number, payload: Buffer): readonly Buffer[] | NetlinkFailure {
    this.#sequence = (this.#sequence + 1) >>> 0;
    const wanted = this.#sequence;
    const sent = this.port.send(emitMessage({ type, flags: flags | NLM_F_REQUEST | NLM_F_ACK, sequence: wanted, payload }));
    if (sent < 0) return { error: errnoName(sent), words: '' };
    const parts: Buffer[] = [];
    for (;;) {
      const datagram = this.port.receive();
      if (typeof datagram === 'number') return { error: errnoName(datagram), words: '' };
      for (const message of parseMessages(datagram)) {
        if (message.sequence !== wanted) continue;
        if (message.type === NLMSG_DONE) return parts;
        if (message.type !== NLMSG_ERROR) parts.push(message.payload);
        else return parseAcknowledgement(message) ?? parts;
      }
    }
  }
}

export function isFailure(answer: readonly Buffer[] | NetlinkFailure): answer is NetlinkFailure {
  return !Array.isArray(answer);
}

export function emitMessage(message: NetlinkMessage): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + message.payload.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(message.type, 4);
  bytes.writeUInt16LE(message.flags, 6);
  bytes.writeUInt32LE(message.sequence, 8);
  message.payload.copy(bytes, HEADER_BYTES);
  return bytes;
}

/** @throws BraidError KERNEL_LAYOUT where a length points outside. */
export function parseMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_BYTES <= datagram.length; ) {
    const length = datagram.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > datagram.length) throw layout('message', datagram.length - at, length);
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      payload: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += aligned(length);
  }
  return messages;
}

/** struct nlmsgerr: error s32, then the request's header, then (unless capped) its payload, then attributes with the kernel's words. */
function parseAcknowledgement(message: NetlinkMessage): NetlinkFailure | undefined {
  const { payload, flags } = message;
  if (payload.length < 4) throw layout('acknowledgement', payload.length, 4);
  const error = payload.readInt32LE(0);
  if (error === 0) return undefined;
  let words = '';
  if (flags & NLM_F_ACK_TLVS && payload.length >= 4 + HEADER_BYTES) {
    const echoed = flags & NLM_F_CAPPED ? HEADER_BYTES : aligned(payload.readUInt32LE(4));
    if (4 + echoed <= payload.length) words = text(parseAttributes(payload.subarray(4 + echoed)).get(NLMSGERR_ATTR_MSG));
  }
  return { error: errnoName(error), words };
}

/** Later attributes of one type win, as in the kernel. @throws BraidError KERNEL_LAYOUT where a length points outside. */
export function parseAttributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + ATTRIBUTE_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > bytes.length) throw layout('attribute', bytes.length - at, length);
    found.set(bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += aligned(length);
  }
  return found;
}

export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(aligned(ATTRIBUTE_HEADER_BYTES + value.length));
  bytes.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, ATTRIBUTE_HEADER_BYTES);
  return bytes;
}

export function attributeU8(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value));
}

export function attributeU16(type: number, value: number): Buffer {
  const bytes = attribute(type, new Uint8Array(2));
  bytes.writeUInt16LE(value, ATTRIBUTE_HEADER_BYTES);
  return bytes;
}

export function attributeU32(type: number, value: number): Buffer {
  const bytes = attribute(type, new Uint8Array(4));
  bytes.writeUInt32LE(value, ATTRIBUTE_HEADER_BYTES);
  return bytes;
}

export function attributeText(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`));
}

export function nested(type: number, ...children: readonly Buffer[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(children));
}

/** A NUL-terminated string attribute; empty where it is absent. */
export function text(value: Buffer | undefined): string {
  if (!value) return '';
  const end = value.indexOf(0);
  return value.toString('utf8', 0, end < 0 ? value.length : end);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}

function layout(what: string, have: number, says: number): BraidError {
  return new BraidError('KERNEL_LAYOUT', `netlink ${what} expected within ${have} bytes, got length ${says}`);
}
