import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { MemoryPathManager } from './memory-path-manager.ts';
import { LinuxPathManager, type PathManager } from './mptcp-pm.ts';
import { attribute, attributeText, attributeU16, attributeU32, emitMessage, type NetlinkPort, nested, parseMessages } from './netlink.ts';

const EAGAIN = 11;
const near = parseAddress('10.1.0.1')!;
const far = { address: parseAddress('10.1.0.2')!, port: 8388 };

/** Answers each request with what `answer` gives, under the request's sequence number; keeps what was asked. */
class ScriptedPort implements NetlinkPort {
  readonly asked: Buffer[] = [];
  readonly joined: number[] = [];
  deaf = false;
  closed = false;
  readonly #answer: (request: Buffer) => Buffer | number;
  #waiting: Buffer[] = [];

  constructor(answer: (request: Buffer) => Buffer | number) {
    this.#answer = answer;
  }
  send(message: Buffer): number {
    this.asked.push(message);
    const answer = this.#answer(message);
    if (typeof answer === 'number') return answer;
    const reply = Buffer.from(answer);
    for (let at = 0; at < reply.length; at += (reply.readUInt32LE(at) + 3) & ~3) reply.writeUInt32LE(message.readUInt32LE(8), at + 8);
    this.#waiting.push(reply);
    return 0;
  }
  receive(): Buffer | number {
    return this.#waiting.shift() ?? -EAGAIN;
  }
  join(group: number): number {
    this.joined.push(group);
    return 0;
  }
  deafen(): number {
    this.deaf = true;
    return 0;
  }
  close(): void {
    this.closed = true;
  }
}

const acknowledgement = (errno: number, request: Buffer, more: { words?: string; capped?: boolean } = {}) => {
  const error = Buffer.alloc(4);
  error.writeInt32LE(-errno);
  const echoed = more.capped === false ? request : request.subarray(0, 16);
  const words = more.words === undefined ? [] : [attributeText(1, more.words)];
  const flags = (more.capped === false ? 0 : 0x100) | (words.length > 0 ? 0x200 : 0);
  return emitMessage({ type: 2, flags, sequence: 0, payload: Buffer.concat([error, echoed, ...words]) });
};

/** Attribute sets as the kernels give them: 6.1 lists operations one by one, newer ones know more attributes and put the groups in another order. */
const families: Record<string, (id: number, group: number) => Buffer[]> = {
  '6.1': (id, group) => [
    attributeText(2, 'mptcp_pm'),
    attributeU16(1, id),
    attributeU32(3, 1),
    attributeU32(4, 0),
    attributeU32(5, 6),
    nested(6, ...Array.from({ length: 11 }, (_, i) => nested(i + 1, attributeU32(1, i + 1), attributeU32(2, 0x1a)))),
    nested(7, groupOf(1, 'mptcp_pm_cmds', group - 1), groupOf(2, 'mptcp_pm_events', group)),
  ],
  '6.8': (id, group) => [
    attributeText(2, 'mptcp_pm'),
    attributeU16(1, id),
    attributeU32(3, 1),
    attributeU32(4, 0),
    attributeU32(5, 7),
    nested(7, groupOf(1, 'mptcp_pm_cmds', group - 1), groupOf(2, 'mptcp_pm_events', group)),
  ],
  '6.12': (id, group) => [
    attributeU16(1, id),
    attributeText(2, 'mptcp_pm'),
    attribute(99, Buffer.from('of a later kernel')),
    nested(7, groupOf(1, 'mptcp_pm_events', group), groupOf(2, 'mptcp_pm_cmds', group + 1)),
  ],
};

function groupOf(index: number, name: string, id: number): Buffer {
  return nested(index, attributeU32(2, id), attributeText(1, name));
}

function family(attributes: readonly Buffer[], request: Buffer): Buffer {
  const answer = emitMessage({ type: 16, flags: 0, sequence: 0, payload: Buffer.concat([Uint8Array.of(1, 2, 0, 0), ...attributes]) });
  return Buffer.concat([answer, acknowledgement(0, request)]);
}

function kernel(release: string, refuse: (request: Buffer) => Buffer = (request) => acknowledgement(0, request)) {
  const ports: ScriptedPort[] = [];
  const open = () => {
    const port = new ScriptedPort((request) =>
      request.readUInt16LE(4) === 16 ? family(families[release]!(0x1c, 9), request) : refuse(request),
    );
    ports.push(port);
    return port;
  };
  return { manager: new LinuxPathManager(open), ports };
}

describe('the path manager by netlink', () => {
  for (const release of Object.keys(families)) {
    it(`finds the family and its events group on ${release}`, () => {
      const { manager, ports } = kernel(release);
      expect(manager.acceptJoins()).toBe('ok');
      expect(ports[1]).toMatchObject({ deaf: true, joined: [9] });
      expect(manager.acceptJoins()).toBe('ok');
      expect(ports).toHaveLength(2);
      manager.close();
      expect(ports.every((port) => port.closed)).toBe(true);
    });
  }

  it('writes SUBFLOW_CREATE as the header says, byte for byte', () => {
    const { manager, ports } = kernel('6.12');
    expect(manager.createSubflow(0x01020304, near, 2, far)).toBe('ok');
    const message = parseMessages(ports[0]!.asked[1]!)[0]!;
    expect(message.type).toBe(0x1c);
    expect(message.payload.toString('hex')).toBe(
      [
        '0a010000',
        '0800040004030201',
        '1c000180060001000200000008000300',
        '0a01000105000200',
        '02000000',
        '1c000680060001000200000008000300',
      ]
        .concat('0a010002', '06000500c4200000')
        .join(''),
    );
  });

  it('writes ANNOUNCE and REMOVE as the header says, byte for byte', () => {
    const { manager, ports } = kernel('6.12');
    expect([manager.announceAddress(0x01020304, near, 2), manager.takeBackAddress(0x01020304, 2)]).toEqual(['ok', 'ok']);
    const said = ports[0]!.asked.slice(1).map((message) => parseMessages(message)[0]!.payload.toString('hex'));
    expect(said).toEqual([
      ['08010000', '0800040004030201', '24000180', '0600010002000000', '080003000a010001', '0500020002000000', '0800060001000000'].join(''),
      ['09010000', '0800040004030201', '0500050002000000'].join(''),
    ]);
  });

  it('writes IPv6 addresses with their own family and attribute', () => {
    const { manager, ports } = kernel('6.1');
    manager.createSubflow(7, parseAddress('fd00:1::1')!, 2, { address: parseAddress('fd00:1::2')!, port: 1 });
    const hex = ports[0]!.asked[1]!.toString('hex');
    expect(hex).toContain('060001000a000000');
    expect(hex).toContain('14000400fd000001000000000000000000000001');
  });

  it('names the refusal, with or without the words of a newer kernel, capped or with the request in full', () => {
    const refusals = [
      (request: Buffer) => acknowledgement(107, request),
      (request: Buffer) => acknowledgement(107, request, { words: 'connect error: -107' }),
      (request: Buffer) => acknowledgement(107, request, { words: 'connect error: -107', capped: false }),
      (request: Buffer) => acknowledgement(107, request, { capped: false }),
    ];
    for (const refuse of refusals) expect(kernel('6.8', refuse).manager.createSubflow(1, near, 2, far)).toBe('ENOTCONN');
  });

  it('refuses a kernel without MPTCP and one whose answer has no events group', () => {
    const open = (answer: (request: Buffer) => Buffer) => () => new ScriptedPort(answer);
    expect(() => new LinuxPathManager(open((request) => acknowledgement(2, request)))).toThrow(/got ENOENT/);
    expect(() => new LinuxPathManager(open((request) => family([attributeU16(1, 5)], request)))).toThrow(/expected a group/);
    expect(() => new LinuxPathManager(open((request) => family([attributeU16(2, 5)], request)))).toThrow(
      /family id expected 2 bytes, got none/,
    );
  });

  it('answers EAGAIN where the kernel says nothing, and the errno where it does not take the request', () => {
    const { manager } = kernel('6.12', () => Buffer.alloc(0));
    expect(manager.createSubflow(1, near, 2, far)).toBe('EAGAIN');
    expect(() => new LinuxPathManager(() => new ScriptedPort(() => -1))).toThrow(/EPERM/);
  });
});

const at = (text: string, port: number) => ({ bytes: parseAddress(text)!.bytes, port });

describe('the in-memory path manager', () => {
  it('answers as the kernel was seen to', () => {
    const memory = new MemoryPathManager();
    const manager: PathManager = memory;
    expect(manager.createSubflow(5, near, 2, far)).toBe('EINVAL');
    const connection = memory.connect(5, at('10.0.0.1', 4_000), at('10.0.0.2', 8_388));
    expect(manager.createSubflow(5, near, 2, far)).toBe('ENOTCONN');
    connection.established = true;
    expect(manager.createSubflow(5, near, 2, far)).toBe('EADDRNOTAVAIL');
    memory.addresses.add('10.1.0.1');
    expect(manager.createSubflow(5, near, 2, far)).toBe('ok');
    expect(manager.createSubflow(5, near, 7, far)).toBe('EINVAL');
    expect(manager.createSubflow(5, parseAddress('10.2.0.1')!, 2, far)).toBe('EINVAL');
    const { port } = connection.subflows[1]!.local;
    expect(manager.destroySubflow(5, { address: near, port: port + 1 }, far)).toBe('ESRCH');
    expect(manager.destroySubflow(5, { address: near, port }, far)).toBe('ok');
    expect(manager.destroySubflow(5, { address: near, port }, far)).toBe('ESRCH');
    expect(manager.createSubflow(5, near, 3, far)).toBe('ok');
    expect(manager.acceptJoins()).toBe('ok');
    expect(memory.joinsAccepted).toBe(true);
  });

  it('shows a join and a departure at the other end, and what becomes of a join that nobody answers', () => {
    const memory = new MemoryPathManager();
    const here = memory.connect(5, at('10.0.0.1', 4_000), at('10.0.0.2', 8_388));
    const there = memory.connect(6, at('10.0.0.2', 8_388), at('10.0.0.1', 4_000));
    here.other = there;
    here.established = true;
    memory.addresses.add('10.1.0.1');
    memory.createSubflow(5, near, 2, far);
    expect([here.subflows.length, there.subflows.length]).toEqual([2, 2]);
    memory.destroySubflow(5, { address: near, port: here.subflows[1]!.local.port }, far);
    expect([here.subflows.length, there.subflows.length]).toEqual([1, 1]);
    memory.fates.set('10.1.0.2', 'silent');
    memory.createSubflow(5, near, 2, far);
    expect([here.subflows[1]!.state, there.subflows.length]).toEqual([2, 1]);
    memory.fates.set('10.1.0.2', 'refused');
    memory.createSubflow(5, near, 2, far);
    expect([here.subflows.length, memory.calls]).toEqual([2, 4]);
  });
});
