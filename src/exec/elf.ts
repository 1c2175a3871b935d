/**
 * What an ELF file says about itself, as far as it decides how its sockets can be made MPTCP ones: its machine, its loader, and whether and
 * with which Go it was built. Only headers are read, a few KiB of whatever size of a file; nothing of it is trusted to be consistent.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

interface Elf {
  /** e_machine: 62 is x86-64, 183 arm64. */
  readonly machine: number;
  readonly is64Bit: boolean;
  /** The dynamic loader; absent in a static program. */
  readonly interpreter?: string;
  /** Present in a Go program, `''` where the version cannot be read. */
  readonly goVersion?: string;
}

export const EM_X86_64 = 62;
export const EM_AARCH64 = 183;

const HEADER_BYTES = 64;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;
const PF_W = 2;
const PROGRAM_HEADERS_MOST = 128;
const NOTE_MOST_BYTES = 4096;
/** Go puts its build information at the start of the first writable segment, aligned to 16. */
const BUILD_INFO_WITHIN_BYTES = 1024 * 1024;
const BUILD_INFO_MAGIC = Buffer.from('\xff Go buildinf:', 'latin1');
const BUILD_INFO_ALIGN = 16;
const BUILD_INFO_HEADER_BYTES = 32;
const FLAG_INLINE_STRINGS = 2;
const VERSION_MOST_BYTES = 64;

/** @returns undefined where it is no ELF file, or one of another byte order than ours. */
export function readElf(path: string): Elf | undefined {
  const fd = openSync(path, 'r');
  try {
    return parse((offset, length) => readAt(fd, offset, length), fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

type ReadAt = (offset: number, length: number) => Buffer;

function parse(read: ReadAt, size: number): Elf | undefined {
  const header = read(0, HEADER_BYTES);
  const isElf = header.length === HEADER_BYTES && header.toString('latin1', 0, 4) === '\x7fELF' && header[5] === 1;
  if (!isElf) return undefined;
  const is64Bit = header[4] === 2;
  const machine = header.readUInt16LE(18);
  if (!is64Bit) return { machine, is64Bit };
  const segments = programHeaders(header, read, size);
  const interp = segments.find((one) => one.type === PT_INTERP);
  const interpreter = interp && read(interp.offset, Math.min(interp.fileBytes, NOTE_MOST_BYTES)).toString('latin1').replace(/\0.*$/s, '');
  const goVersion = goVersionIn(segments, read);
  return { machine, is64Bit, ...(interpreter && { interpreter }), ...(goVersion !== undefined && { goVersion }) };
}

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly fileBytes: number;
}

function programHeaders(header: Buffer, read: ReadAt, size: number): Segment[] {
  const offset = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const count = Math.min(header.readUInt16LE(56), PROGRAM_HEADERS_MOST);
  const table = entryBytes >= 56 ? read(offset, entryBytes * count) : Buffer.alloc(0);
  return Array.from({ length: Math.floor(table.length / (entryBytes || 1)) }, (_, i) => {
    const at = i * entryBytes;
    return {
      type: table.readUInt32LE(at),
      flags: table.readUInt32LE(at + 4),
      offset: Number(table.readBigUInt64LE(at + 8)),
      fileBytes: Number(table.readBigUInt64LE(at + 32)),
    };
  }).filter((segment) => segment.offset + segment.fileBytes <= size);
}

function goVersionIn(segments: readonly Segment[], read: ReadAt): string | undefined {
  for (const segment of segments.filter((one) => one.type === PT_LOAD && (one.flags & PF_W) !== 0)) {
    const data = read(segment.offset, Math.min(segment.fileBytes, BUILD_INFO_WITHIN_BYTES));
    for (let at = data.indexOf(BUILD_INFO_MAGIC); at >= 0; at = data.indexOf(BUILD_INFO_MAGIC, at + 1))
      if (at % BUILD_INFO_ALIGN === 0 && at + BUILD_INFO_HEADER_BYTES < data.length) return inlineVersion(data, at);
  }
  // Stripped of everything else, a Go program keeps the note with its build id.
  const notes = segments.filter((one) => one.type === PT_NOTE).map((one) => read(one.offset, Math.min(one.fileBytes, NOTE_MOST_BYTES)));
  return notes.some((note) => note.length >= 16 && note.readUInt32LE(0) === 4 && note.toString('latin1', 12, 16) === 'Go\0\0')
    ? ''
    : undefined;
}

/** Since Go 1.18 the version follows the header as a string with its length in front. */
function inlineVersion(data: Buffer, at: number): string {
  if ((data[at + 15]! & FLAG_INLINE_STRINGS) === 0) return '';
  const bytes = data[at + BUILD_INFO_HEADER_BYTES]!;
  const text = data.toString('latin1', at + BUILD_INFO_HEADER_BYTES + 1, at + BUILD_INFO_HEADER_BYTES + 1 + bytes);
  return bytes <= VERSION_MOST_BYTES && /^[\x20-\x7e]+$/.test(text) ? text : '';
}

function readAt(fd: number, offset: number, length: number): Buffer {
  if (!Number.isSafeInteger(offset) || length <= 0) return Buffer.alloc(0);
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}
