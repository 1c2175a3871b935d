/** ELF files as small as they can be, for tests: a header, program headers, and what those point to. */
const PHDR_BYTES = 56;
const HEADER_BYTES = 64;

export interface ElfOptions {
  readonly machine?: number;
  readonly bits?: 32 | 64;
  readonly interpreter?: string;
  /** As the linker of Go 1.18 and newer writes it. */
  readonly goVersion?: string;
  /** The note alone, as `strip` leaves it. */
  readonly goNote?: boolean;
}

export function elfFile({ machine = 62, bits = 64, interpreter, goVersion, goNote }: ElfOptions = {}): Buffer {
  const parts: { readonly type: number; readonly flags: number; readonly bytes: Buffer }[] = [];
  if (interpreter !== undefined) parts.push({ type: 3, flags: 4, bytes: Buffer.from(`${interpreter}\0`) });
  if (goNote) parts.push({ type: 4, flags: 4, bytes: Buffer.concat([words(4, 4, 4), Buffer.from('Go\0\0'), Buffer.from('id00')]) });
  if (goVersion !== undefined) parts.push({ type: 1, flags: 6, bytes: buildInfo(goVersion) });
  const header = Buffer.alloc(HEADER_BYTES);
  header.write('\x7fELF', 'latin1');
  header[4] = bits === 64 ? 2 : 1;
  header[5] = 1;
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  header.writeUInt16LE(PHDR_BYTES, 54);
  header.writeUInt16LE(parts.length, 56);
  let offset = HEADER_BYTES + PHDR_BYTES * parts.length;
  const table = parts.map(({ type, flags, bytes }) => {
    const entry = Buffer.alloc(PHDR_BYTES);
    entry.writeUInt32LE(type, 0);
    entry.writeUInt32LE(flags, 4);
    entry.writeBigUInt64LE(BigInt(offset), 8);
    entry.writeBigUInt64LE(BigInt(bytes.length), 32);
    offset += bytes.length;
    return entry;
  });
  return Buffer.concat([header, ...table, ...parts.map((one) => one.bytes)]);
}

function buildInfo(version: string): Buffer {
  const header = Buffer.alloc(32);
  header.write('\xff Go buildinf:', 'latin1');
  header[14] = 8;
  header[15] = 2;
  // What lies in front of it in a real program: the magic where it does not count, since it is not aligned.
  const decoy = Buffer.concat([Buffer.alloc(8), header.subarray(0, 14), Buffer.alloc(10)]);
  return Buffer.concat([decoy, header, Buffer.from([version.length]), Buffer.from(version), Buffer.alloc(64)]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, i * 4);
  return bytes;
}
