/**
 * Sees carriers and addresses come and go. Netlink is only the trigger, polled by whoever has use for it soon (a poll costs some
 * microseconds); what is there then is read again, which also heals a lost message.
 */
import { networkInterfaces } from 'node:os';
import { type Clock, MonotonicClock } from '../kernel/clock.ts';
import { EAGAIN } from '../kernel/constants.ts';
import { LinuxNetlink, NETLINK_ROUTE } from '../kernel/linux-netlink.ts';
import type { NetlinkPort } from '../kernel/netlink.ts';

/** The addresses of each device that is up and has its carrier. */
export type Links = ReadonlyMap<string, readonly string[]>;

/** `networkInterfaces` lists what is up and has its carrier. */
function liveLinks(): Links {
  return new Map(
    Object.entries(networkInterfaces()).map(([device, addresses]) => [device, (addresses ?? []).map(({ address }) => address)]),
  );
}

// linux/rtnetlink.h: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
const GROUPS = [1, 5, 7, 9, 11] as const;
/** A lost message is told by the kernel, and reading costs an idle daemon more than the poll does: in case all else fails. */
const READ_EVERY_MS = 5_000;
const DATAGRAMS_A_POLL = 256;

interface LinkWatchParts {
  /** Carriers or addresses are not what they were. */
  readonly links: (links: Links) => void;
  /** Something about links, addresses or routes changed: worth reading all of it again, soon. */
  readonly changed: () => void;
  readonly port?: NetlinkPort;
  readonly read?: () => Links;
  readonly clock?: Clock;
}

export class LinkWatch {
  readonly #parts: LinkWatchParts;
  readonly #port: NetlinkPort;
  readonly #read: () => Links;
  readonly #clock: Clock;
  #before = '';
  #readAtMs: number;
  #hasHappened = false;
  links: Links;

  /** @throws BraidError KERNEL_CALL where netlink cannot be opened. */
  constructor(parts: LinkWatchParts) {
    this.#parts = parts;
    this.#port = parts.port ?? new LinuxNetlink(NETLINK_ROUTE);
    this.#read = parts.read ?? liveLinks;
    this.#clock = parts.clock ?? new MonotonicClock();
    for (const group of GROUPS) this.#port.join(group);
    this.#readAtMs = this.#clock.nowMs();
    this.links = this.#read();
    this.#before = textOf(this.links);
  }

  /** One look. */
  poll(): void {
    this.#hasHappened = this.#drain() || this.#hasHappened;
    const nowMs = this.#clock.nowMs();
    if (!this.#hasHappened && nowMs - this.#readAtMs < READ_EVERY_MS) return;
    const links = this.#tryRead();
    if (!links) return;
    const happened = this.#hasHappened;
    this.#hasHappened = false;
    this.#readAtMs = nowMs;
    const text = textOf(links);
    if (text !== this.#before) {
      this.#before = text;
      this.links = links;
      this.#parts.links(links);
      this.#parts.changed();
    } else if (happened) this.#parts.changed();
  }

  stop(): void {
    this.#port.close();
  }

  /** @returns undefined where the host cannot be read (no descriptor is free): all stays as it was, the next poll tries again. */
  #tryRead(): Links | undefined {
    try {
      return this.#read();
    } catch {
      return undefined;
    }
  }

  #drain(): boolean {
    let any = false;
    // Any error but "nothing there" is an overrun: something happened that we did not read.
    for (let left = DATAGRAMS_A_POLL; left > 0 && this.#port.receive() !== -EAGAIN; left--) any = true;
    return any;
  }
}

function textOf(links: Links): string {
  return JSON.stringify([...links].sort(([one], [other]) => (one < other ? -1 : 1)));
}
