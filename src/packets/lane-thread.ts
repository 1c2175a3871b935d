/** The packet lane's thread: wires the real parts together and runs until it is told to stop. */
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { DatagramCiphers } from '../crypto/datagram-evp.ts';
import { EvpPacketCiphers } from '../crypto/packet-evp.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { LinuxDatagrams } from '../kernel/datagram-sockets.ts';
import { errnoName } from '../kernel/errno.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import { openTun } from '../kernel/tun.ts';
import { collectGarbage } from '../native/index.ts';
import { Counters, PEERS_MOST } from '../status/counters.ts';
import { Lane } from './lane.ts';
import type { FromLane, LaneStart, ToLane } from './messages.ts';

const { start, port } = workerData as { readonly start: LaneStart; readonly port: MessagePort };
const post = (message: FromLane) => port.postMessage(message);
const sockets = new LinuxSockets();
let isWakeGiven = false;
let lane: Lane | undefined;

try {
  const tun = openTun(start.device);
  if (typeof tun === 'number')
    post({
      kind: 'failed',
      code: 'KERNEL_CALL',
      message: `TUN device ${start.device} expected, got ${errnoName(tun)}`,
      hint: 'modprobe tun; ip link show says whether another device has this name',
    });
  else {
    lane = new Lane({
      site: start.site,
      poller: sockets,
      datagrams: new LinuxDatagrams(),
      io: sockets,
      tun,
      ciphers: new DatagramCiphers(),
      packetCiphers: new EvpPacketCiphers(),
      counters: new Counters(PEERS_MOST, start.counters),
      clock: new MonotonicClock(),
      post,
      nextCommand: () => receiveMessageOnPort(port)?.message as ToLane | undefined,
    });
    collectGarbage(); // of the start
    post({ kind: 'ready', wakeFd: sockets.wakeFd });
    isWakeGiven = true;
    lane.run();
  }
} finally {
  lane?.close();
  sockets.resetAll(isWakeGiven);
  port.close();
}
