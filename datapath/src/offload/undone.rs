//! Frames whose checksum was left undone, with nothing that says so: what virtual interfaces (veth) give to XDP.

use super::checksum::{add, fold};
use super::header::{Header, TCP_CHECKSUM, UDP_CHECKSUM};
use super::layout::Layout;

const NEEDS_CSUM: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The header that a frame lacks, from its beginning. Where the sender left the checksum to others, its place has the sum of the
/// pseudo-header. A complete checksum that happens to be the same is not harmed: completing it gives itself.
pub fn undone(bytes: &[u8]) -> Header {
    found(bytes).unwrap_or_default()
}

fn found(bytes: &[u8]) -> Option<Header> {
    let layout = Layout::of(bytes)?;
    let (protocol, offset) = if layout.udp { (UDP, UDP_CHECKSUM) } else { (TCP, TCP_CHECKSUM) };
    let place = layout.transport + usize::from(offset);
    let told = bytes.get(place..place + 2)?;
    if fold(pseudo(bytes, &layout, protocol)?).to_le_bytes() != *told {
        return None;
    }
    let start = u16::try_from(layout.transport).ok()?.to_le_bytes();
    let [low, high] = offset.to_le_bytes();
    Some(Header::new([NEEDS_CSUM, 0, 0, 0, 0, 0, start[0], start[1], low, high]))
}

/// The sum of addresses, protocol and length. None where the lengths contradict each other.
fn pseudo(bytes: &[u8], layout: &Layout, protocol: u8) -> Option<u64> {
    let ip = &bytes[layout.network..layout.transport];
    let (addresses, at, before) = if layout.v6 { (8..40, 4, 40) } else { (12..20, 2, 0) };
    let told = usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    let [high, low] = u16::try_from((told + before).checked_sub(ip.len())?).ok()?.to_be_bytes();
    Some(add(add(0, &ip[addresses]), &[0, protocol, high, low]))
}
