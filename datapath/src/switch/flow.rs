//! Which receive queue a flow goes to: the partner of the transmit queue that it last left by (virtio 1.3 §5.1.6.5.6,
//! automatic receive steering), else one chosen by its hash.

use super::frame::Frame;

const SLOTS: usize = 256;
const LOOKED_AT: usize = 64;

/// The pair, plus one, that the flows of each hash last transmitted on.
pub struct Steering {
    pairs: Box<[u16; SLOTS]>,
}

impl Default for Steering {
    fn default() -> Self {
        Steering { pairs: Box::new([0; SLOTS]) }
    }
}

impl Steering {
    pub fn transmitted(&mut self, frame: &Frame<'_, '_>, pair: u16) {
        self.pairs[hash(frame) as usize % SLOTS] = pair + 1;
    }

    /// The pair for a frame to be received, of `pairs`.
    pub fn choose(&self, frame: &Frame<'_, '_>, pairs: u16) -> u16 {
        let hash = hash(frame);
        match self.pairs[hash as usize % SLOTS] {
            known if (1..=pairs).contains(&known) => known - 1,
            _ => (hash >> 16) as u16 % pairs.max(1),
        }
    }
}

/// The same in both directions of a flow: by addresses and ports, or by MAC addresses when there are none.
fn hash(frame: &Frame<'_, '_>) -> u32 {
    let mut bytes = [0; LOOKED_AT];
    let n = frame.payload.read(&mut bytes).min(frame.len());
    let mixed = flow(&bytes[..n]).unwrap_or(frame.destination.value() ^ frame.source.value());
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn flow(frame: &[u8]) -> Option<u64> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let (kind, packet) =
        if tagged { (frame.get(16..18)?, frame.get(18..)?) } else { (&frame[12..14], frame.get(14..)?) };
    match kind {
        [0x08, 0x00] => ipv4(packet),
        [0x86, 0xdd] => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<u64> {
    let addresses = folded(packet.get(12..16)?) ^ folded(packet.get(16..20)?);
    let header = usize::from(packet[0] & 15) * 4;
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    let ports = if fragment { None } else { ports(packet[9], packet.get(header..)) };
    Some(addresses ^ ports.unwrap_or(0) << 32)
}

fn ipv6(packet: &[u8]) -> Option<u64> {
    let addresses = folded(packet.get(8..24)?) ^ folded(packet.get(24..40)?);
    Some(addresses ^ ports(packet[6], packet.get(40..)).unwrap_or(0) << 32)
}

fn ports(protocol: u8, segment: Option<&[u8]>) -> Option<u64> {
    let segment = segment.filter(|_| matches!(protocol, 6 | 17))?;
    Some(folded(segment.get(0..2)?) ^ folded(segment.get(2..4)?))
}

fn folded(bytes: &[u8]) -> u64 {
    bytes.chunks(4).fold(0, |sum, chunk| sum ^ chunk.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
