//! What comes of frames that were left undone, taken apart again and summed word by word.

use super::{Header, Offloads, finish};
use crate::memory::Source;
use crate::ring::Payload;

const ALL: Offloads = Offloads(0x3fff | 7 << 54);
const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;
const CWR: u8 = 0x80;

/// A frame of TCP or UDP, as a driver leaves it: lengths as if whole, the checksum that of the pseudo-header or nothing.
#[derive(Clone, Copy)]
struct Kind {
    v6: bool,
    udp: bool,
    tags: usize,
    options: usize,
    extension: bool,
    flags: u8,
}

const PLAIN: Kind =
    Kind { v6: false, udp: false, tags: 0, options: 12, extension: false, flags: ACK | PSH | FIN | CWR };
const DATAGRAM: Kind = Kind { udp: true, options: 0, ..PLAIN };

impl Kind {
    fn network(&self) -> usize {
        14 + 4 * self.tags
    }

    fn transport(&self) -> usize {
        self.network() + if self.v6 { 40 + if self.extension { 8 } else { 0 } } else { 20 }
    }

    fn payload(&self) -> usize {
        self.transport() + self.own() + self.options
    }

    /// The transport's own header without options.
    fn own(&self) -> usize {
        if self.udp { 8 } else { 20 }
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    fn checksum(&self) -> u16 {
        if self.udp { 6 } else { 16 }
    }

    fn frame(&self, payload: usize) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        (0..self.tags).for_each(|_| bytes.extend([0x81, 0, 0, 7]));
        bytes.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        let segment = self.own() + self.options + payload;
        if self.v6 {
            let extension = if self.extension { 8 } else { 0 };
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(((segment + extension) as u16).to_be_bytes());
            bytes.extend([if self.extension { 0 } else { self.protocol() }, 64]);
            bytes.extend((1..=32).map(|n| n * 7));
            bytes.extend([self.protocol(), 0, 1, 4, 0, 0, 0, 0].iter().take(extension));
        } else {
            bytes.extend([0x45, 0]);
            bytes.extend(((20 + segment) as u16).to_be_bytes());
            bytes.extend([0xff, 0xfe, 0x40, 0, 64, self.protocol(), 0, 0, 192, 0, 2, 1, 198, 51, 100, 9]);
        }
        bytes.extend([0x12, 0x34, 0, 80]);
        if self.udp {
            bytes.extend((segment as u16).to_be_bytes());
            bytes.extend([0, 0]);
        } else {
            bytes.extend([0xff, 0xff, 0xff, 0x00, 1, 2, 3, 4]);
            bytes.extend([((20 + self.options) * 4) as u8, self.flags, 0xab, 0xcd, 0, 0, 0, 0]);
        }
        bytes.extend((0..self.options).map(|_| 1));
        bytes.extend((0..payload).map(|n| (n * 31 + n / 251) as u8));
        bytes
    }

    fn header(&self, size: u16) -> Header {
        let gso = match (self.udp, self.v6) {
            (true, _) => 5,
            (_, true) => 4,
            _ => 1,
        };
        header(1, gso, size, self.transport() as u16, self.checksum())
    }

    fn cut(&self, payload: usize, size: u16) -> Vec<Vec<u8>> {
        let frame = self.frame(payload);
        let header = transmitted(self.header(size), &frame).expect("a frame as it should be");
        finished(&header, &frame)
    }
}

fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> Header {
    let mut bytes = [0; 10];
    bytes[..4].copy_from_slice(&[flags, gso, 0xff, 0xff]); // a length of headers that is never true
    for (at, word) in [(4, size), (6, start), (8, offset)] {
        bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
    }
    Header::new(bytes)
}

fn transmitted_by(may: Offloads, header: Header, frame: &[u8]) -> Option<Header> {
    header.transmitted(may, &Payload::new(&[Source::from(frame)], frame.len(), 0))
}

fn transmitted(header: Header, frame: &[u8]) -> Option<Header> {
    transmitted_by(ALL, header, frame)
}

fn finished(header: &Header, frame: &[u8]) -> Vec<Vec<u8>> {
    let (mut copy, mut frames) = (frame.to_vec(), Vec::new());
    let whole = finish(header, &mut copy, |payload| {
        let mut bytes = vec![0; payload.len];
        assert_eq!(payload.read(&mut bytes), payload.len);
        frames.push(bytes);
        true
    });
    assert_eq!(whole, Some(true));
    frames
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The sum of RFC 1071, one word after the other with the carry brought round.
fn reference(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, pair| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum + u16::from(carry)
    })
}

fn assert_summed(kind: &Kind, frame: &[u8]) {
    let (network, transport) = (kind.network(), kind.transport());
    let len = frame.len() - transport;
    let mut all = if kind.v6 { frame[network + 8..network + 40].to_vec() } else { frame[network + 12..][..8].to_vec() };
    all.extend([0, kind.protocol()]);
    all.extend((len as u16).to_be_bytes());
    all.extend(&frame[transport..]);
    assert_eq!(reference(&all), 0xffff, "the checksum of TCP or UDP");
    if kind.v6 {
        assert_eq!(usize::from(word(frame, network + 4)), frame.len() - network - 40);
    } else {
        assert_eq!(usize::from(word(frame, network + 2)), frame.len() - network);
        assert_eq!(reference(&frame[network..transport]), 0xffff, "the header's checksum");
    }
}

fn assert_cut(kind: &Kind, payload: usize, size: u16) {
    let (whole, frames) = (kind.frame(payload), kind.cut(payload, size));
    let mut data = Vec::<u8>::new();
    assert_eq!(frames.len(), payload.div_ceil(size.into()));
    for (number, frame) in frames.iter().enumerate() {
        assert_summed(kind, frame);
        let (tcp, last) = (&frame[kind.transport()..], number + 1 == frames.len());
        if kind.udp {
            assert_eq!(usize::from(word(tcp, 4)), tcp.len());
        } else {
            let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
            assert_eq!(sequence, 0xffff_ff00u32.wrapping_add(data.len() as u32));
            let gone = if number == 0 { 0 } else { CWR } | if last { 0 } else { FIN | PSH };
            assert_eq!(tcp[13], kind.flags & !gone);
        }
        if !kind.v6 {
            assert_eq!(word(frame, kind.network() + 4), 0xfffeu16.wrapping_add(number as u16));
        }
        assert_eq!(frame[..kind.network()], whole[..kind.network()]);
        let options = kind.transport() + kind.own()..kind.payload();
        assert_eq!(frame[options.clone()], whole[options]);
        assert!(last || frame.len() == kind.payload() + usize::from(size));
        data.extend(&frame[kind.payload()..]);
    }
    assert_eq!(data, whole[kind.payload()..]);
}

#[test]
fn segments_of_every_kind_of_frame() {
    for kind in [
        PLAIN,
        Kind { options: 0, flags: ACK, ..PLAIN },
        Kind { tags: 1, options: 40, ..PLAIN },
        Kind { tags: 2, ..PLAIN },
        Kind { v6: true, ..PLAIN },
        Kind { v6: true, tags: 1, options: 0, ..PLAIN },
        Kind { v6: true, extension: true, ..PLAIN },
        DATAGRAM,
        Kind { tags: 1, ..DATAGRAM },
        Kind { v6: true, ..DATAGRAM },
        Kind { v6: true, tags: 2, extension: true, ..DATAGRAM },
    ] {
        for (payload, size) in [(2, 1), (1449, 1448), (4344, 1448), (5001, 1447), (9999, 7), (65000, 1448)] {
            assert_cut(&kind, payload, size);
        }
    }
}

#[test]
fn what_fits_into_a_segment_is_only_summed() {
    let frame = PLAIN.frame(1000);
    for size in [1000, 1448, u16::MAX] {
        let header = transmitted(PLAIN.header(size), &frame).unwrap();
        assert!(header.partial() && !header.segmented());
        assert_eq!(header.longest(frame.len()), frame.len());
    }
}

#[test]
fn the_longest_segment_follows_from_the_frame_itself() {
    let frame = PLAIN.frame(4000);
    assert_eq!(transmitted(PLAIN.header(1448), &frame).unwrap().longest(frame.len()), PLAIN.payload() + 1448);
}

#[test]
fn a_checksum_is_completed() {
    for payload in [0, 1, 2, 3, 4, 5, 99, 1460, 1461] {
        for kind in [PLAIN, Kind { v6: true, ..PLAIN }, Kind { tags: 1, ..PLAIN }] {
            let mut frame = kind.frame(payload);
            let mut pseudo =
                frame[kind.network() + if kind.v6 { 8 } else { 12 }..][..if kind.v6 { 32 } else { 8 }].to_vec();
            pseudo.extend([0, 6]);
            pseudo.extend(((frame.len() - kind.transport()) as u16).to_be_bytes());
            let place = kind.transport() + 16;
            frame[place..place + 2].copy_from_slice(&reference(&pseudo).to_be_bytes());
            let header = transmitted(header(1, 0, 0, kind.transport() as u16, 16), &frame).unwrap();
            let [done] = &finished(&header, &frame)[..] else { panic!("one frame") };
            pseudo.extend(&done[kind.transport()..]);
            assert_eq!(reference(&pseudo), 0xffff);
        }
    }
}

#[test]
fn a_checksum_of_zero_is_written_as_ones() {
    let mut frame = vec![0; 64];
    frame[20..24].copy_from_slice(&[0xff, 0xff, 0, 0]);
    let header = transmitted(header(1, 0, 0, 20, 2), &frame).unwrap();
    assert_eq!(finished(&header, &frame)[0][22..24], [0xff, 0xff]);
}

#[test]
fn headers_that_contradict_their_frame() {
    let frame = PLAIN.frame(4000);
    let start = PLAIN.transport() as u16;
    let len = frame.len() as u16;
    for (wrong, why) in [
        (header(1, 0, 0, 13, 0), "a sum of the Ethernet header"),
        (header(1, 0, 0, len, 0), "a sum that begins at the end"),
        (header(1, 0, 0, len - 17, 16), "a checksum across the end"),
        (header(1, 0, 0, 0xffff, 0xffff), "a checksum far outside"),
        (header(0, 1, 1448, start, 16), "segments without checksums"),
        (header(1, 1, 0, start, 16), "segments of nothing"),
        (header(1, 4, 1448, start, 16), "IPv6 that is IPv4"),
        (header(1, 3, 1448, start, 16), "UDP fragments"),
        (header(1, 5, 1448, start, 16), "UDP that is TCP"),
        (header(1, 5, 1448, start, 6), "UDP that is TCP"),
        (header(1, 0x80, 1448, start, 16), "ECN of no segments"),
        (header(1, 1, 1448, start + 4, 16), "TCP that begins elsewhere"),
        (header(1, 1, 1448, start, 6), "the checksum of UDP"),
    ] {
        assert_eq!(transmitted(wrong, &frame), None, "{why}");
    }
    let datagram = DATAGRAM.frame(4000);
    for (wrong, why) in [
        (header(1, 1, 1448, start, 6), "TCP that is UDP"),
        (header(1, 1, 1448, start, 16), "TCP that is UDP"),
        (header(1, 3, 1448, start, 6), "fragments, which another bit is about"),
        (header(1, 0x85, 1448, start, 6), "ECN, which UDP does not have"),
        (header(1, 5, 1448, start, 16), "the checksum of TCP"),
        (header(1, 5, 1448, start + 4, 6), "UDP that begins elsewhere"),
        (header(0, 5, 1448, start, 6), "datagrams without checksums"),
        (header(1, 5, 0, start, 6), "datagrams of nothing"),
    ] {
        assert_eq!(transmitted(wrong, &datagram), None, "{why}");
    }
}

#[test]
fn frames_that_are_no_tcp_are_not_cut() {
    let right = PLAIN.frame(4000);
    let (network, transport) = (PLAIN.network(), PLAIN.transport());
    for (at, value, why) in [
        (13, 1, "another EtherType"),
        (network, 0x65, "another version"),
        (network, 0x44, "a header of 16 bytes"),
        (network + 6, 0x20, "a fragment"),
        (network + 7, 1, "a later fragment"),
        (network + 9, 17, "UDP"),
        (network + 9, 1, "ICMP"),
        (transport + 12, 0x40, "a TCP header of 16 bytes"),
    ] {
        let mut frame = right.clone();
        frame[at] = value;
        assert_eq!(transmitted(PLAIN.header(1448), &frame), None, "{why}");
    }
    for len in 0..PLAIN.payload() {
        assert_eq!(transmitted(PLAIN.header(1), &right[..len]), None, "cut off at {len}");
    }
    let mut loops = Kind { v6: true, extension: true, ..PLAIN }.frame(4000);
    loops[54] = 0;
    assert_eq!(transmitted(Kind { v6: true, ..PLAIN }.header(1448), &loops), None);
}

#[test]
fn a_frame_longer_than_ip_can_be() {
    assert!(transmitted(PLAIN.header(1448), &PLAIN.frame(65535 - 52)).is_some());
    assert_eq!(transmitted(PLAIN.header(1448), &PLAIN.frame(65535 - 51)), None);
}

#[test]
fn what_was_not_negotiated_may_not_be_asked() {
    let (four, six) = (PLAIN, Kind { v6: true, ..PLAIN });
    let six_datagram = Kind { v6: true, ..DATAGRAM };
    let ecn = header(1, 0x81, 1448, PLAIN.transport() as u16, 16);
    for (header, kind, needed) in [
        (header(1, 0, 0, 34, 16), four, 1u64),
        (four.header(1448), four, 1 | 1 << 11),
        (six.header(1448), six, 1 | 1 << 12),
        (ecn, four, 1 | 1 << 11 | 1 << 13),
        (DATAGRAM.header(1448), DATAGRAM, 1 | 1 << 56),
        (six_datagram.header(1448), six_datagram, 1 | 1 << 56),
    ] {
        let frame = kind.frame(4000);
        assert!(transmitted_by(Offloads(needed), header, &frame).is_some());
        for bit in (0..64).filter(|bit| needed >> bit & 1 != 0) {
            assert_eq!(transmitted_by(Offloads(ALL.0 & !(1 << bit)), header, &frame), None, "without bit {bit}");
        }
    }
}

#[test]
fn flags_that_mean_nothing_in_what_is_sent_are_ignored() {
    let frame = PLAIN.frame(10);
    assert_eq!(transmitted_by(Offloads(0), header(0xfe, 0, 9, 9, 9), &frame), Some(Header::default()));
}

#[test]
fn a_receiver_gets_only_what_it_negotiated() {
    let frame = PLAIN.frame(4000);
    let csum = transmitted(header(1, 0, 0, 34, 16), &frame).unwrap();
    let cut = transmitted(PLAIN.header(1448), &frame).unwrap();
    let ecn = transmitted(header(1, 0x81, 1448, PLAIN.transport() as u16, 16), &frame).unwrap();
    let datagrams = [DATAGRAM, Kind { v6: true, ..DATAGRAM }]
        .map(|kind| transmitted(kind.header(1448), &kind.frame(4000)).unwrap());
    let all = [csum, cut, ecn, datagrams[0], datagrams[1]];
    for (features, takes) in [
        (0, [0, 0, 0, 0, 0]),
        (1 << 7 | 7 << 54, [0, 0, 0, 0, 0]),
        (1 << 1, [1, 0, 0, 0, 0]),
        (1 << 1 | 1 << 8, [1, 0, 0, 0, 0]),
        (1 << 1 | 1 << 7, [1, 1, 0, 0, 0]),
        (1 << 1 | 1 << 7 | 1 << 9, [1, 1, 1, 0, 0]),
        (1 << 1 | 1 << 54, [1, 0, 0, 1, 0]),
        (1 << 1 | 1 << 55, [1, 0, 0, 0, 1]),
        (1 << 1 | 1 << 56, [1, 0, 0, 0, 0]),
    ] {
        assert_eq!(all.map(|header| u8::from(Offloads(features).taken(header).is_some())), takes);
    }
    let valid = header(2, 0, 0, 0, 0).represented(&Payload::new(&[Source::from(&frame[..])], frame.len(), 0)).unwrap();
    assert_eq!(Offloads(0).taken(valid), Some(Header::default()));
    assert_eq!(Offloads(2).taken(valid), Some(valid));
}

#[test]
fn the_kernel_leaves_undone_what_the_receiver_takes() {
    for (features, flags) in [
        (0, 0),
        (1 << 7, 0),
        (1 << 1, 1),
        (1 << 1 | 1 << 9, 1),
        (1 << 1 | 1 << 7, 3),
        (1 << 1 | 1 << 8 | 1 << 9, 13),
        (0x3fff, 15),
        (1 << 1 | 1 << 54, 1),
        (1 << 1 | 3 << 54, 1 | 0x60),
        (ALL.0, 15 | 0x60),
    ] {
        assert_eq!(Offloads(features).tun(), flags);
    }
}

#[test]
fn a_header_that_its_frame_has_left_meanwhile_cuts_nothing() {
    let frame = PLAIN.frame(4000);
    let header = transmitted(PLAIN.header(1448), &frame).unwrap();
    for at in 12..PLAIN.payload() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut other = frame.clone();
            other[at] = value;
            finish(&header, &mut other, |_| true);
        }
    }
    for len in [PLAIN.payload() - 1, PLAIN.payload()] {
        assert_eq!(finish(&header, &mut frame.clone()[..len], |_| true), None);
    }
    assert_eq!(finish(&header, &mut frame.clone(), |_| false), Some(false));
    assert_eq!(PLAIN.flags & SYN, 0);
}
