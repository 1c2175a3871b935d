/**
 * The daemon as a service of systemd: one template unit for all sites. `systemctl` is asked as a program; where systemd does not run, nobody
 * asks it (sd_booted(3)).
 */
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { DEFAULT_RUN_DIR } from '../api/run-dir.ts';
import { BraidError } from '../error.ts';

export interface ServiceManager {
  /** Where its daemons have their configuration and their sockets. */
  readonly configDirectory: string;
  readonly runDir: string;
  /** Whether it runs this machine. */
  readonly isPresent: () => boolean;
  /** Whether it knows the unit, whoever wrote it. */
  readonly hasUnit: (site: string) => Promise<boolean>;
  /** @returns the file. @throws BraidError SERVICE */
  readonly writeUnit: (text: string) => Promise<string>;
  /** Now, and at each boot. @throws BraidError SERVICE with the service manager's words */
  readonly start: (site: string) => Promise<void>;
  /** Now and for good. @returns whether it ran or was enabled. */
  readonly stop: (site: string) => Promise<boolean>;
}

const BOOTED = '/run/systemd/system';
const UNIT_FILE = '/etc/systemd/system/braid@.service';
/** Longer than the unit's own limits. */
const SYSTEMCTL_MS = 120_000;

export class Systemd implements ServiceManager {
  readonly configDirectory = '/etc/braid';
  readonly runDir = DEFAULT_RUN_DIR;
  readonly #unitFile: string;

  constructor(unitFile = UNIT_FILE) {
    this.#unitFile = unitFile;
  }

  isPresent(): boolean {
    return existsSync(BOOTED);
  }

  async hasUnit(site: string): Promise<boolean> {
    return (await systemctl('cat', unitOf(site))).code === 0;
  }

  async writeUnit(text: string): Promise<string> {
    try {
      writeFileSync(this.#unitFile, text, { mode: 0o644 });
    } catch (cause) {
      throw new BraidError('SERVICE', `${this.#unitFile} cannot be written: ${(cause as NodeJS.ErrnoException).code}`, {
        hint: 'put packaging/braid@.service where your system keeps its units, or start with --detached',
        cause,
      });
    }
    await must('daemon-reload');
    return this.#unitFile;
  }

  async start(site: string): Promise<void> {
    await must('enable', '--now', unitOf(site));
  }

  async stop(site: string): Promise<boolean> {
    const [active, enabled] = await Promise.all([
      systemctl('is-active', '--quiet', unitOf(site)),
      systemctl('is-enabled', '--quiet', unitOf(site)),
    ]);
    if (active.code !== 0 && enabled.code !== 0) return false;
    await must('disable', '--now', unitOf(site));
    return true;
  }
}

function unitOf(site: string): string {
  return `braid@${site}.service`;
}

async function must(...args: readonly string[]): Promise<void> {
  const { code, text } = await systemctl(...args);
  if (code !== 0)
    throw new BraidError('SERVICE', `systemctl ${args.join(' ')}: ${text.trim().split('\n')[0] || `ended with ${code}`}`, {
      hint: `journalctl -u ${args.at(-1)} says more`,
    });
}

function systemctl(...args: readonly string[]): Promise<{ readonly code: number; readonly text: string }> {
  return new Promise((resolve) => {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
    execFile('systemctl', [...args], { env, timeout: SYSTEMCTL_MS }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, text: stderr || stdout }),
    );
  });
}

/** @param root where Braid is installed: `bin/braid` lies below. */
export function unitText(root: string): string {
  return `[Unit]
Description=Braid, site %i
Documentation=file:${root}/docs/operations.md
After=network-online.target nftables.service
Wants=network-online.target

[Service]
Type=notify
ExecStart=${root}/bin/braid run -c /etc/braid/%i.toml
ExecReload=${root}/bin/braid reload %i
Restart=on-failure
RestartSec=1
WatchdogSec=30
TimeoutStopSec=15
LimitNOFILE=262144

# The undo journal must outlive a crash.
RuntimeDirectory=braid
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes

CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
# A peer that joins, or is revoked, is written into the configuration.
ReadWritePaths=-/etc/braid
ProtectHome=yes
PrivateTmp=yes
# The TUN device of the packet lane, and no other.
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`;
}
