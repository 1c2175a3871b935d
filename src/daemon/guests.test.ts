import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { NewPeer } from '../config/peer-section.ts';
import { BraidError } from '../error.ts';
import { joinAsGuest } from '../join/exchange.ts';
import { Invitations, invitationSecrets } from '../join/invitation.ts';
import type { About, JoinAnswer } from '../join/messages.ts';
import { SecretStream } from '../join/secret-stream.ts';
import { type InviteCode, parseInviteCode } from '../wire/invite-code.ts';
import { Guests } from './guests.ts';

const METHOD = '2022-blake3-aes-128-gcm' as const;
const HOUR_MS = 3_600_000;
const key = (fill: number) => Buffer.alloc(16, fill).toString('base64');
const about = (site: string, addresses: readonly string[] = ['10.0.0.2']): About => ({
  site,
  version: '1.2.3',
  lan: ['172.16.1.0/24'],
  addresses: [...addresses],
  listen: 8388,
  identityKey: key(5),
});
const folders: string[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function host() {
  const folder = mkdtempSync(join(tmpdir(), 'braid-guests-'));
  folders.push(folder);
  const file = join(folder, 'berlin.invitations.json');
  const clock = { unixMs: Date.UTC(2026, 10, 27) };
  const invitations = new Invitations(file, () => clock.unixMs);
  const added: NewPeer[] = [];
  const faults: string[] = [];
  const said: string[] = [];
  const state = { refuses: '', adding: () => {}, portByDefault: 8388 as number | undefined };
  const guests = new Guests({
    roster: {
      portByDefault: () => state.portByDefault,
      check: () =>
        state.refuses === 'check'
          ? Promise.reject(new BraidError('CONFIG_VALUE', 'peer[1].lan[0]: overlaps what is of peer[0]'))
          : Promise.resolve(),
      add: (peer) => {
        state.adding();
        if (state.refuses === 'add') return Promise.reject(new BraidError('CONFIG_WRITE', 'disk full'));
        added.push(peer);
        return Promise.resolve({ added: [peer.site], revoked: [], changed: [], needRestart: [] });
      },
    },
    invitations,
    method: () => METHOD,
    about: () => about('berlin', ['203.0.113.1', '10.1.0.1']),
    fault: (fault) => faults.push(fault),
    said: (words) => said.push(words),
    used: () => said.push('used'),
  });
  const invite = () => {
    const at = { method: METHOD, port: 8388, addresses: [Uint8Array.of(10, 0, 0, 1)], expiresUnixMs: clock.unixMs + HOUR_MS } as const;
    return parseInviteCode(invitations.add(at)) as InviteCode;
  };
  /** @returns how it ended for the guest, and what it wrote down. */
  const guest = async (code: InviteCode, { site = 'munich', id = 1, from = '192.168.7.7', offer = about(site) } = {}) => {
    const [mine, theirs] = duplexPair();
    const secrets = invitationSecrets(code.secret, code.method);
    const stream = SecretStream.call(mine, secrets, code.method);
    let answer: JoinAnswer | undefined;
    guests.talk(id, Object.assign(theirs, { remoteAddress: from }), new Uint8Array(0));
    const parts = { method: code.method, exchangeKey: secrets.exchangeKey, about: offer };
    const accept = async (heard: JoinAnswer) => {
      answer = heard;
    };
    const ended = await joinAsGuest(stream, { ...parts, accept }).then(
      () => 'joined',
      (error: Error) => error.message,
    );
    stream.close();
    await new Promise((done) => setImmediate(done));
    return { ended, answer };
  };
  return { folder, file, clock, invitations, added, faults, said, state, guests, invite, guest };
}

describe('whoever holds a code', () => {
  it('becomes a peer with it, once', async () => {
    const { invite, guest, added, said, invitations, file } = host();
    const code = invite();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await guest(code)).toMatchObject({ ended: 'joined', answer: { site: 'berlin', dialled: ['10.0.0.2'] } });
    expect(added).toMatchObject([{ site: 'munich', section: expect.stringContaining('addresses   = ["10.0.0.2"]') }]);
    expect(added[0]!.keyFiles[0]![1]).toMatch(new RegExp(`^${key(5).replaceAll('+', '\\+')}:[A-Za-z0-9+/]{22}==\n$`));
    expect(said).toEqual(['used', 'munich joined from 192.168.7.7; its LAN is 172.16.1.0/24']);
    expect(await guest(code, { site: 'paris' })).toMatchObject({
      ended: 'the code was used already, by munich: each is good once, `braid peer add` at berlin prints another',
    });
    expect(added).toHaveLength(1);
    expect(invitations.isGood(1)).toBe(false);
    // Also after a restart.
    expect(new Invitations(file).find(1)).toMatchObject({ usedBy: 'munich' });
  });

  it('is written down with its port where the file is about to say another one for all', async () => {
    const { invite, guest, added, state } = host();
    state.portByDefault = undefined;
    expect(await guest(invite())).toMatchObject({ ended: 'joined' });
    expect(added[0]!.section).toContain('addresses   = ["10.0.0.2:8388"]');
  });

  it('is not silently given public addresses as its LAN', async () => {
    const { invite, guest, said } = host();
    const lan = ['172.16.1.0/24', 'fd00:1::/64', '8.8.8.0/24', '2001:db8::/32', '172.0.0.0/8', '9.9.9.9/32'];
    expect(await guest(invite(), { offer: { ...about('munich'), lan } })).toMatchObject({ ended: 'joined' });
    expect(said[1]).toBe(
      `munich joined from 192.168.7.7; its LAN is 172.16.1.0/24, fd00:1::/64, 8.8.8.0/24 and 3 more; what this LAN sends to 8.8.8.0/24, 2001:db8::/32, 172.0.0.0/8 and 1 more goes there now, which are public addresses: \`braid peer revoke munich\` if they are not its own`,
    );
  });

  it('hears that it cannot be called as the host', async () => {
    const { invite, guest } = host();
    expect(await guest(invite(), { site: 'berlin' })).toMatchObject({
      ended: 'it is called berlin itself: one of the two needs another --site',
    });
  });

  it('hears that it has expired, while that is remembered', async () => {
    const { invite, guest, clock, added } = host();
    const code = invite();
    clock.unixMs += HOUR_MS;
    expect(await guest(code)).toMatchObject({ ended: 'the code has expired: `braid peer add` at berlin prints another' });
    expect(added).toEqual([]);
  });

  it('keeps a code that came to nothing', async () => {
    const { invite, guest, state, added } = host();
    const code = invite();
    state.refuses = 'check';
    expect(await guest(code)).toMatchObject({
      ended: 'berlin cannot take munich, it says: the lan of munich: overlaps what is of peer[0]',
    });
    state.refuses = 'add';
    expect(await guest(code)).toMatchObject({ ended: 'disk full' });
    state.refuses = '';
    expect(await guest(code)).toMatchObject({ ended: 'joined' });
    expect(added).toHaveLength(1);
  });

  it('is no peer where nobody could note that the code was used', async () => {
    const { invite, guest, folder, added, said } = host();
    const code = invite();
    rmSync(folder, { recursive: true });
    expect(await guest(code)).toMatchObject({ ended: expect.stringMatching(/invitations\.json: cannot be written: ENOENT$/) });
    expect([added, said]).toEqual([[], [expect.stringMatching(/^a join from 192\.168\.7\.7 failed: /)]]);
  });

  it('hears that its code is used up where that could not be taken back', async () => {
    const { invite, guest, folder, state, added, invitations } = host();
    const code = invite();
    state.refuses = 'add';
    state.adding = () => rmSync(folder, { recursive: true });
    expect(await guest(code)).toMatchObject({
      ended: 'disk full; the code is used up all the same, `braid peer add` prints a new one',
    });
    expect(invitations.isGood(1)).toBe(false);
    expect(added).toEqual([]);
  });

  it('has used its code up before it is taken', async () => {
    const { invite, guest, state, file } = host();
    const code = invite();
    let noted: unknown;
    state.adding = () => {
      noted = new Invitations(file).find(1)?.usedBy;
    };
    expect(await guest(code)).toMatchObject({ ended: 'joined' });
    expect(noted).toBe('munich');
  });

  it('is dialled where it can be: a private address behind a public one leads nowhere', async () => {
    const { invite, guest, added } = host();
    const offer = about('munich', ['192.168.1.2', '203.0.113.9']);
    expect(await guest(invite(), { from: '203.0.113.9', offer })).toMatchObject({ answer: { dialled: ['203.0.113.9'] } });
    expect(added[0]!.section).toContain('addresses   = ["203.0.113.9"]');
  });

  it('does not talk twice at once, nor do many of them', async () => {
    const { invite, guests, faults } = host();
    for (let i = 0; i < 6; i++) invite();
    for (const id of [1, 1, 2, 3, 4, 5]) {
      const [mine, theirs] = duplexPair();
      mine.on('error', () => {});
      guests.talk(id, theirs, new Uint8Array(0));
    }
    await new Promise((done) => setImmediate(done));
    expect(faults).toEqual(['too-many-guests', 'too-many-guests']);
    guests.close();
  });

  it('is hung up on where it does not hang up itself', async () => {
    const { invite, guests, clock } = host();
    const code = invite();
    clock.unixMs += HOUR_MS;
    const [mine, theirs] = duplexPair();
    mine.destroy = () => mine;
    const secrets = invitationSecrets(code.secret, METHOD);
    guests.talk(1, theirs, new Uint8Array(0));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const parts = { method: METHOD, exchangeKey: secrets.exchangeKey, about: about('munich'), accept: async () => {} };
    await expect(joinAsGuest(SecretStream.call(mine, secrets, METHOD), parts)).rejects.toThrow('the code has expired');
    await new Promise((done) => setImmediate(done));
    expect([theirs.writableEnded, theirs.destroyed]).toEqual([true, false]);
    vi.advanceTimersByTime(5_000);
    expect(theirs.destroyed).toBe(true);
  });

  it('is no peer for saying anything else', async () => {
    const { invite, guests, faults, said, added } = host();
    const code = invite();
    const [mine, theirs] = duplexPair();
    mine.on('error', () => {});
    guests.talk(1, theirs, new Uint8Array(0));
    mine.write(Buffer.alloc(2_000, 7));
    mine.end();
    await new Promise((done) => setTimeout(done, 20));
    expect([faults, added]).toEqual([['bad-join'], []]);
    expect(said[0]).toMatch(/^a join from .* failed/);
    expect(code.port).toBe(8388);
  });
});

describe('the codes of a site', () => {
  it('are bounded, and forgotten a day after their end', () => {
    const { invite, clock, invitations, file } = host();
    for (let i = 0; i < 16; i++) invite();
    expect(() => invite()).toThrow('16 codes are good at the moment');
    clock.unixMs += HOUR_MS;
    invite();
    clock.unixMs += 48 * HOUR_MS;
    invite();
    expect(invitations.keys(METHOD)).toHaveLength(1);
    expect((JSON.parse(readFileSync(file, 'utf8')) as { invitations: unknown[] }).invitations).toHaveLength(1);
  });
});
