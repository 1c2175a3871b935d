/** The three ciphers of Shadowsocks 2022 (SIP022 §2.1), as one table: nobody else branches on a method's name. */
export type Method = '2022-blake3-aes-128-gcm' | '2022-blake3-aes-256-gcm' | '2022-blake3-chacha20-poly1305';

export interface MethodFacts {
  readonly method: Method;
  /** Pre-shared keys, session keys and salts all have this length. */
  readonly keyBytes: 16 | 32;
  readonly saltBytes: 16 | 32;
  /** What OpenSSL calls it. */
  readonly cipherName: 'AES-128-GCM' | 'AES-256-GCM' | 'ChaCha20-Poly1305';
  /** Whether SIP023 defines identity headers for it: they are AES blocks, so the ChaCha method has none. */
  readonly identityHeaders: boolean;
  /** Of a packet of its own UDP format (SIP022 §3.2): 12 are part of the header, 24 (XChaCha) stand in front of the packet. */
  readonly packetNonceBytes: 12 | 24;
}

export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;

export const METHODS: Readonly<Record<Method, MethodFacts>> = {
  '2022-blake3-aes-128-gcm': {
    method: '2022-blake3-aes-128-gcm',
    keyBytes: 16,
    saltBytes: 16,
    cipherName: 'AES-128-GCM',
    identityHeaders: true,
    packetNonceBytes: 12,
  },
  '2022-blake3-aes-256-gcm': {
    method: '2022-blake3-aes-256-gcm',
    keyBytes: 32,
    saltBytes: 32,
    cipherName: 'AES-256-GCM',
    identityHeaders: true,
    packetNonceBytes: 12,
  },
  '2022-blake3-chacha20-poly1305': {
    method: '2022-blake3-chacha20-poly1305',
    keyBytes: 32,
    saltBytes: 32,
    cipherName: 'ChaCha20-Poly1305',
    identityHeaders: false,
    packetNonceBytes: 24,
  },
};
