/** The keys of Shadowsocks' own UDP format with what is long-lived of their ciphers: who may call us, and whom we call. */
import { DatagramCallee, type DatagramCodec, DatagramKey, type DatagramReader } from '../shadowsocks/datagram-session.ts';
import { KeyRing, type KeyRingTransfer, peersFrom } from '../shadowsocks/key-ring.ts';

interface DatagramCaller {
  readonly peer: number;
  readonly key: DatagramKey;
}

/** What the thread is told of them: the buffers are its own, and wiped. */
export interface SsUdpKeyChanges {
  /** With the first peers; never another one (daemon/roster.ts). */
  readonly identityKey?: Uint8Array;
  readonly added: KeyRingTransfer['peers'];
  /** By peer index. */
  readonly removed: readonly number[];
}

export class SsUdpKeys {
  /** By peer index. */
  readonly callees = new Map<number, DatagramCallee>();
  readonly #codec: DatagramCodec;
  readonly #callers = new Map<number, DatagramCaller>();
  #ring: KeyRing | undefined;
  #identity: DatagramKey | undefined;

  constructor(codec: DatagramCodec) {
    this.#codec = codec;
  }

  /** What the ids of every request are encrypted under; undefined where nobody may call. */
  get head(): DatagramKey | undefined {
    return this.#identity ?? this.#direct?.key;
  }

  /** Identity headers in a request. */
  get identities(): 0 | 1 {
    return this.#identity ? 1 : 0;
  }

  get isEmpty(): boolean {
    return this.callees.size + this.#callers.size === 0;
  }

  /** In the ChaCha method: a look at a datagram costs as much as opening it. */
  get hasLongNonces(): boolean {
    const one = this.head ?? this.callees.values().next().value?.key;
    return one !== undefined && one.block === undefined;
  }

  add({ identityKey, added }: Pick<SsUdpKeyChanges, 'identityKey' | 'added'>): void {
    this.#ring ??= KeyRing.fromTransfer({ ...(identityKey && { identityKey }), peers: [] });
    const { identityKey: known } = this.#ring;
    identityKey?.fill(0);
    for (const peer of peersFrom(added)) {
      this.#ring.add(peer);
      const callee = this.#ring.callee(peer.index);
      if (callee) this.callees.set(peer.index, new DatagramCallee(this.#codec, callee));
      const caller = this.#ring.caller(peer.index);
      if (!caller) continue;
      this.#callers.set(peer.index, { peer: peer.index, key: new DatagramKey(this.#codec, caller.facts, caller.key) });
      if (known) this.#identity ??= new DatagramKey(this.#codec, caller.facts, known);
    }
  }

  /** Not before the peer's sessions have ended. */
  remove(peer: number): void {
    this.callees.get(peer)?.close();
    this.callees.delete(peer);
    this.#callers.get(peer)?.key.close();
    this.#callers.delete(peer);
    this.#ring?.remove(peer);
  }

  /** Who began a session that we do not know yet. @param reader after `begin` with `head`. */
  callerOf(reader: DatagramReader): DatagramCaller | undefined {
    const block = this.#identity?.block;
    if (!block) return this.#direct;
    const name = reader.identity(block);
    const caller = name && this.#ring?.callerNamed(name);
    return caller && this.#callers.get(caller.index);
  }

  /** Not before all sessions. */
  close(): void {
    for (const peer of new Set([...this.callees.keys(), ...this.#callers.keys()])) this.remove(peer);
    this.#identity?.close();
    this.#identity = undefined;
    this.#ring?.wipe();
    this.#ring = undefined;
  }

  get #direct(): DatagramCaller | undefined {
    return this.#identity ? undefined : this.#callers.values().next().value;
  }
}
