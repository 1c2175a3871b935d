/** Numbers of the kernel's uapi headers, x86-64 and arm64 (they agree on all of these). The header stands beside each group. */

// asm-generic/errno.h; results here are kernel style, -errno on failure
export const EAGAIN = 11;
export const EEXIST = 17;
export const EMFILE = 24;
export const ENFILE = 23;
export const EPIPE = 32;
export const EPROTO = 71;
export const ENOPROTOOPT = 92;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ENOTCONN = 107;
export const ECONNREFUSED = 111;
export const EHOSTUNREACH = 113;
export const EINPROGRESS = 115;
export const ENETUNREACH = 101;
export const EIO = 5;
export const EINVAL = 22;
export const EMSGSIZE = 90;
export const EBADFD = 77;

// bits/socket.h
export const AF_UNSPEC = 0;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SHUT_WR = 1;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

// linux/in.h
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_IP = 0;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_MPTCP = 262;
export const IP_TRANSPARENT = 19;
export const IP_BIND_ADDRESS_NO_PORT = 24;
export const IP_MTU_DISCOVER = 10;
/** DF is set, and what the kernel learned of the path's MTU is not believed. */
export const IP_PMTUDISC_DONT = 0;
export const IP_PMTUDISC_PROBE = 3;
// linux/in6.h
export const IPV6_MTU_DISCOVER = 23;
export const IPV6_PMTUDISC_DONT = 0;
export const IPV6_PMTUDISC_PROBE = 3;
export const IPV6_V6ONLY = 26;
export const IPV6_TRANSPARENT = 75;

// asm-generic/socket.h
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_KEEPALIVE = 9;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_SNDBUFFORCE = 32;
export const SO_SNDBUF = 7;
export const SO_RCVBUFFORCE = 33;
export const SO_TIMESTAMPNS = 35;
export const SO_ATTACH_REUSEPORT_CBPF = 51;

// linux/udp.h
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

// linux/if_tun.h, linux/virtio_net.h
export const TUNSETIFF = 0x400454ca;
export const TUNSETOFFLOAD = 0x400454d0;
export const IFF_TUN = 0x1;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;
export const TUN_F_CSUM = 0x1;
/** Linux 6.2. */
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;

// linux/tcp.h
export const SOL_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_MAXSEG = 2;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
/** Linux 6.10. */
export const TCP_IS_MPTCP = 43;

// linux/mptcp.h
export const SOL_MPTCP = 284;
export const MPTCP_INFO = 1;
export const MPTCP_TCPINFO = 2;
export const MPTCP_SUBFLOW_ADDRS = 3;
export const MPTCP_FULL_INFO = 4;

// linux/sockios.h: bytes written and not yet acknowledged
export const SIOCOUTQ = 0x5411;

// sys/epoll.h
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 0x1;
/** Urgent data. */
export const EPOLLPRI = 0x2;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x8000_0000;

// sys/eventfd.h
export const EFD_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = 0o2000000;
