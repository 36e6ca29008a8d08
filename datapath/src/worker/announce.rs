//! A guest that has moved here cannot always say so itself: the device does it in its place.

use super::engine::Engine;
use super::forward::send_own;
use super::orders::FunctionId;
use crate::memory::Source;
use crate::offload::Header;
use crate::ring::Payload;
use crate::switch::{Frame, Frames};

const BROADCAST: [u8; 6] = [0xff; 6];
const TYPE_RARP: [u8; 2] = [0x80, 0x35];
/// Ethernet, IPv4, lengths of their addresses, "request reverse" (RFC 903).
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 3];
const SHORTEST: usize = 60;

impl Engine {
    pub(super) fn announce(&mut self, function: FunctionId, address: [u8; 6]) {
        let frame = request(address);
        let mut turn = self.in_turn();
        let Some(port) = turn.fabric.function(function) else { return };
        turn.with(function, |fabric, scratch| {
            let pieces = [Source::from(&frame[..])];
            let frames = Frames::one(Frame::new(Payload::new(&pieces, frame.len(), 0), Header::default()));
            send_own(port, &frames, fabric, scratch);
        });
        self.see_to();
    }
}

/// Asks who the address belongs to: it is its own sender and target, and all switches learn where it is.
fn request(address: [u8; 6]) -> [u8; SHORTEST] {
    let mut frame = [0; SHORTEST];
    let fields = [&BROADCAST[..], &address, &TYPE_RARP, &REQUEST, &address, &[0; 4], &address, &[0; 4]];
    let mut at = 0;
    for field in fields {
        frame[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_address_as_sender_and_target() {
        let frame = request([2, 1, 2, 3, 4, 5]);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 1, 2, 3, 4, 5, 0x80, 0x35]);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 3]);
        assert_eq!((&frame[22..28], &frame[32..38]), (&frame[6..12], &frame[6..12]));
    }
}
