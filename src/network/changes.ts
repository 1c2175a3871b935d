/** Tells that somebody changed routes, rules, links or nft tables in this namespace. Only a trigger: what is there is read again by who asks. */
import { EAGAIN } from '../kernel/constants.ts';
import { LinuxNetlink, NETLINK_NETFILTER, NETLINK_ROUTE } from '../kernel/linux-netlink.ts';
import type { NetlinkPort } from '../kernel/netlink.ts';

export interface Changes {
  /** Whether anything changed since the last call. Never waits. */
  happened(): boolean;
  close(): void;
}

// linux/rtnetlink.h: RTNLGRP_LINK, _IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE; linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES
const ROUTE_GROUPS = [1, 7, 8, 11, 19] as const;
const NFTABLES_GROUP = 7;
/** A storm is one change; the rest is read at the next call. */
const DATAGRAMS_A_CALL = 256;

export class NetlinkChanges implements Changes {
  readonly #ports: readonly NetlinkPort[];

  /** @throws BraidError KERNEL_CALL */
  constructor(open: (protocol: number) => NetlinkPort = (protocol) => new LinuxNetlink(protocol)) {
    const routes = open(NETLINK_ROUTE);
    const nft = open(NETLINK_NETFILTER);
    for (const group of ROUTE_GROUPS) routes.join(group);
    nft.join(NFTABLES_GROUP);
    this.#ports = [routes, nft];
  }

  happened(): boolean {
    let any = false;
    for (const port of this.#ports) {
      // Any error but "nothing there" is an overrun: something happened that we did not read.
      for (let left = DATAGRAMS_A_CALL; left > 0 && port.receive() !== -EAGAIN; left--) any = true;
    }
    return any;
  }

  close(): void {
    for (const port of this.#ports) port.close();
  }
}

/** The twin: a test says when. */
export class ManualChanges implements Changes {
  pending = false;
  closed = false;

  happened(): boolean {
    const { pending } = this;
    this.pending = false;
    return pending;
  }

  close(): void {
    this.closed = true;
  }
}
