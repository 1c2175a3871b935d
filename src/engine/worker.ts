/** A data-plane thread's entry: wires the real parts together and runs the loop until it is told to stop. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { EvpCiphers } from '../crypto/evp.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { EADDRINUSE } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import { LinuxPathManager } from '../kernel/mptcp-pm.ts';
import { collectGarbage } from '../native/index.ts';
import { Codec } from '../shadowsocks/codec.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import { Counters, PEERS_MOST } from '../status/counters.ts';
import type { FromWorker, ToWorker, WorkerStart } from './messages.ts';
import { WorkerLoop } from './worker-loop.ts';

const { start, port } = workerData as { readonly start: WorkerStart; readonly port: MessagePort };
const post = (message: FromWorker) => port.postMessage(message);
const sockets = new LinuxSockets();
let isWakeGiven = false;

try {
  const codec = new Codec({
    ciphers: new EvpCiphers(),
    ring: KeyRing.fromTransfer(start.keys),
    replay: new ReplayStore(start.replay),
    notBeforeUnixSeconds: start.notBeforeUnixSeconds,
  });
  const loop = new WorkerLoop({
    site: start.site,
    sockets,
    pathManager: new LinuxPathManager(),
    codec,
    counters: new Counters(PEERS_MOST, start.counters),
    clock: new MonotonicClock(),
    post,
    nextCommand: () => receiveMessageOnPort(port)?.message as ToWorker | undefined,
  });
  const failed = loop.listen();
  if (failed) {
    const message = `${failed.what} expected to be free, got ${errnoName(failed.error)}`;
    if (failed.error === EADDRINUSE)
      post({
        kind: 'failed',
        code: 'HOST_PORT_TAKEN',
        message,
        hint: 'ss -tlnp shows who listens there; change listen or network.tproxy_port',
      });
    else post({ kind: 'failed', code: 'KERNEL_CALL', message });
  } else {
    collectGarbage(); // of the start
    post({ kind: 'ready', wakeFd: sockets.wakeFd });
    isWakeGiven = true;
    loop.run();
  }
} finally {
  // Resets: a thread that dies must not look like an orderly end.
  sockets.resetAll(isWakeGiven);
  port.close();
}
