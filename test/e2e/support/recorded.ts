/** UDP payloads out of a capture file (pcap, Ethernet, IPv4 without options): what somebody on the way could write down and send again. */
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;

export function recordedDatagrams(pcap: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8);
    const frame = pcap.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    at += RECORD_HEADER_BYTES + length;
    const udp = frame.subarray(ETHERNET_BYTES + IPV4_BYTES);
    if (frame.readUInt16BE(12) === 0x0800 && udp.length > UDP_BYTES) found.push(Buffer.from(udp.subarray(UDP_BYTES, udp.readUInt16BE(4))));
  }
  return found;
}
