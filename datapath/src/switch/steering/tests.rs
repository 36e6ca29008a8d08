//! Hashes of whole frames, against the published ones of "Verifying the RSS Hash Calculation" (Microsoft); and what comes
//! of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Steering;
use crate::memory::Source;
use crate::offload::{Header, Report};
use crate::ring::Payload;
use crate::switch::Frame;
use crate::worker::orders::Hash;

const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];
const ALL: u32 = 0x1ff;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Source, destination, their ports; the hash of the addresses, and of all four.
type Vector = (&'static str, &'static str, u16, u16, u32, u32);

const V4: [Vector; 5] = [
    ("66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178),
    ("199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea),
    ("24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a),
    ("38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f),
    ("153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2),
];
const V6: [Vector; 3] = [
    ("3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d),
    ("3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985, 0x02d1feef),
];

/// Enabled types, and what is reported of TCP, UDP and ICMP: kind, and whether ports are in the hash.
type Row = (u32, [(u16, bool); 3]);

fn ethernet(tags: usize, kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    (0..tags).for_each(|tag| bytes.extend([if tag == 0 { [0x88, 0xa8] } else { [0x81, 0] }, [0, 7]].concat()));
    bytes.extend(kind.to_be_bytes());
    bytes.extend(packet);
    bytes
}

fn segment(source: u16, destination: u16) -> Vec<u8> {
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 40]].concat()
}

fn ipv4(vector: &Vector, protocol: u8, options: usize, fragment: u16) -> Vec<u8> {
    let mut packet = vec![0x45 + options as u8, 0, 0, 64, 0, 1];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    for address in [vector.0, vector.1] {
        packet.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    }
    packet.extend(vec![1; 4 * options]);
    packet.extend(segment(vector.2, vector.3));
    packet
}

fn ipv6(vector: &Vector, protocol: u8, extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 64, extensions.first().map_or(protocol, |first| first.0), 64];
    for address in [vector.0, vector.1] {
        packet.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    }
    for (place, (_, body)) in extensions.iter().enumerate() {
        packet.push(extensions.get(place + 1).map_or(protocol, |next| next.0));
        packet.extend(body);
    }
    packet.extend(segment(vector.2, vector.3));
    packet
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// Destination options with a home address after some padding, and a routing header of type 2 (RFC 6275).
fn home(text: &str) -> (u8, Vec<u8>) {
    (60, [&[2, 0, 1, 1, 0, 201, 16][..], &address(text)].concat())
}

fn routing(text: &str) -> (u8, Vec<u8>) {
    (43, [&[2, 2, 1, 0, 0, 0, 0][..], &address(text)].concat())
}

fn hop_by_hop(eights: u8) -> (u8, Vec<u8>) {
    (0, [vec![eights], vec![0; 6 + 8 * usize::from(eights)]].concat())
}

fn fragment(offset: u16, more: u16) -> (u8, Vec<u8>) {
    let [high, low] = (offset << 3 | more).to_be_bytes();
    (44, vec![0, high, low, 0, 0, 0, 9])
}

fn steering(types: u32) -> Steering {
    let mut steering = Steering::default();
    steering.set(&Hash { types, key: KEY.to_vec(), ..Hash::default() });
    steering
}

fn with<R>(bytes: &[u8], cut: usize, look: impl FnOnce(&Frame<'_, '_>) -> R) -> R {
    let pieces: Vec<Source> = bytes.chunks(cut).map(Source::from).collect();
    look(&Frame::new(Payload::new(&pieces, bytes.len(), 0), Header::default()).unwrap())
}

fn report(types: u32, bytes: &[u8]) -> Report {
    with(bytes, 9000, |frame| steering(types).report(frame))
}

fn of(kind: u16, value: u32) -> Report {
    Report { value, kind }
}

#[test]
fn published_hashes() {
    for tags in 0..3 {
        for vector in &V4 {
            for (protocol, kind, value) in [(TCP, 2, vector.5), (UDP, 3, vector.5), (ICMP, 1, vector.4)] {
                for options in [0, 3, 10] {
                    let bytes = ethernet(tags, 0x800, &ipv4(vector, protocol, options, 0));
                    assert_eq!(report(ALL, &bytes), of(kind, value), "{vector:?}");
                }
            }
        }
        for vector in &V6 {
            for (protocol, kind, value) in [(TCP, 5, vector.5), (UDP, 6, vector.5), (58, 4, vector.4)] {
                assert_eq!(report(ALL, &ethernet(tags, 0x86dd, &ipv6(vector, protocol, &[]))), of(kind, value));
            }
        }
    }
}

#[test]
fn a_hash_does_not_depend_on_how_the_frame_lies_in_memory() {
    let bytes = ethernet(1, 0x86dd, &ipv6(&V6[0], TCP, &[]));
    for cut in [1, 7, 33, 70] {
        assert_eq!(with(&bytes, cut, |frame| steering(ALL).report(frame)), of(5, V6[0].5));
    }
}

/// The hash of IPv4 is made of what is enabled: the ports first, then the addresses (§5.1.6.4.3.2).
#[test]
fn types_of_ipv4_that_are_enabled() {
    let rows: [Row; 5] = [
        (0, [(0, false), (0, false), (0, false)]),
        (1, [(1, false), (1, false), (1, false)]),
        (2, [(2, true), (0, false), (0, false)]),
        (1 | 4, [(1, false), (3, true), (1, false)]),
        (0x1f8, [(0, false), (0, false), (0, false)]),
    ];
    for (types, reports) in rows {
        for (protocol, (kind, ports)) in [TCP, UDP, ICMP].into_iter().zip(reports) {
            let value = if kind == 0 { 0 } else { if ports { V4[0].5 } else { V4[0].4 } };
            let bytes = ethernet(0, 0x800, &ipv4(&V4[0], protocol, 0, 0));
            assert_eq!(report(types, &bytes), of(kind, value), "types {types:#x}, protocol {protocol}");
        }
    }
}

#[test]
fn parts_of_a_packet_have_no_ports() {
    for place in [0x2000, 0x2001, 0x0001] {
        assert_eq!(report(ALL, &ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, place))), of(1, V4[0].4));
    }
    assert_eq!(report(ALL, &ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, 0x4000))), of(2, V4[0].5), "DF is no fragment");
    for part in [fragment(0, 1), fragment(5, 0)] {
        assert_eq!(report(ALL, &ethernet(0, 0x86dd, &ipv6(&V6[0], TCP, &[part]))), of(7, V6[0].4));
    }
    let whole = ipv6(&V6[0], TCP, &[fragment(0, 0)]);
    assert_eq!(report(ALL, &ethernet(0, 0x86dd, &whole)), of(8, V6[0].5), "a fragment of one part is whole");
}

/// §5.1.6.4.3.4: the addresses of Mobile IPv6 in place of those of the header.
#[test]
fn addresses_that_extension_headers_name() {
    let (real, elsewhere) = (V6[0], ("2001:db8::1", "2001:db8::2", V6[0].2, V6[0].3, 0, 0));
    let moved = [hop_by_hop(0), home(real.0), routing(real.1)];
    for (protocol, kind, value) in [(TCP, 8, real.5), (UDP, 9, real.5), (58, 7, real.4)] {
        let bytes = ethernet(0, 0x86dd, &ipv6(&elsewhere, protocol, &moved));
        assert_eq!(report(ALL, &bytes), of(kind, value));
        let only_source = ("2001:db8::1", real.1, real.2, real.3, 0, 0);
        assert_eq!(report(ALL, &ethernet(0, 0x86dd, &ipv6(&only_source, protocol, &moved[..2]))), of(kind, value));
        let only_destination = (real.0, "2001:db8::2", real.2, real.3, 0, 0);
        assert_eq!(report(ALL, &ethernet(0, 0x86dd, &ipv6(&only_destination, protocol, &moved[2..]))), of(kind, value));
    }
    // Without those types the extension headers are skipped, and the addresses are those of the header.
    let skipped = ethernet(0, 0x86dd, &ipv6(&real, TCP, &[home("2001:db8::1"), routing("2001:db8::2")]));
    assert_eq!(report(0x3f, &skipped), of(5, real.5));
    assert_eq!(report(1 << 8 | 1 << 3, &skipped), of(4, real.4), "UDP_EX says nothing of TCP");
}

#[test]
fn other_extension_headers_are_passed_over() {
    let authentication = (51, vec![4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
    let source_route = (43, [&[2, 0, 1, 0, 0, 0, 0][..], &address("2001:db8::9")].concat());
    for extensions in [vec![authentication], vec![source_route], vec![hop_by_hop(14), hop_by_hop(3)]] {
        let bytes = ethernet(2, 0x86dd, &ipv6(&V6[1], UDP, &extensions));
        assert_eq!(report(ALL, &bytes), of(9, V6[1].5));
    }
}

#[test]
fn what_is_no_whole_ip_has_no_hash() {
    let six = ethernet(0, 0x86dd, &ipv6(&V6[0], TCP, &[hop_by_hop(1)]));
    for bytes in [
        ethernet(0, 0x806, &[0; 46]),
        ethernet(0, 0x800, &[0x55; 46]),
        ethernet(0, 0x800, &[0x44; 46]),
        ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, 0)[..19]),
        ethernet(0, 0x800, &ipv4(&V4[0], TCP, 10, 0)[..40]),
        ethernet(0, 0x86dd, &[0x45; 60]),
        ethernet(0, 0x8100, &[]),
        six[..14 + 39].to_vec(),
        six[..14 + 40 + 15].to_vec(),
        ethernet(0, 0x86dd, &ipv6(&V6[0], TCP, &[hop_by_hop(255)])),
    ] {
        assert_eq!(report(ALL, &bytes), Report::default());
    }
    for len in 14..six.len() {
        report(ALL, &six[..len]);
    }
}

#[test]
fn ports_that_are_cut_off_are_not_there() {
    let bytes = ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, 0)[..23]);
    assert_eq!(report(ALL, &bytes), of(1, V4[0].4));
}

#[test]
fn a_key_that_is_short_ends_in_zeros() {
    let mut one = Steering::default();
    one.set(&Hash { types: ALL, key: KEY[..16].to_vec(), ..Hash::default() });
    let mut other = Steering::default();
    other.set(&Hash { types: ALL, key: [&KEY[..16], &[0; 24]].concat(), ..Hash::default() });
    let bytes = ethernet(0, 0x86dd, &ipv6(&V6[0], TCP, &[]));
    let [short, long] = [one, other].map(|steering| with(&bytes, 9000, |frame| steering.report(frame)));
    assert!(short == long && short.value != 0 && short.value != V6[0].5);
}

/// §5.1.6.5.7.2: the table is indexed by the low bits of the hash; what has none goes to the unclassified queue.
#[test]
fn queues_of_the_table() {
    let table: Vec<u16> = (0..128).map(|n| n * 7 % 32).collect();
    let mut steering = Steering::default();
    let hash = Hash { steer: true, types: 2, key: KEY.to_vec(), table: table.clone().into(), unclassified: 9 };
    steering.set(&hash);
    for vector in &V4 {
        let (tcp, udp) = (ipv4(vector, TCP, 0, 0), ipv4(vector, UDP, 0, 0));
        assert_eq!(chosen(&steering, &ethernet(0, 0x800, &tcp)), table[vector.5 as usize % 128]);
        assert_eq!(chosen(&steering, &ethernet(0, 0x800, &udp)), 9);
    }
    steering.set(&Hash { steer: true, types: 0, ..hash });
    assert_eq!(chosen(&steering, &ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, 0))), 9);
}

fn chosen(steering: &Steering, bytes: &[u8]) -> u16 {
    with(bytes, 9000, |frame| steering.choose(frame, steering.report(frame), 32))
}

/// The same packet the other way.
fn back(vector: &Vector) -> Vector {
    (vector.1, vector.0, vector.3, vector.2, 0, 0)
}

/// §5.1.6.5.6: incoming frames of a flow go to the queue whose partner last sent of it.
#[test]
fn a_flow_follows_the_queue_that_it_left_by_last() {
    let steering = Steering::default();
    for last in [3, 17, 0, 31] {
        for vector in &V4 {
            let sent = ethernet(0, 0x800, &ipv4(vector, TCP, 0, 0));
            with(&sent, 9000, |frame| steering.transmitted(frame, last));
            assert_eq!(chosen(&steering, &ethernet(0, 0x800, &ipv4(&back(vector), TCP, 0, 0))), last);
        }
        for vector in &V6 {
            let sent = ethernet(1, 0x86dd, &ipv6(vector, UDP, &[]));
            with(&sent, 9000, |frame| steering.transmitted(frame, last));
            assert_eq!(chosen(&steering, &ethernet(0, 0x86dd, &ipv6(&back(vector), UDP, &[]))), last);
        }
    }
}

#[test]
fn a_pair_no_longer_in_use_is_not_followed() {
    let steering = Steering::default();
    let sent = ethernet(0, 0x800, &ipv4(&V4[0], TCP, 0, 0));
    with(&sent, 9000, |frame| steering.transmitted(frame, 7));
    let received = ethernet(0, 0x800, &ipv4(&back(&V4[0]), TCP, 0, 0));
    with(&received, 9000, |frame| assert!(steering.choose(frame, Report::default(), 4) < 4));
    with(&received, 9000, |frame| assert_eq!(steering.choose(frame, Report::default(), 1), 0));
}

#[test]
fn flows_that_never_left_are_spread_over_all_queues() {
    let steering = Steering::default();
    let mut counts = [0; 32];
    for port in 0..3200 {
        let vector = ("192.0.2.1", "192.0.2.2", 1000 + port, 80, 0, 0);
        counts[usize::from(chosen(&steering, &ethernet(0, 0x800, &ipv4(&vector, TCP, 0, 0))))] += 1;
    }
    assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
}

#[test]
fn neighbouring_ports_are_flows_of_their_own() {
    let steering = Steering::default();
    let flows: Vec<Vector> = (0..100).map(|n| ("192.0.2.1", "192.0.2.2", 4000 + n, 5000 + n, 0, 0)).collect();
    for (n, flow) in flows.iter().enumerate() {
        let sent = ethernet(0, 0x800, &ipv4(flow, UDP, 0, 0));
        with(&sent, 9000, |frame| steering.transmitted(frame, n as u16 % 32));
    }
    let right = flows
        .iter()
        .enumerate()
        .filter(|(n, flow)| chosen(&steering, &ethernet(0, 0x800, &ipv4(&back(flow), UDP, 0, 0))) == *n as u16 % 32);
    assert!(right.count() > 90, "a few may share a slot");
}
