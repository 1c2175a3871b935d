/**
 * Flows that our side started towards peers that may not reach everything here: what answers them passes. A table of a fixed size; a flow is
 * forgotten when neither side was heard for LIFETIME_MS, or when FLOWS_MOST newer ones came.
 *
 * UDP answers from port to port; an echo request is answered by echo replies of its identifier; of other protocols a packet of ours opens the
 * way back between the two addresses, because SPIs and GRE keys differ by direction.
 */
import { DESTINATION, type InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import { RecentKeys } from './recent-keys.ts';

const FLOWS_MOST = 16_384;
/** As long as firewalls keep UDP that both sides sent (Linux: 120 s), and a little longer than what keeps NAT open. */
const LIFETIME_MS = 180_000;
const PROTOCOL_WORD = 8;
const IDENTITY_WORD = 9;
const WORDS = 10;

export class Replies {
  readonly #recent = new RecentKeys(WORDS, FLOWS_MOST, LIFETIME_MS);

  /** @param packet one that goes to the peer. */
  expect(packet: InnerPacket, nowMs: number): void {
    if (packet.isLaterFragment || (packet.icmpType >= 0 && !isEchoRequest(packet))) return;
    this.#setKey(packet, SOURCE, DESTINATION, packet.sourcePort, packet.destinationPort);
    this.#recent.remember(0, nowMs);
  }

  /** @param packet one that came from the peer. An answer keeps its flow alive: downloads have packets in one direction only. */
  isExpected(packet: InnerPacket, nowMs: number): boolean {
    if (packet.icmpType >= 0 && !isEchoReply(packet)) return false;
    this.#setKey(packet, DESTINATION, SOURCE, packet.destinationPort, packet.sourcePort);
    if (this.#recent.find(nowMs) < 0) return false;
    this.#recent.remember(0, nowMs);
    return true;
  }

  #setKey(
    { addresses, protocol, icmpType, identity }: InnerPacket,
    ours: number,
    theirs: number,
    ourPort: number,
    theirPort: number,
  ): void {
    const { key } = this.#recent;
    for (let i = 0; i < 4; i++) {
      key[i] = addresses[ours + i]!;
      key[4 + i] = addresses[theirs + i]!;
    }
    key[PROTOCOL_WORD] = protocol;
    key[IDENTITY_WORD] = icmpType >= 0 ? identity : (ourPort << 16) | theirPort;
  }
}

function isEchoRequest({ protocol, icmpType }: InnerPacket): boolean {
  return icmpType === (protocol === PROTOCOL.icmp ? 8 : 128);
}

function isEchoReply({ protocol, icmpType }: InnerPacket): boolean {
  return icmpType === (protocol === PROTOCOL.icmp ? 0 : 129);
}
