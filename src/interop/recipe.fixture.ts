/** The recipe's two configurations, with keys of their own: what somebody has who followed it. */
export const key = (fill: number, bytes = 16) => Buffer.alloc(bytes, fill).toString('base64');

interface RecipeNode {
  readonly receiveKey: string;
  readonly sendKey: string;
  readonly server: string;
  readonly remoteLan: string;
  readonly tunAddress: string;
}

export const NODE1: RecipeNode = {
  receiveKey: key(1),
  sendKey: key(2),
  server: '10.0.0.2',
  remoteLan: '172.16.1.0/24',
  tunAddress: '169.254.2.1/32',
};
export const NODE2: RecipeNode = {
  receiveKey: key(2),
  sendKey: key(1),
  server: '10.0.0.1',
  remoteLan: '172.16.0.0/24',
  tunAddress: '169.254.2.2/32',
};

export function recipe({ receiveKey, sendKey, server, remoteLan, tunAddress }: RecipeNode) {
  const method = '2022-blake3-aes-128-gcm';
  return {
    log: { level: 'info' },
    inbounds: [
      {
        type: 'shadowsocks',
        tag: 'ss-in',
        listen: '::',
        listen_port: 8388,
        network: 'tcp',
        method,
        password: receiveKey,
        tcp_multi_path: true,
      },
      { type: 'tun', tag: 'tun', interface_name: 'tun0', address: [tunAddress], auto_route: false, stack: 'gvisor' },
    ],
    outbounds: [
      {
        type: 'shadowsocks',
        tag: 'ss-out',
        server,
        server_port: 8388,
        method,
        password: sendKey,
        tcp_multi_path: true,
        udp_over_tcp: true,
      },
      { type: 'direct', tag: 'direct' },
    ],
    route: {
      rules: [
        { ip_cidr: [remoteLan], outbound: 'ss-out' },
        { ip_is_private: true, outbound: 'direct' },
      ],
      auto_detect_interface: false,
    },
  };
}

export function recipeText(node: RecipeNode): string {
  return JSON.stringify(recipe(node), null, 2);
}
