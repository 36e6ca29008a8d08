//! Where the headers of a TCP segment or a UDP datagram lie in its frame.

/// Bytes of a frame in which all its headers must be.
pub const LOOKED_AT: usize = 256;

const ETHERTYPE: usize = 12;
const MOST_TAGS: usize = 2;
const VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// Extension headers that may stand before the transport's and leave its pseudo-header alone: hop-by-hop and destination options.
const OPTIONS: [u8; 2] = [0, 60];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub v6: bool,
    pub udp: bool,
    /// Offsets of the IP header, of the TCP or UDP header, and of what comes after it.
    pub network: usize,
    pub transport: usize,
    pub payload: usize,
}

impl Layout {
    /// Of the beginning of a frame; None if it is neither TCP nor UDP, a fragment, or cut short.
    pub fn of(bytes: &[u8]) -> Option<Layout> {
        let mut at = ETHERTYPE;
        for _ in 0..MOST_TAGS {
            if VLAN.contains(&pair(bytes, at)?) {
                at += 4;
            }
        }
        let network = at + 2;
        let v6 = match pair(bytes, at)? {
            IPV4 => false,
            IPV6 => true,
            _ => return None,
        };
        let (protocol, transport) = if v6 { ipv6(bytes, network)? } else { ipv4(bytes, network)? };
        let udp = protocol == UDP;
        let header = match protocol {
            TCP => usize::from(bytes.get(transport + 12)? >> 4) * 4,
            UDP => UDP_HEADER,
            _ => return None,
        };
        let payload = transport + header;
        ((udp || header >= 20) && payload <= bytes.len()).then_some(Layout { v6, udp, network, transport, payload })
    }
}

fn pair(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at..at + 2)?.try_into().ok()
}

/// The protocol above it, and where that begins.
fn ipv4(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let header = bytes.get(at..at + 20)?;
    let len = usize::from(header[0] & 15) * 4;
    let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
    (header[0] >> 4 == 4 && len >= 20 && whole).then_some((header[9], at + len))
}

fn ipv6(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let header = bytes.get(at..at + IPV6_HEADER)?;
    let (mut next, mut end) = (header[6], at + IPV6_HEADER);
    while OPTIONS.contains(&next) {
        let [following, eights] = pair(bytes, end)?;
        next = following;
        end += (usize::from(eights) + 1) * 8;
    }
    (header[0] >> 4 == 6).then_some((next, end))
}
