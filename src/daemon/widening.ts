/**
 * Gives a flow its further subflows, one for each other usable path of its peer (docs/adr/0001-path-manager.md). The dialler's side only; the
 * kernel refuses until the peer has acknowledged data (ENOTCONN), so a refused one is asked for again a round trip later.
 */
import type { PathManager } from '../kernel/mptcp-pm.ts';
import type { Path, Site } from '../site/types.ts';

const RETRY_AFTER_MS = [10, 20, 40, 80, 160, 320, 640, 1_280] as const;

export interface WideningParts {
  readonly site: Site;
  readonly pathManager: PathManager;
  /** Usable paths of each peer by index, best first. */
  readonly usable: () => readonly (readonly number[])[];
  readonly failed: (path: Path, answer: string) => void;
  readonly later: (delayMs: number, then: () => void) => void;
}

export interface Widen {
  readonly token: number;
  readonly peer: number;
  /** The one it was dialled over. */
  readonly path: number;
}

export class Widening {
  readonly #parts: WideningParts;
  readonly #localIds: ReadonlyMap<string, number>;

  constructor(parts: WideningParts) {
    this.#parts = parts;
    // One local address has one id for a connection's life; the same for all connections is simplest.
    const addresses = parts.site.uplinks.flatMap((uplink) => uplink.addresses.map((address) => address.text));
    this.#localIds = new Map(addresses.map((text, index) => [text, index + 1]));
  }

  widen({ token, peer, path }: Widen): void {
    const { paths } = this.#parts.site.peers[peer]!;
    const first = paths[path]!;
    const usable = (this.#parts.usable()[peer] ?? []).map((index) => paths[index]!);
    const isActive = usable.some((one) => one.uplink.role === 'active');
    for (const other of usable) {
      if (other === first || (isActive && other.uplink.role === 'backup')) continue;
      this.#open(token, first, other, 0);
    }
  }

  #open(token: number, first: Path, other: Path, tries: number): void {
    const { text } = other.localAddress;
    const localId = text === first.localAddress.text ? 0 : this.#localIds.get(text)!;
    const answer = this.#parts.pathManager.createSubflow(token, other.localAddress, localId, other.peerAddress);
    if (answer === 'ok' || answer === 'EINVAL') return; // EINVAL: the flow has ended meanwhile
    const delayMs = RETRY_AFTER_MS[tries];
    if (answer === 'ENOTCONN' && delayMs !== undefined) this.#parts.later(delayMs, () => this.#open(token, first, other, tries + 1));
    else if (answer !== 'ENOTCONN') this.#parts.failed(other, answer);
  }
}
