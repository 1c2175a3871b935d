/** What an administrator sees of the running daemon and may change: the status, and the uplinks at run time. */
import { type UplinkAnswer, type UplinkCommand, unknownUplink } from '../api/uplinks.ts';
import type { PathMonitor } from '../paths/monitor.ts';
import type { PathEventRecord, UplinkOverride } from '../paths/types.ts';
import type { Peer, Site } from '../site/types.ts';
import { type Counters, pathIndexOf } from '../status/counters.ts';
import type { StatusSnapshot, UplinkStatus } from '../status/types.ts';
import type { IpAddress } from '../wire/ip.ts';
import { type Carried, DayBytes } from './day-bytes.ts';
import type { Peering } from './peering.ts';
import { type SnapshotParts, takeSnapshot, uplinkStatus } from './snapshot.ts';

interface StatusBoardParts {
  readonly site: () => Site;
  readonly version: string;
  readonly startedAtMs: number;
  readonly counters: readonly Counters[];
  readonly ownCounters: Counters;
  readonly laneCounters: Counters;
  readonly laneMtus: () => readonly number[] | undefined;
  readonly peering: Pick<Peering, 'health' | 'about' | 'setUplink' | 'datagramBytes'> & {
    readonly monitor: Pick<PathMonitor, 'override' | 'peerPaths' | 'isAlive'>;
  };
  readonly routes: SnapshotParts['routes'];
  readonly links: () => SnapshotParts['links'];
  /** An administrator changed something of an uplink, in words. */
  readonly said: (uplink: string, words: string) => void;
}

const LOOK_EVERY_MS = 30_000;
const MOVES_KEPT = 4_096;

export class StatusBoard {
  readonly #parts: StatusBoardParts;
  readonly #day: DayBytes;
  readonly #timer: NodeJS.Timeout;
  /** By uplink, since the start. */
  readonly #addresses = new Map<string, readonly IpAddress[]>();
  /** By peer's site, uplink and address. */
  readonly #movedAtUnixMs = new Map<string, number>();
  /** Paths of peers that were revoked: what they carried was carried. */
  readonly #former: { readonly uplink: string; readonly index: number }[] = [];

  constructor(parts: StatusBoardParts) {
    this.#parts = parts;
    this.#day = new DayBytes((uplink) => this.#carried(uplink), Date.now());
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  snapshot(): StatusSnapshot {
    this.#look();
    return takeSnapshot(this.#snapshotParts());
  }

  command(name: string, command: UplinkCommand): UplinkAnswer {
    const { peering, site } = this.#parts;
    const uplink = site().uplinks.find((one) => one.name === name);
    if (!uplink) {
      const { code, message, hint } = unknownUplink(
        name,
        site().uplinks.map((one) => one.name),
      );
      return { ok: false, code, message, ...(hint !== undefined && { hint }) };
    }
    const before = uplinkStatus(this.#snapshotParts(), uplink);
    peering.setUplink(name, overriddenBy(peering.monitor.override(name), command));
    const now = uplinkStatus(this.#snapshotParts(), uplink);
    const words = changeWords(before, now);
    if (words.length > 0) this.#parts.said(name, `by the administrator: ${words.join('; ')}`);
    return { ok: true, uplink: now };
  }

  moved(record: PathEventRecord): void {
    if (record.from === record.to) return;
    // Addresses that were learnt come and go.
    if (this.#movedAtUnixMs.size >= MOVES_KEPT) this.#movedAtUnixMs.delete(this.#movedAtUnixMs.keys().next().value!);
    this.#movedAtUnixMs.set(namesOf(record), record.atUnixMs);
  }

  /** Before the site forgets its paths. */
  revoked({ index, paths }: Peer): void {
    for (const path of paths) this.#former.push({ uplink: path.uplink.name, index: pathIndexOf(index, path.index) });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { uplinks } = this.#parts.site();
    for (const { name, addresses } of uplinks) this.#everHad(name, addresses);
    this.#day.look(
      uplinks.map(({ name }) => name),
      Date.now(),
    );
  }

  #snapshotParts(): SnapshotParts {
    const { site, version, startedAtMs, counters, ownCounters, laneCounters, laneMtus, peering, routes, links } = this.#parts;
    const now = site();
    const decided = peering.monitor.peerPaths();
    return {
      site: now,
      version,
      startedAtMs,
      counters,
      ownCounters,
      laneCounters,
      laneMtus: laneMtus(),
      health: (peer, path) => peering.health(peer, path),
      about: (peer) => peering.about(peer),
      override: (uplink) => peering.monitor.override(uplink),
      carries: (peer, path) => peering.monitor.isAlive(peer, path) && (decided[peer]?.carry.includes(path) ?? false),
      sinceUnixMs: (peer, index) => {
        const { site: name, paths } = now.peers[peer]!;
        const { uplink, peerAddress } = paths[index]!;
        return this.#movedAtUnixMs.get(namesOf({ peer: name, uplink: uplink.name, peerAddress: peerAddress.address.text })) ?? null;
      },
      bytesToday: (uplink) => this.#day.today(uplink),
      routes,
      links: links(),
    };
  }

  #carried(name: string): Carried {
    const { site, counters, laneCounters, peering } = this.#parts;
    const { uplinks, peers } = site();
    const total = { ...peering.datagramBytes(this.#everHad(name, uplinks.find((one) => one.name === name)?.addresses ?? [])) };
    const living = peers.flatMap((peer) =>
      peer.paths.map((path) => ({ uplink: path.uplink.name, index: pathIndexOf(peer.index, path.index) })),
    );
    for (const { uplink, index } of [...living, ...this.#former])
      if (uplink === name)
        for (const one of [...counters, laneCounters]) {
          const { txBytes, rxBytes } = one.path(index);
          total.tx += txBytes;
          total.rx += rxBytes;
        }
    return total;
  }

  /** What was carried under an address that is gone counts, too. */
  #everHad(name: string, addresses: readonly IpAddress[]): readonly IpAddress[] {
    const before = this.#addresses.get(name) ?? [];
    const fresh = addresses.filter(({ text }) => !before.some((one) => one.text === text));
    if (fresh.length === 0) return before;
    const all = [...before, ...fresh];
    this.#addresses.set(name, all);
    return all;
  }
}

/** A path as its events name it. */
function namesOf({ peer, uplink, peerAddress }: Pick<PathEventRecord, 'peer' | 'uplink' | 'peerAddress'>): string {
  return `${peer} ${uplink} ${peerAddress}`;
}

const OVERRIDES: Readonly<Record<UplinkStatus['override'], string>> = { none: 'enabled', disabled: 'disabled', drain: 'drained' };

/** What was asked for and is so already is no change. */
function changeWords(before: UplinkStatus, now: UplinkStatus): string[] {
  const meteredText = (isMetered: boolean) => (isMetered ? 'metered' : 'not metered');
  return [
    ...(before.override === now.override ? [] : [`${OVERRIDES[now.override]}, was ${OVERRIDES[before.override]}`]),
    ...(before.role === now.role ? [] : [`role ${now.role}, was ${before.role}`]),
    ...(before.metered === now.metered ? [] : [`${meteredText(now.metered)}, was ${meteredText(before.metered)}`]),
  ];
}

/** `enable` takes back `disable` and `drain`, not what was set. */
function overriddenBy(before: UplinkOverride, command: UplinkCommand): UplinkOverride {
  if ('set' in command) return { ...before, ...command.set };
  const { role, metered } = before;
  const kept = { ...(role !== undefined && { role }), ...(metered !== undefined && { metered }) };
  if (command.action === 'disable') return { ...kept, disabled: true };
  return command.action === 'drain' ? { ...kept, drained: true } : kept;
}
