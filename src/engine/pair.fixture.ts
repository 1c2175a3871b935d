/**
 * Two gateways, whole worker loops, joined in memory with a LAN host behind each: what the tests of this room build on.
 *
 *   client ── near (berlin, 172.16.0.0/24) ══ 10.0.0.x, 10.1.0.x ══ far (munich, 172.16.1.0/24) ── server
 */
import type { AeadOpener, AeadSealer, Ciphers } from '../crypto/aead.ts';
import { EvpCiphers } from '../crypto/evp.ts';
import type { Method, MethodFacts } from '../crypto/methods.ts';
import { FakeClock } from '../kernel/clock.ts';
import { EAGAIN } from '../kernel/constants.ts';
import { MemoryNetwork } from '../kernel/memory-network.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Slab } from '../native/index.ts';
import { Codec } from '../shadowsocks/codec.ts';
import { secretOf } from '../shadowsocks/fixture.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import type { AllowRule, Path, Peer, PeerKind, Site, Uplink } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { loopback } from './listeners.ts';
import type { FlowRecord, FromWorker, ToWorker } from './messages.ts';
import { WorkerLoop } from './worker-loop.ts';

export const START_UNIX_SECONDS = 1_795_350_673;
const PORT = 8388;
const TPROXY_PORT = 8389;

export function at(text: string, port: number): SocketAddress {
  return { bytes: parseAddress(text)!.bytes, port };
}

export const CLIENT = at('172.16.0.10', 40_000);
export const SERVER = at('172.16.1.10', 5_001);

/** Counts the contexts that nobody has closed. */
class CountedCiphers implements Ciphers {
  open = 0;
  readonly #evp = new EvpCiphers();

  sealer(method: MethodFacts, key: Uint8Array): AeadSealer {
    const sealer = this.#evp.sealer(method, key);
    return { seal: (slab, offset, length) => sealer.seal(slab, offset, length), close: this.#closer(sealer) };
  }

  opener(method: MethodFacts, key: Uint8Array): AeadOpener {
    const opener = this.#evp.opener(method, key);
    return { open: (slab, offset, length) => opener.open(slab, offset, length), close: this.#closer(opener) };
  }

  encryptBlock(key: Uint8Array, block: Uint8Array): void {
    this.#evp.encryptBlock(key, block);
  }

  decryptBlock(key: Uint8Array, block: Uint8Array): void {
    this.#evp.decryptBlock(key, block);
  }

  close(): void {
    this.#evp.close();
  }

  #closer(inner: { close(): void }): () => void {
    this.open++;
    let isOpen = true;
    return () => {
      if (isOpen) this.open--;
      isOpen = false;
      inner.close();
    };
  }
}

interface GatewayOptions {
  readonly network: MemoryNetwork;
  readonly clock: FakeClock;
  readonly site: Site;
  readonly ring: KeyRing;
  readonly startUnixSeconds?: number;
}

/** One site's gateway: a worker's loop and everything that a worker has. */
export class Gateway {
  readonly site: Site;
  readonly sockets: MemorySockets;
  readonly counters: Counters;
  readonly ciphers = new CountedCiphers();
  readonly codec: Codec;
  readonly loop: WorkerLoop;
  readonly posted: FromWorker[] = [];
  readonly #commands: ToWorker[] = [];

  constructor({ network, clock, site, ring, startUnixSeconds = START_UNIX_SECONDS }: GatewayOptions) {
    this.site = site;
    const addresses = [...site.uplinks.flatMap((uplink) => uplink.addresses), ...site.lanAddresses];
    this.sockets = new MemorySockets(
      network,
      addresses.map((address) => address.bytes),
    );
    this.counters = new Counters(site.peers.length);
    this.codec = new Codec({
      ciphers: this.ciphers,
      ring,
      replay: new ReplayStore(ReplayStore.allocate(4096), () => Math.floor(clock.nowMs() / 1000)),
      notBeforeUnixSeconds: startUnixSeconds,
      unixSeconds: () => START_UNIX_SECONDS + Math.floor(clock.nowMs() / 1000),
    });
    this.loop = new WorkerLoop({
      site,
      sockets: this.sockets,
      pathManager: this.sockets.pathManager,
      codec: this.codec,
      counters: this.counters,
      clock,
      post: (message) => this.posted.push(message),
      nextCommand: () => this.#commands.shift(),
    });
    const failed = this.loop.listen();
    if (failed) throw new Error(`${failed.what}: errno ${failed.error}`);
  }

  /** All paths of the peer are alive; so many connections are to be kept. */
  keepReady({ warm = 0, reverse = 0, costly }: { warm?: number; reverse?: number; costly?: readonly number[] }): void {
    const all = this.site.peers[0]!.paths.map((path) => path.index);
    this.tell({
      kind: 'paths',
      peers: [{ dial: all, carry: all, ...(costly && { costly }), packets: [], upSinceMs: all.map(() => 1), fellAtMs: [], warm, reverse }],
    });
  }

  tell(command: ToWorker): void {
    this.#commands.push(command);
    this.sockets.wake();
  }

  records(): FlowRecord[] {
    return this.posted.filter((message) => message.kind === 'flow').map((message) => message.record);
  }

  /** Nothing of any flow is left. */
  get isClean(): boolean {
    const { loop, sockets, ciphers } = this;
    return loop.flows.size === 0 && loop.pool.usedBytes === 0 && sockets.openDescriptors === 0 && ciphers.open === 0;
  }
}

/** One end of a connection on a LAN host, or a stranger's. */
export class Talker {
  readonly fd: number;
  readonly sockets: MemorySockets;
  /** How the other side left: its end, or the errno of its reset. */
  ended = false;
  error = 0;
  readonly #slab = new Slab(1 << 16);
  #received: Buffer[] = [];

  constructor(sockets: MemorySockets, fd: number) {
    this.sockets = sockets;
    this.fd = fd;
  }

  /** @returns how many bytes were taken, or -errno. */
  write(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.#slab.lengthBytes);
    this.#slab.bytes.set(part);
    const n = this.sockets.write(this.fd, this.#slab, 0, part.length);
    if (n < 0 && n !== -EAGAIN && this.error === 0) this.error = -n;
    return n;
  }

  /** Reads what has come, at most `mostBytes` of it. */
  read(mostBytes = Number.POSITIVE_INFINITY): void {
    for (let left = mostBytes; left > 0 && !this.ended && this.error === 0; ) {
      const n = this.sockets.read(this.fd, this.#slab, 0, Math.min(left, this.#slab.lengthBytes));
      if (n === -EAGAIN) return;
      if (n < 0) this.error = -n;
      else if (n === 0) this.ended = true;
      else this.#received.push(Buffer.from(this.#slab.bytes.subarray(0, n)));
      left -= Math.max(n, 0);
    }
  }

  get received(): Buffer {
    this.#received = [Buffer.concat(this.#received)];
    return this.#received[0]!;
  }

  end(): void {
    this.sockets.shutdownWrite(this.fd);
  }

  reset(): void {
    this.sockets.reset(this.fd);
  }

  close(): void {
    this.sockets.close(this.fd);
  }
}

export interface PairOptions {
  readonly method?: Method;
  readonly bufferBytes?: number;
  /** How many uplinks join them: 2 where nothing is said. */
  readonly uplinks?: number;
  /** The far gateway has no address that the near one could dial. */
  readonly farHasNoAddress?: boolean;
  readonly snat?: boolean;
  readonly packets?: Peer['packets'];
  /** What each takes the other for. */
  readonly kind?: PeerKind;
  readonly names?: Site['names'];
  readonly allow?: readonly AllowRule[];
}

export class Pair {
  readonly network = new MemoryNetwork();
  readonly clock = new FakeClock();
  readonly near: Gateway;
  readonly far: Gateway;
  /** The LAN hosts of each side. */
  readonly clients: MemorySockets;
  readonly servers: MemorySockets;
  readonly #listeners = new Map<number, number>();
  #clientPort = CLIENT.port;

  constructor(options: PairOptions = {}) {
    if (options.bufferBytes !== undefined) this.network.bufferBytes = options.bufferBytes;
    const { network, clock } = this;
    const method = options.method ?? '2022-blake3-aes-128-gcm';
    const [there, back] = [secretOf(method, 1), secretOf(method, 2)];
    const nearRing = new KeyRing({ peers: [{ index: 0, method, receiveKey: back, sendKeys: [there] }] });
    const farRing = new KeyRing({ peers: [{ index: 0, method, receiveKey: there, sendKeys: [back] }] });
    this.near = new Gateway({ network, clock, site: berlin(options), ring: nearRing });
    this.far = new Gateway({ network, clock, site: munich(options), ring: farRing });
    this.clients = new MemorySockets(network, [CLIENT.bytes]);
    this.servers = new MemorySockets(network, [SERVER.bytes]);
  }

  turn(): void {
    this.near.loop.turn();
    this.far.loop.turn();
  }

  /** Turns both loops until `done`. @throws where that does not happen. */
  until(done: () => boolean, turns = 2_000): void {
    for (let i = 0; i < turns; i++) {
      if (done()) return;
      this.turn();
    }
    throw new Error(`what was waited for did not happen in ${turns} turns`);
  }

  /** Turns often enough for everything that can happen without time to happen. */
  settle(): void {
    for (let i = 0; i < 20; i++) this.turn();
  }

  /** Lets time pass, in steps in which both loops see what is due. */
  pass(ms: number): void {
    const steps = Math.ceil(ms / 100);
    for (let i = 0; i < steps; i++) {
      this.clock.advance(ms / steps);
      this.turn();
    }
    this.settle();
  }

  /** A LAN client connects through the near gateway. */
  connect(target: SocketAddress = SERVER, client: SocketAddress = { ...CLIENT, port: this.#clientPort++ }): Talker {
    const loop = { bytes: loopback(target.bytes.length === 4 ? 4 : 6), port: TPROXY_PORT };
    return new Talker(this.clients, this.clients.connectThrough(this.near.sockets, loop, client, target));
  }

  listen(where: SocketAddress = SERVER): void {
    this.#listeners.set(where.port, this.servers.serve(where));
  }

  /** Turns until a connection has reached the LAN server. */
  accept(port = SERVER.port): Talker {
    let fd = -1;
    this.until(() => {
      fd = this.servers.accept(this.#listeners.get(port)!);
      return fd >= 0;
    });
    return new Talker(this.servers, fd);
  }

  /** A client, and the server's end of its connection. */
  joined(): { client: Talker; server: Talker } {
    if (this.#listeners.size === 0) this.listen();
    const client = this.connect();
    return { client, server: this.accept() };
  }
}

function berlin(options: PairOptions): Site {
  const peer = peerOf(0, 'munich', 17, 1, 2, options);
  return siteOf('berlin', 16, 1, [options.farHasNoAddress ? { ...peer, paths: [], addresses: [] } : peer], options);
}

function munich(options: PairOptions): Site {
  return siteOf('munich', 17, 2, [peerOf(0, 'berlin', 16, 2, 1, options)], options);
}

function uplinksOf(host: number, { uplinks = 2 }: PairOptions): Uplink[] {
  return Array.from({ length: uplinks }, (_, index) => ({
    index,
    name: ['fiber', 'cable', 'lte'][index]!,
    device: `eth${index + 2}`,
    addresses: [parseAddress(`10.${index}.0.${host}`)!, parseAddress(`fd1${index}::${host}`)!],
    gateways: [],
    role: 'active',
    metered: false,
    weight: 1,
    mtu: 1500,
  }));
}

/** LAN number n is 172.16.(n - 16).0/24 and fd00:n::/64. */
function lanOf(number: number): Site['lan'] {
  return [parsePrefix(`172.16.${number - 16}.0/24`)!, parsePrefix(`fd00:${number}::/64`)!];
}

export function peerOf(index: number, site: string, lan: number, ours: number, theirs: number, options: PairOptions = {}): Peer {
  const paths: Path[] = uplinksOf(ours, options).map((uplink) => ({
    index: uplink.index,
    uplink,
    localAddress: uplink.addresses[0]!,
    peerAddress: { address: parseAddress(`10.${uplink.index}.0.${theirs}`)!, port: PORT },
    present: true,
    learned: false,
  }));
  return {
    index,
    site,
    kind: options.kind ?? 'braid',
    method: options.method ?? '2022-blake3-aes-128-gcm',
    lan: lanOf(lan),
    addresses: paths.map((path) => path.peerAddress),
    paths,
    transport: 'mptcp',
    snat: options.snat ?? false,
    packets: options.packets ?? 'udp',
    policy: [],
    allow: options.allow ?? [{ from: lanOf(lan), to: ['0.0.0.0/0', '::/0'].map((text) => parsePrefix(text)!), ports: [] }],
  };
}

export function siteOf(name: string, lan: number, host: number, peers: readonly Peer[], options: PairOptions = {}): Site {
  return {
    name,
    lan: lanOf(lan),
    lanAddresses: [parseAddress(`172.16.${lan - 16}.1`)!, parseAddress(`fd00:${lan}::1`)!],
    lanDevices: ['eth1'],
    listenPort: PORT,
    uplinks: uplinksOf(host, options),
    peers,
    names: options.names ?? new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: TPROXY_PORT, nexthopBase: 4200 },
    logFlows: true,
  };
}
