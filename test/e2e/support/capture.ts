/**
 * A packet capture on every uplink of a gateway, and the question that matters about it: did anything of the LAN leave in the clear?
 *
 * Whatever is captured must be between uplink addresses, and none of the marker text that the tests send may be in it.
 */
import { readFileSync } from 'node:fs';
import type { Lab, LabProcess } from '../../../src/lab/index.ts';

interface Captured {
  readonly packets: number;
  /** Packets from or to a LAN address, as tcpdump prints them. */
  readonly lanPackets: readonly string[];
  /** Which of the marker texts could be read on the wire. */
  readonly readable: readonly string[];
}

interface Tap {
  readonly site: string;
  readonly file: string;
  readonly process: LabProcess;
}

/** Of each packet: headers, and the text that a test sends at the beginning of a request. */
const KEPT_BYTES = 400;

export class Capture {
  readonly #lab: Lab;
  readonly #taps: readonly Tap[];

  private constructor(lab: Lab, taps: readonly Tap[]) {
    this.#lab = lab;
    this.#taps = taps;
  }

  /** Returns once every capture runs. */
  static async start(lab: Lab, sites: readonly string[] = ['berlin', 'munich']): Promise<Capture> {
    const taps = sites.flatMap((site) =>
      lab.topology.uplinks.map(({ name }) => {
        const file = `${lab.directory}/${site}-${name}.pcap`;
        return {
          site,
          file,
          process: lab.start(site, [
            'tcpdump',
            '-i',
            name,
            '-n',
            '-U',
            '--immediate-mode',
            '-s',
            String(KEPT_BYTES),
            '-Z',
            'root',
            '-w',
            file,
          ]),
        };
      }),
    );
    for (const { process } of taps) await process.waitFor(/listening on/);
    return new Capture(lab, taps);
  }

  async stop(markers: readonly string[] = []): Promise<Captured> {
    const lan = this.#lab.topology.sites.flatMap((site) => site.lan.map((prefix) => `net ${prefix}`)).join(' or ');
    const lanPackets: string[] = [];
    const readable = new Set<string>();
    let packets = 0;
    for (const { site, file, process } of this.#taps) {
      await process.stop('SIGINT');
      packets += Number(/(\d+) packets captured/.exec(process.stderr())?.[1] ?? 0);
      const shown = await this.#lab.must(site, ['tcpdump', '-n', '-r', file, lan]);
      lanPackets.push(...shown.split('\n').filter((line) => line !== ''));
      const bytes = readFileSync(file);
      for (const marker of markers) if (bytes.includes(marker)) readable.add(marker);
    }
    return { packets, lanPackets, readable: [...readable] };
  }
}
