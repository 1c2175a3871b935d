/**
 * The only door to C. Every signature crosses with numbers only: an `int64` argument costs koffi 50 to 70 ns, a Buffer 130 to 150.
 *
 * libc comes from the system, OpenSSL's EVP from Node's own binary (`koffi.load(null)`). An `Address` can only be had from a `Slab`, which
 * checks the range; so nothing outside `native` can hand C a pointer that was computed unchecked.
 */
import koffi from 'koffi';
import { BraidError } from '../error.ts';
import type { Address } from './slab.ts';

const libc = koffi.load('libc.so.6');

/** An opaque pointer that C made and C will get back (EVP_CIPHER_CTX and the like). 0 is NULL. */
export type Handle = number & { readonly handle: unique symbol };

const memmove = libc.func('int64 memmove(void*, void*, uint64)');

/** @returns where `bytes` lies. Only for memory that V8 never moves: see slab.ts, the one caller. */
export function addressOf(bytes: Buffer): number {
  return Number(memmove(bytes, bytes, 0));
}

/** errno of the call just made. Stale after a success: look at it only where the call returned a negative number. */
export function errno(): number {
  return koffi.errno();
}

type Fd = number;
export const libcCalls = {
  read: libc.func('int64 read(int, int64, int64)') as (fd: Fd, into: Address, length: number) => number,
  write: libc.func('int64 write(int, int64, int64)') as (fd: Fd, from: Address, length: number) => number,
  readv: libc.func('int64 readv(int, int64, int)') as (fd: Fd, iovec: Address, count: number) => number,
  writev: libc.func('int64 writev(int, int64, int)') as (fd: Fd, iovec: Address, count: number) => number,
  recv: libc.func('int64 recv(int, int64, int64, int)') as (fd: Fd, into: Address, length: number, flags: number) => number,
  send: libc.func('int64 send(int, int64, int64, int)') as (fd: Fd, from: Address, length: number, flags: number) => number,
  sendto: libc.func('int64 sendto(int, int64, int64, int, int64, uint)') as (
    fd: Fd,
    from: Address,
    length: number,
    flags: number,
    to: Address,
    toLength: number,
  ) => number,
  sendmsg: libc.func('int64 sendmsg(int, int64, int)') as (fd: Fd, message: Address, flags: number) => number,
  recvmsg: libc.func('int64 recvmsg(int, int64, int)') as (fd: Fd, message: Address, flags: number) => number,
  open: libc.func('int open(const char*, int, int)') as (path: string, flags: number, mode: number) => number,
  close: libc.func('int close(int)') as (fd: Fd) => number,
  socket: libc.func('int socket(int, int, int)') as (family: number, type: number, protocol: number) => number,
  socketpair: libc.func('int socketpair(int, int, int, int64)') as (
    family: number,
    type: number,
    protocol: number,
    into: Address,
  ) => number,
  bind: libc.func('int bind(int, int64, uint)') as (fd: Fd, address: Address, length: number) => number,
  connect: libc.func('int connect(int, int64, uint)') as (fd: Fd, address: Address, length: number) => number,
  listen: libc.func('int listen(int, int)') as (fd: Fd, backlog: number) => number,
  accept4: libc.func('int accept4(int, int64, int64, int)') as (fd: Fd, address: Address | 0, length: Address | 0, flags: number) => number,
  getsockname: libc.func('int getsockname(int, int64, int64)') as (fd: Fd, address: Address, length: Address) => number,
  getpeername: libc.func('int getpeername(int, int64, int64)') as (fd: Fd, address: Address, length: Address) => number,
  setsockopt: libc.func('int setsockopt(int, int, int, int64, uint)') as (
    fd: Fd,
    level: number,
    name: number,
    value: Address,
    length: number,
  ) => number,
  getsockopt: libc.func('int getsockopt(int, int, int, int64, int64)') as (
    fd: Fd,
    level: number,
    name: number,
    value: Address,
    length: Address,
  ) => number,
  shutdown: libc.func('int shutdown(int, int)') as (fd: Fd, how: number) => number,
  ioctl: libc.func('int ioctl(int, uint64, int64)') as (fd: Fd, request: number, argument: Address) => number,
  /** For the requests whose argument is a number and no pointer (TUNSETOFFLOAD). */
  ioctlValue: libc.func('int ioctl(int, uint64, int64)') as (fd: Fd, request: number, value: number) => number,
  clock_gettime: libc.func('int clock_gettime(int, int64)') as (clock: number, into: Address) => number,
  epoll_create1: libc.func('int epoll_create1(int)') as (flags: number) => number,
  epoll_ctl: libc.func('int epoll_ctl(int, int, int, int64)') as (epoll: Fd, operation: number, fd: Fd, event: Address) => number,
  epoll_wait: libc.func('int epoll_wait(int, int64, int, int)') as (epoll: Fd, events: Address, most: number, timeoutMs: number) => number,
  epoll_pwait2: libc.func('int epoll_pwait2(int, int64, int, int64, int64)') as (
    epoll: Fd,
    events: Address,
    most: number,
    timespec: Address,
    sigmask: number,
  ) => number,
  eventfd: libc.func('int eventfd(uint, int)') as (initial: number, flags: number) => number,
  setns: libc.func('int setns(int, int)') as (fd: Fd, type: number) => number,
  prctl: libc.func('int prctl(int, int64, int64, int64, int64)') as (option: number, a: number, b: number, c: number, d: number) => number,
  setrlimit: libc.func('int setrlimit(int, int64)') as (resource: number, limit: Address) => number,
} as const;

/** EVP as Node's binary exports it. Pointers that are NULL on purpose are written as 0. */
export interface EvpCalls {
  readonly fetch: (context: 0, name: string, properties: 0) => Handle;
  readonly ctxNew: () => Handle;
  readonly ctxFree: (ctx: Handle) => void;
  readonly setPadding: (ctx: Handle, on: 0 | 1) => number;
  readonly encryptInit: (ctx: Handle, cipher: Handle | 0, engine: 0, key: Address | 0, nonce: Address | 0) => number;
  readonly decryptInit: (ctx: Handle, cipher: Handle | 0, engine: 0, key: Address | 0, nonce: Address | 0) => number;
  readonly encryptUpdate: (ctx: Handle, out: Address | 0, outLength: Address, input: Address, length: number) => number;
  readonly decryptUpdate: (ctx: Handle, out: Address | 0, outLength: Address, input: Address, length: number) => number;
  readonly encryptFinal: (ctx: Handle, out: Address, outLength: Address) => number;
  readonly decryptFinal: (ctx: Handle, out: Address, outLength: Address) => number;
  readonly ctrl: (ctx: Handle, type: number, argument: number, pointer: Address | 0) => number;
  /** With `OSSL_PARAM`s: nonce and tag in one call. */
  readonly decryptInitWith: (ctx: Handle, cipher: 0, key: 0, nonce: Address, params: Address) => number;
  readonly getParams: (ctx: Handle, params: Address) => number;
}

/** Asked for once, at start. @param library null: Node's own binary. @throws BraidError RUNTIME_NO_OPENSSL where this Node does not export its OpenSSL (a build with shared or no OpenSSL). */
export function loadEvp(library: string | null = null): EvpCalls {
  const program = koffi.load(library);
  try {
    return {
      fetch: program.func('int64 EVP_CIPHER_fetch(int64, const char*, int64)') as unknown as EvpCalls['fetch'],
      ctxNew: program.func('int64 EVP_CIPHER_CTX_new()') as unknown as EvpCalls['ctxNew'],
      ctxFree: program.func('void EVP_CIPHER_CTX_free(int64)') as unknown as EvpCalls['ctxFree'],
      setPadding: program.func('int EVP_CIPHER_CTX_set_padding(int64, int)') as unknown as EvpCalls['setPadding'],
      encryptInit: program.func('int EVP_EncryptInit_ex(int64, int64, int64, int64, int64)') as unknown as EvpCalls['encryptInit'],
      decryptInit: program.func('int EVP_DecryptInit_ex(int64, int64, int64, int64, int64)') as unknown as EvpCalls['decryptInit'],
      encryptUpdate: program.func('int EVP_EncryptUpdate(int64, int64, int64, int64, int)') as unknown as EvpCalls['encryptUpdate'],
      decryptUpdate: program.func('int EVP_DecryptUpdate(int64, int64, int64, int64, int)') as unknown as EvpCalls['decryptUpdate'],
      encryptFinal: program.func('int EVP_EncryptFinal_ex(int64, int64, int64)') as unknown as EvpCalls['encryptFinal'],
      decryptFinal: program.func('int EVP_DecryptFinal_ex(int64, int64, int64)') as unknown as EvpCalls['decryptFinal'],
      ctrl: program.func('int EVP_CIPHER_CTX_ctrl(int64, int, int, int64)') as unknown as EvpCalls['ctrl'],
      decryptInitWith: program.func('int EVP_DecryptInit_ex2(int64, int64, int64, int64, int64)') as unknown as EvpCalls['decryptInitWith'],
      getParams: program.func('int EVP_CIPHER_CTX_get_params(int64, int64)') as unknown as EvpCalls['getParams'],
    };
  } catch (cause) {
    throw new BraidError(
      'RUNTIME_NO_OPENSSL',
      `OpenSSL's EVP functions expected in the runtime's own binary, got a Node ${process.version} without them`,
      {
        cause,
        hint: 'run bin/braid with the runtime that npm ci installs (node_modules/node-linux-*), not a distribution build that links OpenSSL from outside',
      },
    );
  }
}
