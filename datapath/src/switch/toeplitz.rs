//! The Toeplitz hash of receive-side scaling (virtio 1.3 §5.1.6.4.3; "Verifying the RSS Hash Calculation", Microsoft).

use super::flow::LONGEST;

/// Longest key: that of the longest input, and 32 bits more.
pub const KEY: usize = LONGEST + 4;
const NIBBLES: usize = 2 * LONGEST;

/// A key, ready: for each half byte of an input, what each of its values adds. Nibbles, not bytes, so that it fits the
/// first-level cache beside all else.
pub struct Toeplitz {
    added: Box<[[u32; 16]; NIBBLES]>,
}

impl Toeplitz {
    /// What is missing of a key is zero.
    pub fn new(key: &[u8]) -> Toeplitz {
        let mut whole = [0; KEY];
        let len = key.len().min(KEY);
        whole[..len].copy_from_slice(&key[..len]);
        let mut added = Box::new([[0; 16]; NIBBLES]);
        for (place, values) in added.iter_mut().enumerate() {
            for (value, sum) in values.iter_mut().enumerate() {
                let set = (0..4).filter(|bit| value >> (3 - bit) & 1 != 0);
                *sum = set.fold(0, |sum, bit| sum ^ window(&whole, 4 * place + bit));
            }
        }
        Toeplitz { added }
    }

    /// Of an input of up to `LONGEST` bytes.
    #[inline]
    pub fn hash(&self, input: &[u8]) -> u32 {
        input
            .iter()
            .zip(self.added.chunks_exact(2))
            .fold(0, |sum, (byte, added)| sum ^ added[0][usize::from(byte >> 4)] ^ added[1][usize::from(byte & 15)])
    }
}

/// The 32 bits of the key that begin at a bit.
fn window(key: &[u8; KEY], bit: usize) -> u32 {
    let first = bit / 8;
    let bytes = (0..5).fold(0u64, |value, n| value << 8 | u64::from(*key.get(first + n).unwrap_or(&0)));
    (bytes >> (8 - bit % 8)) as u32
}
