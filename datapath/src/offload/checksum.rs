//! The Internet checksum (RFC 1071). Words are summed as they lie in memory: the result has the same byte order.

/// Adds bytes to a sum; any but the last part of a sum has an even length.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let quads = bytes.chunks_exact(4);
    let mut last = [0; 4];
    last[..quads.remainder().len()].copy_from_slice(quads.remainder());
    let total: u64 = quads.map(|quad| u64::from(u32::from_le_bytes(quad.try_into().expect("4 bytes")))).sum();
    // 2^32 quads and more would be needed for an overflow.
    sum + total + u64::from(u32::from_le_bytes(last))
}

/// The complement of a sum, ready to be written. Never 0, which with UDP means that there is none; 0xffff is the same
/// number.
pub fn folded(sum: u64) -> [u8; 2] {
    match !fold(sum) {
        0 => [0xff; 2],
        checksum => checksum.to_le_bytes(),
    }
}

/// A sum in 16 bits, in the byte order of its words.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
