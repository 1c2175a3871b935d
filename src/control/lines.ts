/** Bytes of a stream as lines, however they were split on the way. A line has a longest length, so nobody can make us keep more. */
export const LINE_MOST_BYTES = 65_536;

const NEWLINE = 0x0a;

export class LineReader {
  #parts: Buffer[] = [];
  #heldBytes = 0;

  /** @returns the lines that are complete now, without their ends; undefined where one is too long: the stream is of no use any more. */
  push(chunk: Uint8Array): Buffer[] | undefined {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      if (!this.#hold(bytes.subarray(start, end))) return undefined;
      lines.push(Buffer.concat(this.#parts));
      this.#parts = [];
      this.#heldBytes = 0;
      start = end + 1;
    }
    return this.#hold(bytes.subarray(start)) ? lines : undefined;
  }

  #hold(part: Buffer): boolean {
    this.#heldBytes += part.length;
    if (this.#heldBytes > LINE_MOST_BYTES) return false;
    if (part.length > 0) this.#parts.push(part);
    return true;
  }
}
