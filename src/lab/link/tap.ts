/**
 * TAP devices, made inside the namespace where they belong, so that no device of a lab is ever seen in the root namespace.
 *
 * Constants from linux/if_tun.h and sched.h. Frames carry a `virtio_net_hdr` (10 bytes) that passes from one device to the other untouched:
 * with it the kernel leaves the checksum of a frame undone until, and unless, somebody needs it.
 */
import { closeSync, openSync } from 'node:fs';
import { BraidError } from '../../error.ts';
import { errno, libcCalls, SLAB_MIN_BYTES, Slab } from '../../native/index.ts';

const O_RDWR_NONBLOCK = 0o4002;
const CLONE_NEWNET = 0x4000_0000;
const TUNSETIFF = 0x4004_54ca;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNSETCARRIER = 0x4004_54e2;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;

export const VNET_HEADER_BYTES = 10;

const scratch = new Slab(SLAB_MIN_BYTES);

/** @returns the device's descriptor, non-blocking. It works in any thread, whichever namespace that is in. @throws BraidError LAB */
export function openTap(namespace: string, device: string): number {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  const there = openSync(`/run/netns/${namespace}`, 'r');
  try {
    must('setns', libcCalls.setns(there, CLONE_NEWNET));
    const fd = must('open /dev/net/tun', libcCalls.open('/dev/net/tun', O_RDWR_NONBLOCK, 0));
    scratch.bytes.fill(0, 0, 40); // struct ifreq
    scratch.bytes.write(device, 0, 15, 'latin1');
    scratch.bytes.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, 16);
    must(`TUNSETIFF ${device}`, libcCalls.ioctl(fd, TUNSETIFF, scratch.range(0, 40)));
    must(`TUNSETOFFLOAD ${device}`, libcCalls.ioctlValue(fd, TUNSETOFFLOAD, TUN_F_CSUM));
    return fd;
  } finally {
    must('setns back', libcCalls.setns(home, CLONE_NEWNET));
    closeSync(home);
    closeSync(there);
  }
}

export function setCarrier(fd: number, up: boolean): void {
  scratch.bytes.writeInt32LE(up ? 1 : 0, 0);
  must('TUNSETCARRIER', libcCalls.ioctl(fd, TUNSETCARRIER, scratch.range(0, 4)));
}

function must(call: string, result: number): number {
  if (result < 0)
    throw new BraidError('LAB', `${call}: success expected, got errno ${errno()}`, {
      hint: 'the link emulator needs root and /dev/net/tun',
    });
  return result;
}
