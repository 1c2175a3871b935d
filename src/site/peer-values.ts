/**
 * What a peer's section leaves to the rest of the configuration, filled in. The configuration is the one that runs: a `reload` takes peers
 * over and nothing else, so a peer without a port is dialled where we listen now, not where the file says that we shall.
 */
import type { Config, PeerConfig } from '../config/types.ts';
import type { AllowRule, PeerAddress, PolicyRule } from './types.ts';

export function peerAddresses({ listenPort }: Config, { addresses }: PeerConfig): PeerAddress[] {
  return addresses.map(({ address, port = listenPort }) => ({ address, port }));
}

export function allowRules({ lan }: Config, { allow }: PeerConfig): AllowRule[] {
  return allow.map(({ from, to = lan, ports }) => ({ from, to, ports }));
}

/** An uplink that is in the file and not in the daemon yet is none: its packets take what there is, as while an uplink is down. */
export function policyRules({ uplinks }: Config, { policy }: PeerConfig): PolicyRule[] {
  return policy.map(({ uplink: name, ...rule }) => {
    const uplink = uplinks.findIndex((one) => one.name === name);
    return uplink < 0 ? rule : { ...rule, uplink };
  });
}
