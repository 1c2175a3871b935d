/**
 * The fields of sing-box's configuration as its versions 1.12 to 1.14 know them, and what becomes of each here: `read` where it says
 * something that Braid needs, else in words why it is left out. A field that is not in here is unknown to sing-box too, or newer than this
 * list.
 */
export type Fate = 'read' | { readonly left: string };

const read = 'read' as const;
const left = (why: string): Fate => ({ left: why });

const LISTENS = left('Braid opens its own sockets, on every uplink');
const DIALS = left('Braid chooses uplink and source of each connection itself');
const TIMES = left('Braid has its own times');
const NOT_OURS = left('it is about other programs than the two sites');

function all(names: string, fate: Fate): Record<string, Fate> {
  return Object.fromEntries(names.split(' ').map((name) => [name, fate]));
}

const LISTEN_FIELDS = {
  ...all('listen bind_interface routing_mark reuse_addr netns detour', LISTENS),
  ...all('disable_tcp_keep_alive tcp_keep_alive tcp_keep_alive_interval udp_timeout', TIMES),
  ...all('tcp_fast_open udp_fragment sniff sniff_override_destination sniff_timeout domain_strategy', DIALS),
};

const DIAL_FIELDS = {
  ...all(
    'detour bind_interface inet4_bind_address inet6_bind_address bind_address_no_port protect_path routing_mark reuse_addr netns',
    DIALS,
  ),
  ...all(
    'tcp_fast_open udp_fragment domain_resolver domain_strategy network_strategy network_type fallback_network_type fallback_delay',
    DIALS,
  ),
  ...all('connect_timeout disable_tcp_keep_alive tcp_keep_alive tcp_keep_alive_interval', TIMES),
};

export const FIELDS = {
  top: {
    ...all('inbounds outbounds route', read),
    ...all('$schema', left('it is for editors')),
    ...all('log', left('Braid logs to stderr, which systemd keeps')),
    ...all('dns ntp certificate endpoints services experimental certificate_providers', NOT_OURS),
  },
  'shadowsocks inbound': {
    ...all('type tag listen_port method password users destinations tcp_multi_path', read),
    ...all('network', left('TCP and the datagrams of the two sites come in on one port')),
    ...all('multiplex', left('Braid keeps connections ready instead, and a peer that multiplexes is refused')),
    ...all('managed', left('users come from files here')),
    ...LISTEN_FIELDS,
  },
  'shadowsocks outbound': {
    ...all('type tag server server_port method password plugin network udp_over_tcp tcp_multi_path', read),
    ...all('plugin_opts', left('there is no plugin')),
    ...all('multiplex', left('Braid keeps connections ready instead')),
    ...DIAL_FIELDS,
  },
  'tun inbound': {
    ...all(
      // The whole inbound is left out, which is said once.
      'type tag interface_name address mtu auto_route iproute2_table_index iproute2_rule_index auto_redirect auto_redirect_input_mark auto_redirect_output_mark auto_redirect_reset_mark auto_redirect_nfqueue auto_redirect_iproute2_fallback_rule_index exclude_mptcp loopback_address strict_route route_address route_address_set route_exclude_address route_exclude_address_set include_interface exclude_interface include_uid include_uid_range exclude_uid exclude_uid_range include_android_user include_package exclude_package include_mac_address exclude_mac_address udp_timeout stack platform endpoint_independent_nat sniff sniff_override_destination sniff_timeout domain_strategy gso',
      read,
    ),
  },
  route: {
    ...all('rules final', read),
    ...all('auto_detect_interface default_interface default_mark default_domain_resolver', DIALS),
    ...all('default_network_strategy default_network_type default_fallback_network_type default_fallback_delay', DIALS),
    ...all('rule_set find_process find_neighbor override_android_vpn dhcp_lease_files geoip geosite', NOT_OURS),
  },
  'route rule': {
    ...all('type outbound action ip_cidr ip_is_private invert', read),
    // They say where the traffic comes from: Braid takes up all of the LAN's.
    ...all('inbound network ip_version', left('Braid takes up what the LAN sends to the peer')),
    ...all(
      'auth_user protocol client domain domain_suffix domain_keyword domain_regex geosite source_geoip geoip source_ip_cidr source_ip_is_private source_port source_port_range port port_range process_name process_path process_path_regex package_name user user_id clash_mode network_type network_is_expensive network_is_constrained interface_address network_interface_address default_interface_address wifi_ssid wifi_bssid preferred_by source_mac_address source_hostname rule_set rule_set_ip_cidr_match_source rule_set_ip_cidr_accept_any_address mode rules',
      left('Braid carries all of a prefix; who may reach what is said in [[peer.allow]] of the far site'),
    ),
    ...all(
      'override_address override_port udp_connect udp_timeout udp_disable_domain_unmapping network_strategy fallback_network_type fallback_delay tls_fragment tls_fragment_fallback_delay tls_record_fragment method no_drop server strategy disable_cache rewrite_ttl client_subnet sniffer timeout',
      left('the target of a flow stays what it is'),
    ),
  },
} as const satisfies Record<string, Readonly<Record<string, Fate>>>;

export type FieldSet = keyof typeof FIELDS;

/** Inbounds that only take traffic up on this host, which Braid does by itself. */
export const TAKES_UP = new Set(['tun', 'tproxy', 'redirect']);
/** Inbounds that serve programs on this host; they may go on in a sing-box of their own. */
export const LOCAL_PROXIES = new Set(['mixed', 'socks', 'http', 'direct']);
/** Outbounds that are no tunnel. */
export const NO_TUNNEL = new Set(['direct', 'block', 'dns']);
