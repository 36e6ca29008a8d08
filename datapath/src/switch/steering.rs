//! Which receive queue a frame goes to, and what its hash is: by a table and a hash (receive-side scaling, virtio 1.3
//! §5.1.6.5.7), or after the transmit queue that its flow last left by (automatic receive steering, §5.1.6.5.6).

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::flow::{Flow, Transport};
use super::frame::Frame;
use super::toeplitz::Toeplitz;
use crate::offload::Report;
use crate::worker::orders::Hash;

/// Enabled hash types (§5.1.6.4.3.1). What is reported of a hash is the number of its type, plus one.
const IPV4: u32 = 1 << 0;
const TCPV4: u32 = 1 << 1;
const UDPV4: u32 = 1 << 2;
const IPV6: u32 = 1 << 3;
const TCPV6: u32 = 1 << 4;
const UDPV6: u32 = 1 << 5;
const IP_EX: u32 = 1 << 6;
const TCP_EX: u32 = 1 << 7;
const UDP_EX: u32 = 1 << 8;

const SLOTS: usize = 2048;

/// How one function's frames are steered.
#[derive(Default)]
pub struct Steering {
    hasher: Option<Hasher>,
    scaling: Option<Scaling>,
    flows: Flows,
}

struct Hasher {
    types: u32,
    toeplitz: Toeplitz,
}

struct Scaling {
    /// A power of two of receive queues.
    table: Box<[u16]>,
    unclassified: u16,
}

/// The pair, plus one, that a flow last transmitted on, beside the upper bits of its hash. Workers that serve queues of one
/// function write to it without a lock: a slot is a word.
#[derive(Default)]
struct Flows {
    slots: OnceLock<Box<[AtomicU32; SLOTS]>>,
}

impl Steering {
    /// As the driver commanded. What flows there are stays known.
    pub fn set(&mut self, hash: &Hash) {
        self.hasher = (hash.types != 0).then(|| Hasher { types: hash.types, toeplitz: Toeplitz::new(&hash.key) });
        let scaling = || Scaling { table: hash.table.clone(), unclassified: hash.unclassified };
        self.scaling = (hash.steer && hash.table.len().is_power_of_two()).then(scaling);
    }

    /// Whether frames have hashes at all.
    #[inline(always)]
    pub fn hashes(&self) -> bool {
        self.hasher.is_some()
    }

    /// Whether a table says where frames go: one that names a queue that does not run loses them.
    pub fn scales(&self) -> bool {
        self.scaling.is_some()
    }

    /// A frame of the function's own left by a pair.
    #[inline]
    pub fn transmitted(&self, frame: &Frame<'_, '_>, pair: u16) {
        if self.scaling.is_none() {
            self.flows.note(mixed(frame), pair);
        }
    }

    /// The hash of a frame to be received, as enabled.
    #[inline]
    pub fn report(&self, frame: &Frame<'_, '_>) -> Report {
        self.hasher.as_ref().and_then(|hasher| hasher.report(&Flow::of(frame)?)).unwrap_or_default()
    }

    /// The pair for a frame to be received, of `pairs`. `report` is its hash.
    #[inline]
    pub fn choose(&self, frame: &Frame<'_, '_>, report: Report, pairs: u16) -> u16 {
        match &self.scaling {
            Some(scaling) => scaling.queue(report),
            None if pairs <= 1 => 0,
            None => self.flows.pair(mixed(frame), pairs),
        }
    }
}

impl Scaling {
    #[inline]
    fn queue(&self, report: Report) -> u16 {
        if report.kind == 0 { self.unclassified } else { self.table[report.value as usize & (self.table.len() - 1)] }
    }
}

impl Hasher {
    fn report(&self, flow: &Flow) -> Option<Report> {
        let plain = if flow.v6 { [TCPV6, UDPV6, IPV6] } else { [TCPV4, UDPV4, IPV4] };
        let extended = if flow.extended { self.of(&flow.home(), [TCP_EX, UDP_EX, IP_EX]) } else { None };
        extended.or_else(|| self.of(flow, plain))
    }

    /// The first enabled one of the types for TCP, for UDP, and for whatever is in the packet.
    fn of(&self, flow: &Flow, [tcp, udp, any]: [u32; 3]) -> Option<Report> {
        let own = match flow.transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Other => 0,
        };
        let ports = self.types & own != 0;
        let kind = if ports { own } else { self.types & any };
        let value = || self.toeplitz.hash(flow.input(ports));
        (kind != 0).then(|| Report { value: value(), kind: kind.trailing_zeros() as u16 + 1 })
    }
}

impl Flows {
    /// The low bits of a hash choose a slot; the bits above them tell flows of one slot from each other.
    fn note(&self, hash: u32, pair: u16) {
        let slots = self.slots.get_or_init(|| Box::new([const { AtomicU32::new(0) }; SLOTS]));
        let (slot, noted) = (&slots[hash as usize % SLOTS], hash & !0xff | u32::from(pair + 1));
        if slot.load(Relaxed) != noted {
            slot.store(noted, Relaxed);
        }
    }

    fn pair(&self, hash: u32, pairs: u16) -> u16 {
        let noted = self.slots.get().map_or(0, |slots| slots[hash as usize % SLOTS].load(Relaxed));
        let pair = (noted & 0xff) as u16;
        let known = (noted ^ hash) & !0xff == 0 && (1..=pairs).contains(&pair);
        if known { pair - 1 } else { ((u64::from(hash) * u64::from(pairs)) >> 32) as u16 }
    }
}

/// A hash that is the same in both directions: of the ends of a flow, or of MAC addresses when there is none.
fn mixed(frame: &Frame<'_, '_>) -> u32 {
    let [one, other] = match Flow::of(frame) {
        Some(flow) => [flow.end(false), flow.end(true)]
            .map(|(address, port)| scattered(address as u64 ^ (address >> 64) as u64 ^ u64::from(port) << 48)),
        None => [frame.source(), frame.destination()].map(|address| scattered(address.value())),
    };
    (scattered(one.wrapping_add(other)) >> 32) as u32
}

/// Each bit of it depends on all of the number's (the finisher of splitmix64).
fn scattered(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests;
