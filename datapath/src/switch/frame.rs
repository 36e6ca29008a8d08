//! What the switch reads of an Ethernet frame.

use crate::offload::Header;
use crate::ring::Payload;

/// Shortest frame: an Ethernet header.
pub const SHORTEST: usize = 14;
const LOOKED_AT: usize = 16;

/// A MAC address; its first byte is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(u64);

/// An address in a VLAN, which is what the switch learns and looks for. Untagged frames, and those tagged with their
/// priority alone, are in VLAN 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station(u64);

impl Station {
    #[inline(always)]
    pub fn new(mac: Mac, vlan: u16) -> Station {
        Station(mac.0 | u64::from(vlan) << 48)
    }

    /// A number of its own; zero is no station's.
    #[inline(always)]
    pub fn key(self) -> u64 {
        self.0
    }

    /// Whether it may be where a frame comes from.
    #[inline(always)]
    pub fn is_one(self) -> bool {
        Mac(self.0 & Mac::MASK).is_station()
    }
}

/// A frame and the fields that decide its way, read once.
#[derive(Clone, Copy)]
pub struct Frame<'b, 'm> {
    pub payload: Payload<'b, 'm>,
    /// What its sender left undone.
    pub header: Header,
    /// Its first 16 bytes: destination, source, EtherType and the two bytes after it.
    fields: [u64; 2],
}

impl Mac {
    const MASK: u64 = (1 << 48) - 1;

    pub fn new(bytes: [u8; 6]) -> Mac {
        let [a, b, c, d, e, f] = bytes;
        Mac(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    pub fn value(self) -> u64 {
        self.0
    }

    pub fn is_group(self) -> bool {
        self.0 & 1 != 0
    }

    pub fn is_broadcast(self) -> bool {
        self.0 == Self::MASK
    }

    /// Whether it may be where a frame comes from.
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != 0
    }
}

impl<'b, 'm> Frame<'b, 'm> {
    /// None when it is shorter than an Ethernet header.
    #[inline(always)]
    pub fn new(payload: Payload<'b, 'm>, header: Header) -> Option<Self> {
        let whole = payload.single().and_then(|piece| Some([piece.u64(0)?, piece.u64(8)?]));
        let fields = match whole {
            Some(words) if payload.len >= LOOKED_AT => words,
            _ => Self::read(&payload)?,
        };
        Some(Frame { payload, header, fields })
    }

    /// One with nothing left undone, in one piece; None if that is shorter than what is looked at.
    #[inline(always)]
    pub fn plain(payload: Payload<'b, 'm>) -> Option<Self> {
        let piece = payload.single()?;
        Some(Frame { payload, header: Header::default(), fields: [piece.u64(0)?, piece.u64(8)?] })
    }

    #[inline(always)]
    pub fn destination(&self) -> Mac {
        Mac(self.fields[0] & Mac::MASK)
    }

    #[inline(always)]
    pub fn source(&self) -> Mac {
        Mac(self.fields[0] >> 48 | (self.fields[1] & 0xffff_ffff) << 16)
    }

    /// Addresses, EtherType and VLAN tag. Of frames in which they are the same, what depends on nothing else is found out
    /// once.
    #[inline(always)]
    pub fn fields(&self) -> [u64; 2] {
        self.fields
    }

    /// Where it comes from and where it goes, in its VLAN.
    #[inline(always)]
    pub fn stations(&self) -> (Station, Station) {
        let vlan = self.vlan().unwrap_or(0);
        (Station::new(self.source(), vlan), Station::new(self.destination(), vlan))
    }

    pub fn len(&self) -> usize {
        self.payload.len
    }

    /// Its length on a wire, where it is cut into segments.
    #[inline(always)]
    pub fn longest(&self) -> usize {
        self.header.longest(self.payload.len)
    }

    /// The VLAN that an 802.1Q tag names.
    #[inline(always)]
    pub fn vlan(&self) -> Option<u16> {
        match ((self.fields[1] >> 32) as u32).to_le_bytes() {
            [0x81, 0x00, high, low] => Some(u16::from_be_bytes([high, low]) & 0xfff),
            _ => None,
        }
    }

    fn read(payload: &Payload<'b, 'm>) -> Option<[u64; 2]> {
        let mut bytes = [0; LOOKED_AT];
        let n = payload.len.min(LOOKED_AT);
        payload.read(&mut bytes[..n]);
        (n >= SHORTEST)
            .then(|| [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes"))))
    }
}
