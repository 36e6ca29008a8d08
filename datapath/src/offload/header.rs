//! The offload part of struct virtio_net_hdr: checked against its frame, and against what was negotiated.

use super::layout::{LOOKED_AT, Layout};
use crate::ring::Payload;

/// Bits of `flags`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Values of `gso_type`, and the bit that may be added to those of TCP.
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;
/// Where a TCP and a UDP header have their checksums.
pub const TCP_CHECKSUM: u16 = 16;
pub const UDP_CHECKSUM: u16 = 6;
/// A checksum never covers the Ethernet header.
const FIRST_CHECKSUM: u16 = 14;
/// Longest IP packet: its length has 16 bits.
const LONGEST_PACKET: usize = 65535;
const BYTES: usize = 10;
pub const LONGEST_HEADER: usize = 20;

/// The first ten bytes of a virtio-net header, in their order. One that was `checked` has no bits beyond those named here,
/// and `headers` is a true length: the driver's own `hdr_len` is never used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    flags: u8,
    gso: u8,
    headers: u16,
    /// Payload bytes of a segment.
    pub size: u16,
    /// Where the sum begins, and where, from there, the checksum is.
    pub start: u16,
    pub offset: u16,
    /// Whether datagrams that are to be cut are IPv6's: their `gso_type` does not say.
    six: bool,
}

/// The fields after `num_buffers` that say how a received frame was hashed: zeros where it was not (§5.1.6.4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub value: u32,
    /// VIRTIO_NET_HASH_REPORT_*.
    pub kind: u16,
}

/// Which offloads hold for a function: feature bits CSUM, GUEST_CSUM, GUEST_TSO4/6, GUEST_ECN, GUEST_USO4/6, HOST_TSO4/6,
/// HOST_ECN, HOST_USO, by their numbers (§5.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(pub u64);

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
const HOST_USO: u64 = 1 << 56;

/// The features that let frames be cut: what is sent, and what is received.
const HOST: Cuts = Cuts { tcp: [HOST_TSO4, HOST_TSO6], udp: [HOST_USO, HOST_USO], ecn: HOST_ECN };
const GUEST: Cuts = Cuts { tcp: [GUEST_TSO4, GUEST_TSO6], udp: [GUEST_USO4, GUEST_USO6], ecn: GUEST_ECN };

/// For TCP and for UDP: over IPv4, and over IPv6.
struct Cuts {
    tcp: [u64; 2],
    udp: [u64; 2],
    ecn: u64,
}

/// linux/if_tun.h, TUNSETOFFLOAD.
pub const TUN_CSUM: u32 = 1;
const TUN_TSO4: u32 = 2;
const TUN_TSO6: u32 = 4;
const TUN_ECN: u32 = 8;
/// Both families at once: the kernel knows UDP segmentation of only one as little as we do.
pub const TUN_USO: u32 = 0x20 | 0x40;

impl Header {
    pub fn new(bytes: [u8; BYTES]) -> Header {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Header {
            flags: bytes[0],
            gso: bytes[1],
            headers: word(2),
            size: word(4),
            start: word(6),
            offset: word(8),
            six: false,
        }
    }

    /// The header of a frame in `count` buffers. The legacy one lacks the last two bytes.
    pub fn bytes(&self, count: u16) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = self.flags;
        bytes[1] = self.gso;
        let words = [(2, self.headers), (4, self.size), (6, self.start), (8, self.offset), (10, count)];
        for (at, word) in words {
            bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The longest header there is, with a hash (§5.1.6).
    pub fn reported(&self, count: u16, report: Report) -> [u8; LONGEST_HEADER] {
        let mut bytes = [0; LONGEST_HEADER];
        bytes[..12].copy_from_slice(&self.bytes(count));
        bytes[12..16].copy_from_slice(&report.value.to_le_bytes());
        bytes[16..18].copy_from_slice(&report.kind.to_le_bytes());
        bytes
    }

    /// Whether nothing was left undone, nor is anything said of the frame.
    #[inline(always)]
    pub fn plain(&self) -> bool {
        self.flags == 0 && self.gso == 0
    }

    /// Whether the frame is to be cut into segments.
    #[inline(always)]
    pub fn segmented(&self) -> bool {
        self.gso != 0
    }

    /// Whether the frame is to be cut into UDP datagrams.
    #[inline(always)]
    pub fn datagrams(&self) -> bool {
        self.gso == GSO_UDP_L4
    }

    /// Whether a checksum is missing.
    pub fn partial(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    /// Whether the checksum was found right.
    pub fn valid(&self) -> bool {
        self.flags & DATA_VALID != 0
    }

    /// Longest frame that comes of it, of `len` bytes with what is to be cut.
    #[inline(always)]
    pub fn longest(&self, len: usize) -> usize {
        if self.segmented() { len.min(usize::from(self.headers) + usize::from(self.size)) } else { len }
    }

    /// What a transmitted header comes to; None if it contradicts the frame or what may be asked (§5.1.6.2.1).
    pub fn transmitted(self, may: Offloads, frame: &Payload<'_, '_>) -> Option<Header> {
        // Flags that mean nothing here must be ignored (§5.1.6.2.2).
        let flags = self.flags & NEEDS_CSUM;
        if flags == 0 && self.gso == 0 {
            return Some(Header::default());
        }
        if !may.has(CSUM) || flags == 0 || (self.gso != 0 && !may.segments(&self, &HOST)) {
            return None;
        }
        Header { flags, ..self }.checked(frame)
    }

    /// What the header of a frame from the kernel comes to; None if it contradicts the frame.
    pub fn represented(self, frame: &Payload<'_, '_>) -> Option<Header> {
        if self.flags & NEEDS_CSUM == 0 && self.gso == 0 {
            return Some(Header { flags: self.flags & DATA_VALID, ..Header::default() });
        }
        Header { flags: self.flags & NEEDS_CSUM, ..self }.checked(frame)
    }

    /// The rules that hold for frame and header together.
    fn checked(self, frame: &Payload<'_, '_>) -> Option<Header> {
        let sum = usize::from(self.start) + usize::from(self.offset);
        if !self.partial() || self.start < FIRST_CHECKSUM || sum + 2 > frame.len {
            return None;
        }
        let checksum_only = Header { gso: 0, headers: 0, size: 0, six: false, ..self };
        if self.gso == 0 {
            return Some(checksum_only);
        }
        let mut bytes = [0; LOOKED_AT];
        let n = frame.read(&mut bytes);
        let layout = self.layout(&bytes[..n])?;
        if self.size == 0 || frame.len > layout.network + LONGEST_PACKET {
            return None;
        }
        // What fits into one segment, however long that might be, is no longer cut, only summed.
        let left = frame.len - layout.payload;
        let whole = Header { headers: layout.payload as u16, six: layout.udp && layout.v6, ..self };
        Some(if left <= usize::from(self.size) { checksum_only } else { whole })
    }

    /// Where the headers of a frame to be cut lie; None if they are not what the header says.
    pub fn layout(&self, bytes: &[u8]) -> Option<Layout> {
        let layout = Layout::of(bytes)?;
        let known = match self.gso & !GSO_ECN {
            GSO_TCPV4 => !layout.udp && !layout.v6,
            GSO_TCPV6 => !layout.udp && layout.v6,
            _ => layout.udp && self.datagrams(),
        };
        let checksum = if layout.udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
        (known && self.offset == checksum && layout.transport == usize::from(self.start)).then_some(layout)
    }
}

impl Offloads {
    /// What holds of all features that were accepted: an offload whose checksum was not is left out (§5.1.3.1).
    pub fn negotiated(features: u64) -> Offloads {
        let cuts = |cuts: &Cuts| cuts.tcp.iter().chain(&cuts.udp).fold(cuts.ecn, |all, bit| all | bit);
        let mut kept = 0;
        for (checksum, cuts) in [(CSUM, cuts(&HOST)), (GUEST_CSUM, cuts(&GUEST))] {
            if features & checksum != 0 {
                kept |= checksum | features & cuts;
            }
        }
        Offloads(kept)
    }

    #[inline(always)]
    fn has(self, feature: u64) -> bool {
        self.0 & feature != 0
    }

    /// Whether a frame with this header may be cut, of the features for it.
    fn segments(self, header: &Header, features: &Cuts) -> bool {
        match header.gso & !GSO_ECN {
            _ if header.datagrams() => self.has(features.udp[usize::from(header.six)]),
            kind @ (GSO_TCPV4 | GSO_TCPV6) => {
                self.has(features.tcp[usize::from(kind == GSO_TCPV6)])
                    && (header.gso & GSO_ECN == 0 || self.has(features.ecn))
            }
            _ => false,
        }
    }

    /// The header that a receiver gets with the frame left as it is; None if it has to be finished first (§5.1.6.4.1).
    #[inline(always)]
    pub fn taken(self, header: Header) -> Option<Header> {
        if header.plain() { Some(header) } else { self.left_undone(header) }
    }

    #[inline(never)]
    fn left_undone(self, header: Header) -> Option<Header> {
        if !self.has(GUEST_CSUM) {
            return if header.partial() { None } else { Some(Header::default()) };
        }
        let cut = !header.segmented() || self.segments(&header, &GUEST);
        cut.then_some(header)
    }

    /// Whether frames may come that are longer than the medium's.
    pub fn takes_segments(self) -> bool {
        self.has(GUEST_CSUM) && self.has(GUEST_TSO4 | GUEST_TSO6 | GUEST_USO4 | GUEST_USO6)
    }

    /// What the kernel may leave undone for this receiver: flags of TUNSETOFFLOAD.
    pub fn tun(self) -> u32 {
        let flag = |feature, flag| if self.has(feature) { flag } else { 0 };
        if !self.has(GUEST_CSUM) {
            return 0;
        }
        let tcp = flag(GUEST_TSO4, TUN_TSO4) | flag(GUEST_TSO6, TUN_TSO6);
        let ecn = if tcp == 0 { 0 } else { flag(GUEST_ECN, TUN_ECN) };
        let udp = if self.has(GUEST_USO4) && self.has(GUEST_USO6) { TUN_USO } else { 0 };
        TUN_CSUM | tcp | ecn | udp
    }
}
