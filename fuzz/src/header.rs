//! A virtio-net header and its frame: what is refused, and what comes of what is not.

use softdpu_datapath::memory::Source;
use softdpu_datapath::offload::{Header, Offloads, finish};
use softdpu_datapath::ring::Payload;

use crate::input::Input;

const ETHERNET: usize = 14;

pub fn header(data: &[u8]) {
    let mut input = Input::new(data);
    let may = Offloads(input.u64());
    let mut bytes = [0; 10];
    let given = input.bytes(10);
    bytes[..given.len()].copy_from_slice(given);
    let mut frame = match input.below(4) {
        0 => input.bytes(4096).to_vec(),
        kind => tcp([2; 6], [4; 6], kind == 1, input.of(&[54, 1514, 3000, 66_000, 74, 100])),
    };
    for _ in 0..input.below(8) {
        let at = input.below(frame.len().clamp(1, 120));
        if let Some(byte) = frame.get_mut(at) {
            *byte = input.byte();
        }
    }
    let cuts = [input.below(80), input.below(80)];
    if input.flag() {
        // As a driver would fill it in, so that what follows is reached.
        bytes[0] = 1;
        bytes[1] = input.of(&[0, 1, 4, 0x81, 5]);
        bytes[4..6].copy_from_slice(&input.of(&[1448u16, 1, 100, 9000]).to_le_bytes());
        bytes[6..8].copy_from_slice(&input.of(&[34u16, 54, 38]).to_le_bytes());
        bytes[8..10].copy_from_slice(&input.of(&[16u16, 6]).to_le_bytes());
    }
    both(bytes, &frame, &cuts, may);
}

fn both(bytes: [u8; 10], frame: &[u8], cuts: &[usize; 2], may: Offloads) {
    let (first, rest) = frame.split_at(cuts[0].min(frame.len()));
    let (second, third) = rest.split_at(cuts[1].min(rest.len()));
    let pieces = [Source::from(first), Source::from(second), Source::from(third)];
    let payload = Payload::new(&pieces, frame.len(), 0);
    for asked in [Header::new(bytes).transmitted(may, &payload), Header::new(bytes).represented(&payload)] {
        let Some(header) = asked else { continue };
        let again: [u8; 10] = header.bytes(1)[..10].try_into().expect("ten of twelve");
        assert_eq!(Header::new(again).bytes(1), header.bytes(1), "what is passed on says the same");
        assert!(header.longest(frame.len()) <= frame.len());
        if let Some(taken) = may.taken(header) {
            assert!(taken == header || taken.plain());
        }
        complete(&header, frame);
    }
}

/// What comes of a header that was not refused is complete, and no byte of the payload is lost.
fn complete(header: &Header, frame: &[u8]) {
    let mut own = frame.to_vec();
    let mut out: Vec<Vec<u8>> = Vec::new();
    let done = finish(header, &mut own, |frame| {
        let mut bytes = vec![0; frame.len];
        assert_eq!(frame.read(&mut bytes), frame.len);
        out.push(bytes);
        true
    });
    assert_eq!(done, Some(true), "a header that was not refused can be dealt with");
    assert!(out.iter().all(|one| one.len() <= header.longest(frame.len())));
    if header.segmented() {
        segments(frame, &out);
    } else {
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].len(), frame.len());
        if !header.partial() {
            assert_eq!(out[0], frame);
        }
    }
}

fn segments(frame: &[u8], out: &[Vec<u8>]) {
    assert!(out.len() > 1, "what fits into one segment is not cut");
    let total: usize = out.iter().map(Vec::len).sum();
    let headers = (total - frame.len()) / (out.len() - 1);
    let data: Vec<u8> = out.iter().flat_map(|one| one[headers..].to_vec()).collect();
    assert_eq!(data, frame[headers..], "the payloads are the payload");
    for one in out {
        assert_eq!(one[..12], frame[..12]);
        if one[12..14] == [8, 0] {
            let len = usize::from(one[ETHERNET] & 15) * 4;
            assert_eq!(sum(&one[ETHERNET..ETHERNET + len]), 0xffff, "the IP header's checksum");
            assert_eq!(usize::from(u16::from_be_bytes([one[16], one[17]])), one.len() - ETHERNET);
        }
    }
}

/// The sum of 16-bit words with the carry brought round (RFC 1071), word by word.
fn sum(bytes: &[u8]) -> u32 {
    let total: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let total = (total & 0xffff) + (total >> 16);
    (total & 0xffff) + (total >> 16)
}

/// A TCP segment of `len` bytes in all, over IPv6 or IPv4, as a driver leaves it.
pub fn tcp(to: [u8; 6], from: [u8; 6], v6: bool, len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &from].concat();
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((len.saturating_sub(ETHERNET + 40) as u16).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0x20; 32]);
    } else {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((len.saturating_sub(ETHERNET) as u16).to_be_bytes());
        frame.extend([0, 7, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    }
    frame.extend([3, 232, 7, 208, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x19, 0, 100, 0, 0, 0, 0]);
    let start = frame.len();
    frame.extend((0..len.saturating_sub(start)).map(|n| n as u8));
    frame.truncate(len);
    frame
}
