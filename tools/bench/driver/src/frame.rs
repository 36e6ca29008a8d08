//! The frame that a guest sends, with its virtio_net_hdr.

use crate::ring::{HEADER, SHORT};

const ETHERNET: usize = 14;
const INTERNET: usize = 20;
const TCP: usize = 20;
const LOCAL_EXPERIMENT: u16 = 0x88b5;
const IPV4: u16 = 0x0800;
/// Bytes of payload in a segment, as Linux with time stamps has them.
const SEGMENT: u16 = 1448;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;

/// Guest `number`'s header and frame for the other guest: of a protocol that nobody answers, or, beyond `SHORT` bytes, a
/// TCP segment that is still to be cut and summed.
pub fn frame(number: u8, octets: usize) -> Vec<u8> {
    let long = octets > SHORT;
    let mut frame = if long { offload_header() } else { vec![0; HEADER] };
    frame.extend([2, 0, 0, 0, 0, 1 - number]);
    frame.extend([2, 0, 0, 0, 0, number]);
    frame.extend(if long { IPV4 } else { LOCAL_EXPERIMENT }.to_be_bytes());
    if long {
        frame.extend(segment_headers(number, octets - ETHERNET));
    }
    let filled = frame.len() - HEADER;
    frame.extend((filled..octets).map(|place| (place as u8).wrapping_mul(7) ^ number));
    frame
}

/// virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers.
fn offload_header() -> Vec<u8> {
    let words = [(ETHERNET + INTERNET + TCP) as u16, SEGMENT, (ETHERNET + INTERNET) as u16, 16, 0];
    let mut header = vec![NEEDS_CSUM, GSO_TCPV4];
    header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    header
}

/// IPv4 and TCP, the latter's checksum that of the pseudo header alone, as NEEDS_CSUM has it.
fn segment_headers(number: u8, octets: usize) -> Vec<u8> {
    let addresses = [10, 0, 0, number, 10, 0, 0, 1 - number];
    let mut internet = vec![0x45, 0];
    internet.extend((octets as u16).to_be_bytes());
    internet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    internet.extend(addresses);
    let checksum = !sum(&internet);
    internet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut pseudo = addresses.to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend(((octets - INTERNET) as u16).to_be_bytes());
    let mut tcp = vec![0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
    tcp[16..18].copy_from_slice(&sum(&pseudo).to_be_bytes());
    [internet, tcp].concat()
}

/// The sum of 16-bit words with carries added in (RFC 1071).
fn sum(data: &[u8]) -> u16 {
    let mut sum: u32 = data.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_length_asked_for() {
        for octets in [60, 64, 1518, 65226] {
            assert_eq!(frame(0, octets).len(), HEADER + octets);
        }
    }

    #[test]
    fn the_sum_over_an_internet_header_is_zero() {
        let frame = frame(1, 65226);
        assert_eq!(sum(&frame[HEADER + ETHERNET..][..INTERNET]), 0xffff);
    }
}
