/** The other site of a join, as our own file will have it. */
import { type NewPeer, newPeer } from '../config/peer-section.ts';
import type { Secret } from '../crypto/secret.ts';
import type { Method } from '../site/types.ts';
import type { About } from './messages.ts';

interface JoinedPeer {
  readonly ownSite: string;
  /** What an address without a port stands for in our file; undefined where that is about to change. */
  readonly portByDefault: number | undefined;
  readonly method: Method;
  readonly about: About;
  /** Those of its addresses that we dial. */
  readonly addresses: readonly string[];
  readonly receive: Secret;
  readonly send: Secret;
  readonly unixMs: number;
}

export function peerOf({ ownSite, portByDefault, method, about, addresses, receive, send, unixMs }: JoinedPeer): NewPeer {
  const base64 = (key: Secret) => Buffer.from(key.reveal()).toString('base64');
  const withPort = (address: string) => (address.includes(':') ? `[${address}]:${about.listen}` : `${address}:${about.listen}`);
  return newPeer(
    ownSite,
    {
      site: about.site,
      lan: about.lan,
      addresses: about.listen === portByDefault ? addresses : addresses.map(withPort),
      method,
      receiveKey: base64(receive),
      sendKey: `${about.identityKey}:${base64(send)}`,
    },
    new Date(unixMs).toISOString().slice(0, 10),
  );
}
