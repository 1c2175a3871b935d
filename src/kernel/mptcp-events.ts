/**
 * What the kernel tells of its MPTCP connections, one line each, as `ip mptcp monitor` prints them:
 *
 *     [SF_ESTABLISHED] token=f7c2d71f remid=0 locid=1 saddr4=10.99.0.2 daddr4=10.99.0.1 sport=55243 dport=42975 backup=0
 *
 * The socket is open only while somebody looks. It is polled; what the kernel drops because we are too slow is said in a line of its own,
 * never silent. The numbers are linux/mptcp.h's: enum mptcp_event_type, MPTCP_ATTR_*.
 */
import { BraidError } from '../error.ts';
import { addressFromBytes } from '../wire/ip.ts';
import { errnoName } from './errno.ts';
import { LinuxNetlink, NETLINK_GENERIC } from './linux-netlink.ts';
import { COMMAND_BYTES, mptcpFamily } from './mptcp-pm.ts';
import { type NetlinkPort, NetlinkSocket, parseAttributes, parseMessages } from './netlink.ts';

export interface MptcpEvents {
  /** @returns what ends it. @throws BraidError KERNEL_NO_MPTCP, KERNEL_CALL where the kernel does not let us listen. */
  follow(onLine: (line: string) => void): () => void;
}

/** A field is absent where the kernel did not send it. */
export interface MptcpEvent {
  /** iproute2's word, `UNKNOWN 17` for one of a later kernel. */
  readonly name: string;
  readonly token?: number;
  readonly remoteId?: number;
  readonly localId?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly isIpv6: boolean;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly isBackup?: boolean;
  /** An errno. */
  readonly error?: number;
  readonly flags?: number;
  readonly timeout?: number;
  readonly interfaceIndex?: number;
  readonly resetReason?: number;
  readonly resetFlags?: number;
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [1, 'CREATED'],
  [2, 'ESTABLISHED'],
  [3, 'CLOSED'],
  [6, 'ANNOUNCED'],
  [7, 'REMOVED'],
  [10, 'SF_ESTABLISHED'],
  [11, 'SF_CLOSED'],
  [13, 'SF_PRIO'],
  [15, 'LISTENER_CREATED'],
  [16, 'LISTENER_CLOSED'],
]);

const ATTR_TOKEN = 1;
const ATTR_LOC_ID = 3;
const ATTR_REM_ID = 4;
const ATTR_SADDR4 = 5;
const ATTR_SADDR6 = 6;
const ATTR_DADDR4 = 7;
const ATTR_DADDR6 = 8;
const ATTR_SPORT = 9;
const ATTR_DPORT = 10;
const ATTR_BACKUP = 11;
const ATTR_ERROR = 12;
const ATTR_FLAGS = 13;
const ATTR_TIMEOUT = 14;
const ATTR_IF_IDX = 15;
const ATTR_RESET_REASON = 16;
const ATTR_RESET_FLAGS = 17;

const POLL_MS = 50;
/** Datagrams a turn: a storm must not hold the loop that also tells paths from dead ones. */
const READS_MOST = 500;

export class LinuxMptcpEvents implements MptcpEvents {
  readonly #open: () => NetlinkPort;
  readonly #every: (intervalMs: number, tick: () => void) => () => void;

  constructor(open: () => NetlinkPort = () => new LinuxNetlink(NETLINK_GENERIC), every = unhurried) {
    this.#open = open;
    this.#every = every;
  }

  follow(onLine: (line: string) => void): () => void {
    const port = this.#open();
    let family: ReturnType<typeof mptcpFamily>;
    try {
      family = mptcpFamily(new NetlinkSocket(port));
      const failed = port.join(family.eventsGroup);
      if (failed < 0)
        throw new BraidError('KERNEL_CALL', `joining the kernel's MPTCP events expected to be allowed, got ${errnoName(failed)}`);
    } catch (error) {
      port.close();
      throw error;
    }
    const stop = this.#every(POLL_MS, () => {
      if (!readSome(port, family.id, onLine)) end();
    });
    let open = true;
    const end = () => {
      if (!open) return;
      open = false;
      stop();
      port.close();
    };
    return end;
  }
}

/** @returns whether there may be more, later. */
function readSome(port: NetlinkPort, familyId: number, onLine: (line: string) => void): boolean {
  for (let read = 0; read < READS_MOST; read++) {
    const datagram = port.receive();
    if (typeof datagram !== 'number') tell(datagram, familyId, onLine);
    else if (errnoName(datagram) === 'ENOBUFS') onLine('[       DROPPED] the kernel had more events than we read in time');
    else if (errnoName(datagram) === 'EAGAIN') return true;
    else {
      onLine(`[         ENDED] reading the kernel's events failed: ${errnoName(datagram)}`);
      return false;
    }
  }
  return true;
}

function tell(datagram: Buffer, familyId: number, onLine: (line: string) => void): void {
  let lines: string[];
  try {
    lines = parseMptcpEvents(datagram, familyId).map(mptcpEventText);
  } catch (error) {
    if (!(error instanceof BraidError)) throw error;
    lines = [`[       UNKNOWN] ${error.message}`];
  }
  for (const line of lines) onLine(line);
}

/** @throws BraidError KERNEL_LAYOUT where a length is not what it should be. */
export function parseMptcpEvents(datagram: Buffer, familyId: number): MptcpEvent[] {
  return parseMessages(datagram)
    .filter((message) => message.type === familyId && message.payload.length >= COMMAND_BYTES)
    .map(({ payload }) => eventOf(payload[0]!, parseAttributes(payload.subarray(COMMAND_BYTES))));
}

function eventOf(number: number, found: Map<number, Buffer>): MptcpEvent {
  const event: { -readonly [K in keyof MptcpEvent]: MptcpEvent[K] } = {
    name: NAMES.get(number) ?? `UNKNOWN ${number}`,
    isIpv6: found.has(ATTR_SADDR6) || found.has(ATTR_DADDR6),
  };
  const take = (type: number, bytes: number, put: (value: Buffer) => void) => {
    const value = found.get(type);
    if (!value) return;
    if (value.length !== bytes)
      throw new BraidError('KERNEL_LAYOUT', `MPTCP event attribute ${type} expected ${bytes} bytes, got ${value.length}`);
    put(value);
  };
  take(ATTR_TOKEN, 4, (value) => (event.token = value.readUInt32LE(0)));
  take(ATTR_REM_ID, 1, (value) => (event.remoteId = value[0]!));
  take(ATTR_LOC_ID, 1, (value) => (event.localId = value[0]!));
  take(ATTR_SADDR4, 4, (value) => (event.source = addressFromBytes(value).text));
  take(ATTR_DADDR4, 4, (value) => (event.destination = addressFromBytes(value).text));
  take(ATTR_SADDR6, 16, (value) => (event.source = addressFromBytes(value).text));
  take(ATTR_DADDR6, 16, (value) => (event.destination = addressFromBytes(value).text));
  take(ATTR_SPORT, 2, (value) => (event.sourcePort = value.readUInt16BE(0)));
  take(ATTR_DPORT, 2, (value) => (event.destinationPort = value.readUInt16BE(0)));
  take(ATTR_BACKUP, 1, (value) => (event.isBackup = value[0] !== 0));
  take(ATTR_ERROR, 1, (value) => (event.error = value[0]!));
  take(ATTR_FLAGS, 2, (value) => (event.flags = value.readUInt16LE(0)));
  take(ATTR_TIMEOUT, 4, (value) => (event.timeout = value.readUInt32LE(0)));
  take(ATTR_IF_IDX, 4, (value) => (event.interfaceIndex = value.readInt32LE(0)));
  take(ATTR_RESET_REASON, 4, (value) => (event.resetReason = value.readUInt32LE(0)));
  take(ATTR_RESET_FLAGS, 4, (value) => (event.resetFlags = value.readUInt32LE(0)));
  return event;
}

export function mptcpEventText(event: MptcpEvent): string {
  const family = event.isIpv6 ? 6 : 4;
  const fields: readonly (readonly [string, string | number | undefined])[] = [
    ['token', event.token?.toString(16).padStart(8, '0')],
    ['remid', event.remoteId],
    ['locid', event.localId],
    [`saddr${family}`, event.source],
    [`daddr${family}`, event.destination],
    ['sport', event.sourcePort],
    ['dport', event.destinationPort],
    ['backup', event.isBackup === undefined ? undefined : Number(event.isBackup)],
    ['error', event.error],
    ['flags', event.flags?.toString(16)],
    ['timeout', event.timeout],
    ['ifindex', event.interfaceIndex],
    ['reset_reason', event.resetReason],
    ['reset_flags', event.resetFlags === undefined ? undefined : `0x${event.resetFlags.toString(16)}`],
  ];
  const known = fields.filter(([, value]) => value !== undefined).map(([name, value]) => ` ${name}=${value}`);
  return `[${event.name.padStart(14)}]${known.join('')}`;
}

/** Keeps no process alive. */
function unhurried(intervalMs: number, tick: () => void): () => void {
  const timer = setInterval(tick, intervalMs).unref();
  return () => clearInterval(timer);
}
