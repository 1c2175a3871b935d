/**
 * What a peer that is no Braid is told of our addresses. Its path manager is the kernel's own, which dials further subflows to addresses
 * that it was told of and closes those to addresses that are taken back: so it leaves a dead path, and comes again once that healed.
 */
import type { PathManager, PathManagerAnswer } from '../kernel/mptcp-pm.ts';
import type { Path } from '../site/types.ts';
import { addressFromBytes, sameAddress } from '../wire/ip.ts';
import type { Flow, SubflowFigures } from './flow.ts';
import type { LocalIds } from './local-ids.ts';
import { isLiving } from './sampler.ts';

/** Whoever calls decides how many calls fit into a turn. */
type AskPathManager = (call: (pathManager: PathManager) => PathManagerAnswer) => PathManagerAnswer;

export class ToldAddresses {
  readonly #localIds: LocalIds;
  readonly #ask: AskPathManager;

  constructor(localIds: LocalIds, ask: AskPathManager) {
    this.#localIds = localIds;
    this.#ask = ask;
  }

  /** It knows of the addresses of the `paths` that carry, and of no others. @returns whether all that it should be told was. */
  tell(flow: Flow, paths: readonly Path[]): boolean {
    const carrying = new Map(paths.map((path) => [path.localAddress.text, path]));
    const told = flow.toldOf ?? new Set();
    flow.toldOf = told;
    for (const text of told)
      if (!carrying.has(text)) {
        told.delete(text);
        this.#ask((pathManager) => pathManager.takeBackAddress(flow.token, this.#localIds.of(text)));
      }
    if (flow.weDialled || !flow.widened) return true;
    let isAll = true;
    for (const [text, { localAddress, uplink }] of carrying) {
      if (told.has(text) || flow.subflows.some((one) => isLiving(one.state) && sameAddress(one.local.bytes, localAddress.bytes))) continue;
      // Behind 1:1 NAT the world knows it by another name.
      const shown = uplink.publicAddress?.family === localAddress.family ? uplink.publicAddress : localAddress;
      const id = this.#localIds.of(text);
      if (this.#ask((pathManager) => pathManager.announceAddress(flow.token, shown, id)) === 'ok') told.add(text);
      else isAll = false;
    }
    return isAll;
  }

  /** Between two Braids both destroy a subflow; another kernel has to be told, over another path, or it goes on sending into the dead one. */
  takeBack(flow: Flow, one: SubflowFigures): void {
    const local = addressFromBytes(one.local.bytes);
    const isShared = flow.subflows.some(
      (other) => other !== one && isLiving(other.state) && sameAddress(other.local.bytes, one.local.bytes),
    );
    if (isShared) return;
    flow.toldOf?.delete(local.text);
    const id = this.#localIds.within(flow.firstLocal, local);
    this.#ask((pathManager) => pathManager.takeBackAddress(flow.token, id));
  }
}
