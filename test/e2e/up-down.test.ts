/** `braid up` and `braid down` without systemd: a daemon that outlives the command, waits for its peer in clear words, and leaves nothing behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Braids, buildLab, type Lab, stream, twoSites } from '../../src/lab/index.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await buildLab(twoSites({ ipv4Only: true }));
});
afterAll(() => lab?.close());

it('up waits until the site carries traffic, down opens it again', async () => {
  const braids = new Braids(lab);
  const [berlin, munich] = await Promise.all(['berlin', 'munich'].map((site) => braids.state(site)));
  const verb = (site: string, name: string, ...more: string[]) =>
    braids.braid(site, [name, site, ...more, '--run-dir', braids.runDirectory]);
  const up = (site: string, ...more: string[]) => verb(site, 'up', '-c', braids.configFile(site), '--detached', ...more);

  const early = await up('berlin', '--timeout', '1');
  expect(early.code).toBe(5);
  expect(early.stderr).toMatch(/started process \d+; its log is .*berlin\.log\n/);
  expect(early.stderr).toMatch(
    /berlin does not carry traffic after 1 s: munich is not reached: fiber to 10\.0\.0\.2:8388 is (down|suspect|probing)/,
  );
  expect(await up('munich')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^munich carries traffic to berlin: [12] of 2 paths up\n$/),
  });
  const again = await up('berlin');
  expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('the daemon for berlin runs already') });
  expect((await stream(lab, { upBytes: 1_000_000 })).sent.intact).toBe(true);

  const down = await verb('munich', 'down');
  expect(down).toMatchObject({ code: 0, stdout: expect.stringMatching(/^munich is down: this host is as it was, .*in the clear\n$/) });
  expect(await braids.state('munich')).toBe(munich);
  expect(readdirSync(braids.runDirectory).filter((name) => name.startsWith('munich'))).toEqual(['munich.log']);
  // Our own device went: nobody is blamed for it.
  expect(readFileSync(join(braids.runDirectory, 'munich.log'), 'utf8')).not.toMatch(/another program|ENOENT|cannot put/);
  expect(await verb('munich', 'down')).toMatchObject({ code: 3 });

  // Killed: down puts back what it left.
  process.kill(Number(/started process (\d+)/.exec(early.stderr)![1]), 'SIGKILL');
  await expect.poll(async () => (await verb('berlin', 'status')).code).toBe(3);
  expect(await verb('berlin', 'down')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('a daemon that was killed had left this host closed'),
  });
  expect(await braids.state('berlin')).toBe(berlin);
});
