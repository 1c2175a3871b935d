/** `[network]`: numbers and addresses of the kernel that Braid shares with other programs. */
import * as z from 'zod';
import { parsePrefix } from '../wire/ip.ts';
import { checkedText } from './checked.ts';

export const NETWORK_DEFAULTS = {
  mark: 0x4200_0000,
  mask: 0xff00_0000,
  tableBase: 4200,
  rulePreference: 4200,
  tproxyPort: 8389,
  nexthopBase: 4200,
  innerAddresses: '198.18.0.0/15',
} as const;

export const port = z.int().min(1).max(65_535);

const wholeMark = z.int().min(1).max(0xffff_ffff);

export const networkSchema = z.strictObject({
  mark: wholeMark.default(NETWORK_DEFAULTS.mark).describe('The firewall mark of packets that Braid takes up.'),
  mask: wholeMark
    .default(NETWORK_DEFAULTS.mask)
    .describe("The bits of the mark that are Braid's; all other bits are left to other programs."),
  table_base: z
    .int()
    .min(1)
    .max(0xffff_ff00)
    .default(NETWORK_DEFAULTS.tableBase)
    .describe(
      "The first routing table: this one for packets taken up, the next for the gateway's own connections, then one for each uplink.",
    ),
  rule_preference: z
    .int()
    .min(1)
    .max(32_000)
    .default(NETWORK_DEFAULTS.rulePreference)
    .describe('The preference of the first policy rule; below 32766, where the main table is.'),
  nexthop_base: z
    .int()
    .min(1)
    .max(0xffff_0000)
    .default(NETWORK_DEFAULTS.nexthopBase)
    .describe('The first id of nexthop objects, 64 for each peer; used for peers with `transport = "ecmp"` only.'),
  tproxy_port: port
    .default(NETWORK_DEFAULTS.tproxyPort)
    .describe('The TCP port on loopback where the kernel hands over the flows of the LAN.'),
  inner_addresses: checkedText((text) => {
    if (text === 'off') return undefined;
    const found = parsePrefix(text);
    return found?.family === 4 && found.length >= 8 && found.length <= 28
      ? undefined
      : {
          message: `an IPv4 prefix of 8 to 28 bits, or "off", expected, got ${JSON.stringify(text)}`,
          hint: `the default is ${NETWORK_DEFAULTS.innerAddresses}`,
        };
  })
    .default(NETWORK_DEFAULTS.innerAddresses)
    .describe(
      'Each uplink gets an address from here on the packet lane\'s device, so that an uplink that takes MPTCP out of connections still adds to single flows: their subflow travels inside the lane. Nobody else sees these addresses; `"off"` does without.',
    ),
});
