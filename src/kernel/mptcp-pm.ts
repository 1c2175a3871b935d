/**
 * The user-space path manager (docs/adr/0001-path-manager.md): which further subflow a connection gets is said here, one netlink message
 * each. The numbers are linux/mptcp.h's and linux/mptcp_pm.h's; the family's id and its groups are asked for once.
 */
import { BraidError } from '../error.ts';
import type { IpAddress } from '../wire/ip.ts';
import { AF_INET, AF_INET6 } from './constants.ts';
import { errnoName } from './errno.ts';
import { LinuxNetlink, NETLINK_GENERIC } from './linux-netlink.ts';
import {
  attribute,
  attributeText,
  attributeU8,
  attributeU16,
  attributeU32,
  isFailure,
  type NetlinkFailure,
  type NetlinkPort,
  NetlinkSocket,
  nested,
  parseAttributes,
  text,
} from './netlink.ts';

export interface SubflowEnd {
  readonly address: IpAddress;
  readonly port: number;
}

export interface PathManager {
  /**
   * Opens one further subflow of the connection `token` (MPTCP_INFO). The SYN has left when this answers `ok`; whether it joins shows in
   * MPTCP_INFO.
   *
   * @param localId of `local` for the connection's whole life, 1 to 255; 0 where `local` is the first subflow's own address.
   * @returns `ok`, or ENOTCONN before the peer acknowledged any data (try again after a round trip), EINVAL for a connection that is gone,
   *   not ours or has another id for `local`, EADDRNOTAVAIL and ENETUNREACH where `local` or the route is missing.
   */
  createSubflow(token: number, local: IpAddress, localId: number, remote: SubflowEnd): PathManagerAnswer;
  /** Closes one subflow here; what it carried goes elsewhere. @returns `ok`, ESRCH where it is gone already. */
  destroySubflow(token: number, local: SubflowEnd, remote: SubflowEnd): PathManagerAnswer;
  /**
   * Tells the peer of `local`: one whose path manager is the kernel's own, and that takes addresses (`add_addr_accepted`), dials a subflow
   * to it.
   * @param localId 1 to 255. @param local need not be ours: what the world sees of it.
   */
  announceAddress(token: number, local: IpAddress, localId: number): PathManagerAnswer;
  /** Takes it back: the peer closes what it has to that address. Before `destroySubflow`, which forgets the id. @returns `ok`, EINVAL where nothing has it. */
  takeBackAddress(token: number, localId: number): PathManagerAnswer;
  /** From now until `close` the kernel accepts joins to our connections: it asks only whether anybody listens. Call before the first listener. */
  acceptJoins(): PathManagerAnswer;
  close(): void;
}

/** `ok` or the name of an errno. */
export type PathManagerAnswer = 'ok' | (string & {});

// linux/genetlink.h
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_ATTR_MCAST_GROUPS = 7;
const CTRL_ATTR_MCAST_GRP_NAME = 1;
const CTRL_ATTR_MCAST_GRP_ID = 2;
// linux/mptcp_pm.h: MPTCP_PM_CMD_*, MPTCP_PM_ATTR_*, MPTCP_PM_ADDR_ATTR_*
const FAMILY_NAME = 'mptcp_pm';
const EVENTS_GROUP = 'mptcp_pm_events';
const FAMILY_VERSION = 1;
const ANNOUNCE = 8;
const REMOVE = 9;
const SUBFLOW_CREATE = 10;
const SUBFLOW_DESTROY = 11;
const ATTR_ADDR = 1;
const ATTR_TOKEN = 4;
const ATTR_LOC_ID = 5;
const ATTR_ADDR_REMOTE = 6;
const ADDR_FAMILY = 1;
const ADDR_ID = 2;
const ADDR_4 = 3;
const ADDR_6 = 4;
const ADDR_PORT = 5;
const ADDR_FLAGS = 6;
const FLAG_SIGNAL = 1;

export class LinuxPathManager implements PathManager {
  readonly #open: () => NetlinkPort;
  readonly #netlink: NetlinkSocket;
  readonly #familyId: number;
  readonly #eventsGroup: number;
  #listener: NetlinkPort | undefined;

  /** @throws BraidError KERNEL_NO_MPTCP where the kernel has no such family, KERNEL_CALL where netlink is forbidden. */
  constructor(open: () => NetlinkPort = () => new LinuxNetlink(NETLINK_GENERIC)) {
    this.#open = open;
    this.#netlink = new NetlinkSocket(open());
    try {
      const { id, eventsGroup } = mptcpFamily(this.#netlink);
      this.#familyId = id;
      this.#eventsGroup = eventsGroup;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  createSubflow(token: number, local: IpAddress, localId: number, remote: SubflowEnd): PathManagerAnswer {
    return this.#ask(SUBFLOW_CREATE, token, address(ATTR_ADDR, local, attributeU8(ADDR_ID, localId)), remote);
  }

  destroySubflow(token: number, local: SubflowEnd, remote: SubflowEnd): PathManagerAnswer {
    return this.#ask(SUBFLOW_DESTROY, token, address(ATTR_ADDR, local.address, attributeU16(ADDR_PORT, local.port)), remote);
  }

  announceAddress(token: number, local: IpAddress, localId: number): PathManagerAnswer {
    const about = address(ATTR_ADDR, local, attributeU8(ADDR_ID, localId), attributeU32(ADDR_FLAGS, FLAG_SIGNAL));
    return this.#say(ANNOUNCE, attributeU32(ATTR_TOKEN, token), about);
  }

  takeBackAddress(token: number, localId: number): PathManagerAnswer {
    return this.#say(REMOVE, attributeU32(ATTR_TOKEN, token), attributeU8(ATTR_LOC_ID, localId));
  }

  acceptJoins(): PathManagerAnswer {
    if (this.#listener) return 'ok';
    const listener = this.#open();
    // Deaf before it joins: nothing is ever queued, so nothing has to be read and nothing overruns.
    const failed = listener.deafen() || listener.join(this.#eventsGroup);
    if (failed < 0) {
      listener.close();
      return errnoName(failed);
    }
    this.#listener = listener;
    return 'ok';
  }

  close(): void {
    this.#netlink.port.close();
    this.#listener?.close();
    this.#listener = undefined;
  }

  #ask(what: number, token: number, local: Buffer, remote: SubflowEnd): PathManagerAnswer {
    const far = address(ATTR_ADDR_REMOTE, remote.address, attributeU16(ADDR_PORT, remote.port));
    return this.#say(what, attributeU32(ATTR_TOKEN, token), local, far);
  }

  #say(what: number, ...attributes: readonly Buffer[]): PathManagerAnswer {
    const answer = this.#netlink.request(this.#familyId, 0, command(what, ...attributes));
    return isFailure(answer) ? answer.error : 'ok';
  }
}

/** The kernel's numbers for the family and for its group of events, given out when it starts. @throws BraidError KERNEL_NO_MPTCP, KERNEL_LAYOUT */
export function mptcpFamily(netlink: NetlinkSocket): { readonly id: number; readonly eventsGroup: number } {
  const family = netlink.request(GENL_ID_CTRL, 0, command(CTRL_CMD_GETFAMILY, attributeText(CTRL_ATTR_FAMILY_NAME, FAMILY_NAME)));
  if (isFailure(family) || !family[0]) throw withoutFamily(family);
  const about = parseAttributes(family[0].subarray(COMMAND_BYTES));
  return { id: u16(about.get(CTRL_ATTR_FAMILY_ID), 'family id'), eventsGroup: eventsGroup(about.get(CTRL_ATTR_MCAST_GROUPS)) };
}

/** struct genlmsghdr: command u8, version u8, reserved u16. */
export const COMMAND_BYTES = 4;

function command(number: number, ...attributes: readonly Buffer[]): Buffer {
  return Buffer.concat([Uint8Array.of(number, FAMILY_VERSION, 0, 0), ...attributes]);
}

function address(type: number, of: IpAddress, ...more: readonly Buffer[]): Buffer {
  const family = attributeU16(ADDR_FAMILY, of.family === 4 ? AF_INET : AF_INET6);
  return nested(type, family, attribute(of.family === 4 ? ADDR_4 : ADDR_6, of.bytes), ...more);
}

function eventsGroup(groups: Buffer | undefined): number {
  for (const group of parseAttributes(groups ?? Buffer.alloc(0)).values()) {
    const about = parseAttributes(group);
    if (text(about.get(CTRL_ATTR_MCAST_GRP_NAME)) === EVENTS_GROUP) return u32(about.get(CTRL_ATTR_MCAST_GRP_ID), 'group id');
  }
  throw new BraidError('KERNEL_LAYOUT', `netlink family ${FAMILY_NAME} expected a group ${EVENTS_GROUP}, got none`);
}

function u16(value: Buffer | undefined, what: string): number {
  if (value?.length !== 2) throw new BraidError('KERNEL_LAYOUT', `netlink ${what} expected 2 bytes, got ${value?.length ?? 'none'}`);
  return value.readUInt16LE(0);
}

function u32(value: Buffer | undefined, what: string): number {
  if (value?.length !== 4) throw new BraidError('KERNEL_LAYOUT', `netlink ${what} expected 4 bytes, got ${value?.length ?? 'none'}`);
  return value.readUInt32LE(0);
}

function withoutFamily(answer: readonly Buffer[] | NetlinkFailure): BraidError {
  const got = isFailure(answer) ? `${answer.error} ${answer.words}`.trim() : 'an empty answer';
  return new BraidError('KERNEL_NO_MPTCP', `netlink family ${FAMILY_NAME} expected in this kernel, got ${got}`, {
    hint: 'CONFIG_MPTCP and Linux 6.1 or newer are needed',
  });
}
