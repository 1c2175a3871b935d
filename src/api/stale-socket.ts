/** The socket of a daemon that was killed: the file is there, nobody listens. */
import { unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { notPermitted } from './run-dir.ts';

/** @throws BraidError HOST_ROOT where we may not ask or not remove it. */
export async function removeStaleSocket(path: string): Promise<'answers' | 'removed' | 'none'> {
  const error = await connectError(path);
  if (error === undefined) return 'answers';
  if (error.code === 'EACCES' || error.code === 'EPERM') throw notPermitted(path);
  if (error.code !== 'ECONNREFUSED') return 'none';
  try {
    unlinkSync(path);
  } catch (failure) {
    const { code } = failure as NodeJS.ErrnoException;
    if (code === 'ENOENT') return 'none';
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') throw notPermitted(path);
    throw failure;
  }
  return 'removed';
}

function connectError(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((done) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      done(undefined);
    });
    probe.once('error', done);
  });
}
