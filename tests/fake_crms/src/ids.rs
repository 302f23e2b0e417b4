//! Random ids as vendors give them: for correlation ids, request ids and tokens. Ids of records come
//! from the closure their table has, so that tests can foretell them.

/// A random version 4 UUID with hyphens, in lower case.
pub fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// 32 random hexadecimal digits.
pub fn hex_32() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
