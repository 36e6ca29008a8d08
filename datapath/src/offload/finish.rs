//! What a driver left undone, done in software for a receiver who cannot.

use super::checksum::{add, folded};
use super::header::{Header, TCP_CHECKSUM, UDP_CHECKSUM};
use super::layout::{LOOKED_AT, Layout};
use crate::memory::Source;
use crate::ring::Payload;

/// Offsets in a TCP header, and its flags.
const SEQUENCE: usize = 4;
const FLAGS: usize = 13;
const FIN: u8 = 1;
const PSH: u8 = 8;
const CWR: u8 = 0x80;
const TCP: u8 = 6;
/// Where a UDP header has its length.
const UDP_LENGTH: usize = 4;
const UDP: u8 = 17;

/// Calls `each` with every frame that comes of one, complete, in order, until it says false. `frame` is a copy, which nobody
/// else can change: whether `each` took all. None if the header contradicts the frame.
pub fn finish(header: &Header, frame: &mut [u8], mut each: impl FnMut(&Payload<'_, '_>) -> bool) -> Option<bool> {
    if header.segmented() {
        return cut(header, frame, each);
    }
    if header.partial() && !complete(header, frame) {
        return None;
    }
    let pieces = [Source::from(&*frame)];
    Some(each(&Payload::new(&pieces, frame.len(), 0)))
}

/// The driver has put the sum of the pseudo-header where the checksum will be (§5.1.6.2).
fn complete(header: &Header, frame: &mut [u8]) -> bool {
    let (start, place) = (usize::from(header.start), usize::from(header.start) + usize::from(header.offset));
    if place + 2 > frame.len() {
        return false;
    }
    let checksum = folded(add(0, &frame[start..]));
    frame[place..place + 2].copy_from_slice(&checksum);
    true
}

fn cut(header: &Header, frame: &[u8], mut each: impl FnMut(&Payload<'_, '_>) -> bool) -> Option<bool> {
    let layout = header.layout(&frame[..frame.len().min(LOOKED_AT)]).filter(|layout| layout.payload < frame.len())?;
    let size = usize::from(header.size).max(1);
    let (headers, data) = frame.split_at(layout.payload);
    let last = data.len().div_ceil(size).saturating_sub(1);
    let mut own = [0; LOOKED_AT];
    let taken = data.chunks(size).enumerate().all(|(number, part)| {
        let own = &mut own[..layout.payload];
        own.copy_from_slice(headers);
        layout.address(own, number, part.len());
        if layout.udp {
            layout.length(own, part.len());
        } else {
            layout.number(own, number * size, [number == 0, number == last]);
        }
        layout.sum(own, part);
        let pieces = [Source::from(&*own), Source::from(part)];
        each(&Payload::new(&pieces, own.len() + part.len(), 0))
    });
    Some(taken)
}

impl Layout {
    /// IP: lengths, and for IPv4 an id of its own and the header's checksum.
    fn address(&self, headers: &mut [u8], number: usize, part: usize) {
        let transport = self.payload - self.transport + part;
        let ip = &mut headers[self.network..self.transport];
        if self.v6 {
            let extensions = ip.len() - 40;
            ip[4..6].copy_from_slice(&((extensions + transport) as u16).to_be_bytes());
            return;
        }
        let len = (ip.len() + transport) as u16;
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(number as u16);
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[10..12].fill(0);
        let checksum = folded(add(0, ip));
        ip[10..12].copy_from_slice(&checksum);
    }

    /// TCP: the sequence number; CWR on the first segment only, FIN and PSH on the last.
    fn number(&self, headers: &mut [u8], offset: usize, [first, last]: [bool; 2]) {
        let tcp = &mut headers[self.transport..];
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
        tcp[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        if !first {
            tcp[FLAGS] &= !CWR;
        }
        if !last {
            tcp[FLAGS] &= !(FIN | PSH);
        }
    }

    /// UDP: each datagram's own length.
    fn length(&self, headers: &mut [u8], part: usize) {
        let udp = &mut headers[self.transport..];
        let len = (udp.len() + part) as u16;
        udp[UDP_LENGTH..UDP_LENGTH + 2].copy_from_slice(&len.to_be_bytes());
    }

    fn sum(&self, headers: &mut [u8], part: &[u8]) {
        let (before, own) = headers.split_at_mut(self.transport);
        let ip = &before[self.network..];
        let addresses = if self.v6 { &ip[8..40] } else { &ip[12..20] };
        let (protocol, place) = if self.udp { (UDP, UDP_CHECKSUM) } else { (TCP, TCP_CHECKSUM) };
        let checksum = usize::from(place)..usize::from(place) + 2;
        let [high, low] = ((own.len() + part.len()) as u16).to_be_bytes();
        own[checksum.clone()].fill(0);
        let sum = add(add(add(0, addresses), &[0, protocol, high, low]), own);
        own[checksum].copy_from_slice(&folded(add(sum, part)));
    }
}
