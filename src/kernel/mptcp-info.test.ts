import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Address, libcCalls } from '../native/index.ts';
import { ENOPROTOOPT, EOPNOTSUPP, MPTCP_FULL_INFO, MPTCP_INFO, MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO } from './constants.ts';
import { type GetMptcpOption, MptcpInfoReader, mptcpLayout } from './mptcp-info.ts';
import { emitSockaddr, type SocketAddress } from './sockaddr.ts';

/** getsockopt(SOL_MPTCP) as kernels answer it (net/mptcp/sockopt.c), on the reader's own memory. */
interface Subflow {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly state: number;
  readonly rtt: number;
  readonly acked: bigint;
  readonly received: bigint;
}

interface Release {
  readonly infoBytes: number;
  readonly tcpInfoBytes: number;
  readonly fullInfo: boolean;
}

const RELEASES: Record<string, Release> = {
  '6.1': { infoBytes: 48, tcpInfoBytes: 232, fullInfo: false },
  '6.8': { infoBytes: 88, tcpInfoBytes: 248, fullInfo: true },
  '6.12': { infoBytes: 96, tcpInfoBytes: 248, fullInfo: true },
  '6.18': { infoBytes: 96, tcpInfoBytes: 280, fullInfo: true },
};

const directory = mkdtempSync(join(tmpdir(), 'braid-mptcp-info-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'memory');

/** Memory by address, as a kernel sees it: through a file, because nothing else in JavaScript may. */
function peek(address: Address, length: number): Buffer {
  const fd = openSync(file, 'w');
  libcCalls.write(fd, address, length);
  closeSync(fd);
  return readFileSync(file);
}

function poke(address: number, bytes: Buffer): void {
  writeFileSync(file, bytes);
  const fd = openSync(file, 'r');
  libcCalls.read(fd, address as Address, bytes.length);
  closeSync(fd);
}

class FakeKernel {
  readonly asked: number[] = [];
  token = 0xdead_beef;
  subflows: Subflow[] = [];
  /** Every call fails so: the connection fell back to plain TCP. */
  fallenBack: number | undefined;
  /** Called between two calls, as time may pass there. */
  meanwhile: (name: number) => void = () => {};
  readonly #release: Release;

  constructor(release: Release) {
    this.#release = release;
  }

  readonly get: GetMptcpOption = (name, value, length) => {
    this.asked.push(name);
    this.meanwhile(name);
    if (this.fallenBack !== undefined) return -this.fallenBack;
    const given = peek(length, 4).readUInt32LE(0);
    const answer = this.#answer(name, value, given);
    if (!answer) return -ENOPROTOOPT;
    poke(value, answer);
    poke(length, u32(answer.length));
    return 0;
  };

  #answer(name: number, value: Address, given: number): Buffer | undefined {
    const { fullInfo, infoBytes, tcpInfoBytes } = this.#release;
    if (name === MPTCP_INFO) return this.#info().subarray(0, Math.min(given, infoBytes));
    if (name === MPTCP_TCPINFO) return this.#array(peek(value, 16), given, tcpInfoBytes, (one) => this.#tcpInfo(one));
    if (name === MPTCP_SUBFLOW_ADDRS) return this.#array(peek(value, 16), given, 256, addresses);
    return name === MPTCP_FULL_INFO && fullInfo ? this.#full(peek(value, given)) : undefined;
  }

  #info(): Buffer {
    const info = Buffer.alloc(96, 0xee);
    info.writeUInt32LE(this.token, 12);
    return info;
  }

  #tcpInfo({ state, rtt, acked, received }: Subflow): Buffer {
    const info = Buffer.alloc(this.#release.tcpInfoBytes, 0xee);
    info[0] = state;
    info[2] = 3;
    info[4] = 2;
    [16, 24, 44, 52, 56, 80, 144].forEach((at, i) => {
      info.writeUInt32LE(1_000 * (rtt % 1_000) + i, at);
    });
    info.writeUInt32LE(rtt, 68);
    info.writeUInt32LE(rtt > 50_000 ? 0xffff_ffff : rtt - 1, 148);
    info.writeBigUInt64LE(acked + 1n, 160);
    info.writeBigUInt64LE(acked, 120);
    info.writeBigUInt64LE(received, 128);
    return info;
  }

  /** struct mptcp_subflow_data, then as many elements as the caller has room for; each at most as long as the caller's. */
  #array(head: Buffer, given: number, kernelBytes: number, of: (one: Subflow) => Buffer): Buffer {
    const userBytes = head.readUInt32LE(12);
    expect(head.readUInt32LE(0)).toBe(16);
    expect([head.readUInt32LE(4), head.readUInt32LE(8)]).toEqual([0, 0]);
    const room = Math.floor((given - 16) / userBytes);
    const elements = this.subflows.slice(0, room).map((one) => fitted(of(one), userBytes));
    head.writeUInt32LE(this.subflows.length, 4);
    head.writeUInt32LE(kernelBytes, 8);
    return Buffer.concat([head, ...elements]);
  }

  #full(head: Buffer): Buffer {
    const [tcpInfoUser, sfInfoUser, room] = [4, 12, 20].map((at) => head.readUInt32LE(at)) as [number, number, number];
    expect(head.length).toBe(136);
    expect([0, 8, 16].map((at) => head.readUInt32LE(at))).toEqual([0, 0, 0]);
    this.subflows.slice(0, room).forEach((one, i) => {
      poke(Number(head.readBigUInt64LE(24)) + i * sfInfoUser, fitted(Buffer.concat([u32(i + 1), u32(0), addresses(one)]), sfInfoUser));
      poke(Number(head.readBigUInt64LE(32)) + i * tcpInfoUser, fitted(this.#tcpInfo(one), tcpInfoUser));
    });
    head.writeUInt32LE(this.#release.tcpInfoBytes, 0);
    head.writeUInt32LE(264, 8);
    head.writeUInt32LE(this.subflows.length, 16);
    this.#info().subarray(0, this.#release.infoBytes).copy(head, 40);
    return head;
  }
}

/** Two struct sockaddr_storage. */
function addresses({ local, remote }: Subflow): Buffer {
  const bytes = Buffer.alloc(256, 0);
  emitSockaddr(local, bytes, 0);
  emitSockaddr(remote, bytes, 128);
  return bytes;
}

function fitted(element: Buffer, length: number): Buffer {
  return element.length >= length ? element.subarray(0, length) : Buffer.concat([element, Buffer.alloc(length - element.length)]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const four = (last: number, port: number): SocketAddress => ({ bytes: Uint8Array.of(10, last, 0, 1), port });
const six = (last: number, port: number): SocketAddress => ({
  bytes: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? last : i + 1)),
  port,
});

const ESTABLISHED = 1;
const TCP_CLOSE = 7;
const first: Subflow = {
  local: four(0, 40_001),
  remote: four(9, 8_388),
  state: ESTABLISHED,
  rtt: 20_345,
  acked: 11_808_589n,
  received: 77n,
};
const second: Subflow = {
  local: six(1, 40_002),
  remote: six(9, 8_389),
  state: ESTABLISHED,
  rtt: 61_000,
  acked: (1n << 40n) + 5n,
  received: 1n << 33n,
};

function plain(snapshot: ReturnType<MptcpInfoReader['read']>) {
  return (
    snapshot && {
      token: snapshot.token,
      subflows: snapshot.subflows.map(({ local, remote, ...rest }) => ({
        local: [...local.bytes, local.port],
        remote: [...remote.bytes, remote.port],
        ...rest,
      })),
    }
  );
}

const shown = ({ local, remote, rtt, acked, received }: Subflow) => ({
  local: [...local.bytes, local.port],
  remote: [...remote.bytes, remote.port],
  rttMicroseconds: rtt,
  bytesAcked: Number(acked),
  bytesReceived: Number(received),
  state: ESTABLISHED,
  retransmits: 3,
  backoff: 2,
  segmentBytes: 1_000 * (rtt % 1_000),
  unackedSegments: 1_000 * (rtt % 1_000) + 1,
  lastDataSentMs: 1_000 * (rtt % 1_000) + 2,
  lastDataRecvMs: 1_000 * (rtt % 1_000) + 3,
  lastAckRecvMs: 1_000 * (rtt % 1_000) + 4,
  cwndSegments: 1_000 * (rtt % 1_000) + 5,
  notSentBytes: 1_000 * (rtt % 1_000) + 6,
  minRttMicroseconds: rtt > 50_000 ? 0 : rtt - 1,
  deliveryBytesPerSecond: Number(acked) + 1,
});

describe.each(Object.entries(RELEASES))('the answer of Linux %s', (_, release) => {
  function kernelWith(...subflows: Subflow[]): FakeKernel {
    const kernel = new FakeKernel(release);
    kernel.subflows = subflows;
    return kernel;
  }

  it('is token and subflows, either family, 64-bit counts', () => {
    const kernel = kernelWith(first, second);
    expect(plain(new MptcpInfoReader().read(kernel.get))).toEqual({ token: 0xdead_beef, subflows: [shown(first), shown(second)] });
  });

  it('leaves out a closed first subflow that the kernel still lists', () => {
    const kernel = kernelWith({ ...first, state: TCP_CLOSE }, second);
    expect(plain(new MptcpInfoReader().read(kernel.get))?.subflows).toEqual([shown(second)]);
  });

  it('shows nothing of the connection that was asked before', () => {
    const reader = new MptcpInfoReader();
    reader.read(kernelWith(first, second).get);
    expect(plain(reader.read(kernelWith(second).get))?.subflows).toEqual([shown(second)]);
    expect(plain(reader.read(kernelWith().get))?.subflows).toEqual([]);
  });

  it('is cut at sixteen subflows', () => {
    const many = Array.from({ length: 20 }, (_, i) => ({ ...first, rtt: i + 1 }));
    const snapshot = new MptcpInfoReader().read(kernelWith(...many).get);
    expect(snapshot?.subflows.map((one) => one.rttMicroseconds)).toEqual(many.slice(0, 16).map((one) => one.rtt));
  });

  it.each([
    ['EOPNOTSUPP', EOPNOTSUPP],
    ['ENOPROTOOPT, as IPv6 has it', ENOPROTOOPT],
  ])('is none for a connection that fell back to TCP (%s), and the next connection is asked as before', (_, error) => {
    const reader = new MptcpInfoReader();
    const kernel = kernelWith(first);
    kernel.fallenBack = error;
    expect(reader.read(kernel.get)).toBeUndefined();
    const next = kernelWith(first, second);
    expect(plain(reader.read(next.get))?.subflows).toHaveLength(2);
    expect(next.asked[0]).toBe(MPTCP_FULL_INFO);
  });
});

describe('a kernel without MPTCP_FULL_INFO', () => {
  it('is asked for it once, and in pieces from then on', () => {
    const reader = new MptcpInfoReader();
    const kernel = new FakeKernel(RELEASES['6.1']!);
    kernel.subflows = [first];
    reader.read(kernel.get);
    reader.read(kernel.get);
    const pieces = [MPTCP_INFO, MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO];
    expect(kernel.asked).toEqual([MPTCP_FULL_INFO, ...pieces, ...pieces]);
  });

  it('is not believed where a subflow came between two pieces', () => {
    const reader = new MptcpInfoReader();
    const kernel = new FakeKernel(RELEASES['6.1']!);
    kernel.subflows = [first];
    kernel.meanwhile = (name) => {
      if (name === MPTCP_TCPINFO) kernel.subflows = [second, first];
    };
    expect(reader.read(kernel.get)).toBeUndefined();
    expect(plain(reader.read(kernel.get))?.subflows).toEqual([shown(second), shown(first)]);
  });
});

describe('the layouts', () => {
  it("have the sizes of the kernel's headers", () => {
    expect(mptcpLayout).toMatchObject({ FULL_BYTES: 136, SFINFO_BYTES: 264, ADDRS_BYTES: 256, INFO_BYTES: 96, TCPINFO_BYTES: 248 });
  });
});
