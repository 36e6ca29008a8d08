//! Who talks to whom, as the headers of a frame say: what steering goes by.

use super::frame::Frame;

/// Bytes in which the headers must be: enough for IPv6 with a chain of extension headers.
const LOOKED_AT: usize = 256;
/// Bytes that suffice without one: Ethernet, two tags, IPv6 or the longest IPv4 header, ports.
const SOON: usize = 86;

const ETHERTYPE: usize = 12;
const MOST_TAGS: usize = 2;
const VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Extension headers of IPv6 (RFC 8200 §4); AH counts its length in another unit (RFC 4302 §2.2).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Mobile IPv6 (RFC 6275 §6.3, §6.4): the home address option, and the routing header with one address.
const HOME_ADDRESS: u8 = 201;
const HOME_ROUTING: u8 = 2;

/// Longest input of a hash: two addresses of IPv6 and two ports.
pub const LONGEST: usize = 36;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    /// Also of a fragment, whose other parts have no ports.
    Other,
}

/// A packet's source and destination address and, after them, its ports, in network order: what hashes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub v6: bool,
    /// Whether there are extension headers.
    pub extended: bool,
    pub transport: Transport,
    bytes: [u8; LONGEST],
    /// The addresses that extension headers put in place of those, if any.
    home: Option<[u8; 32]>,
}

impl Flow {
    /// None if it is no IP packet, or one whose headers end too late or not at all.
    #[inline]
    pub fn of(frame: &Frame<'_, '_>) -> Option<Flow> {
        let mut bytes = [0; SOON];
        let n = frame.payload.read(&mut bytes);
        if n == SOON && frame.len() > SOON && needs_more(&bytes) {
            return Self::read(frame);
        }
        Self::parse(&bytes[..n])
    }

    #[inline(never)]
    fn read(frame: &Frame<'_, '_>) -> Option<Flow> {
        let mut bytes = [0; LOOKED_AT];
        let n = frame.payload.read(&mut bytes);
        Self::parse(&bytes[..n])
    }

    fn parse(bytes: &[u8]) -> Option<Flow> {
        let (kind, at) = network(bytes)?;
        match kind {
            IPV4 => ipv4(bytes.get(at..)?),
            IPV6 => ipv6(bytes.get(at..)?),
            _ => None,
        }
    }

    /// Bytes of both addresses.
    fn addresses(&self) -> usize {
        if self.v6 { 32 } else { 8 }
    }

    /// The addresses alone, or with the ports.
    pub fn input(&self, ports: bool) -> &[u8] {
        &self.bytes[..self.addresses() + if ports { 4 } else { 0 }]
    }

    /// The same with the addresses that extension headers name.
    pub fn home(mut self) -> Flow {
        if let Some(home) = self.home {
            self.bytes[..32].copy_from_slice(&home);
        }
        self
    }

    /// One end of it: address and port; ports of what has none are zero.
    pub fn end(&self, second: bool) -> (u128, u16) {
        let (len, at) = (self.addresses() / 2, usize::from(second));
        let address = self.bytes[len * at..][..len].iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
        let port = &self.bytes[2 * len + 2 * at..];
        (address, u16::from_be_bytes([port[0], port[1]]))
    }
}

/// Extension headers may go on beyond the bytes at hand.
fn needs_more(bytes: &[u8]) -> bool {
    network(bytes).is_some_and(|(kind, at)| kind == IPV6 && is_extension(bytes[at + 6]))
}

fn is_extension(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// The EtherType after VLAN tags, and where what it names begins.
fn network(bytes: &[u8]) -> Option<([u8; 2], usize)> {
    let mut at = ETHERTYPE;
    for _ in 0..MOST_TAGS {
        if VLAN.contains(&pair(bytes, at)?) {
            at += 4;
        }
    }
    Some((pair(bytes, at)?, at + 2))
}

fn ipv4(packet: &[u8]) -> Option<Flow> {
    let header = packet.get(..20)?;
    let len = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || len < 20 {
        return None;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let mut flow = Flow::between(&header[12..20], false);
    flow.carry(if fragment { 0 } else { header[9] }, packet.get(len..)?);
    Some(flow)
}

fn ipv6(packet: &[u8]) -> Option<Flow> {
    let header = packet.get(..40).filter(|header| header[0] >> 4 == 6)?;
    let mut flow = Flow::between(&header[8..40], true);
    let (mut next, mut at, mut fragment) = (header[6], 40, false);
    while is_extension(next) {
        let extension = packet.get(at..)?;
        let len = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*extension.get(1)?) + 2) * 4,
            _ => (usize::from(*extension.get(1)?) + 1) * 8,
        };
        let extension = extension.get(..len)?;
        fragment |= next == FRAGMENT && u16::from_be_bytes([extension[2], extension[3]]) & 0xfff9 != 0;
        flow.extend(next, extension);
        next = extension[0];
        at += len;
    }
    flow.carry(if fragment { HOP_BY_HOP } else { next }, packet.get(at..)?);
    Some(flow)
}

impl Flow {
    fn between(addresses: &[u8], v6: bool) -> Flow {
        let mut bytes = [0; LONGEST];
        bytes[..addresses.len()].copy_from_slice(addresses);
        Flow { v6, extended: false, transport: Transport::Other, bytes, home: None }
    }

    /// What the packet carries: ports, if it is TCP or UDP and they are there.
    fn carry(&mut self, protocol: u8, segment: &[u8]) {
        let transport = match protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return,
        };
        if let Some(ports) = segment.get(..4) {
            let at = self.addresses();
            self.bytes[at..at + 4].copy_from_slice(ports);
            self.transport = transport;
        }
    }

    fn extend(&mut self, kind: u8, extension: &[u8]) {
        self.extended = true;
        let (place, address) = match kind {
            DESTINATION => (0, home_address(extension)),
            ROUTING if extension[2] == HOME_ROUTING => (16, extension.get(8..24)),
            _ => return,
        };
        if let Some(address) = address {
            let home = self.home.get_or_insert(self.bytes[..32].try_into().expect("32 bytes"));
            home[place..place + 16].copy_from_slice(address);
        }
    }
}

/// The home address among destination options.
fn home_address(options: &[u8]) -> Option<&[u8]> {
    let mut at = 2;
    loop {
        match pair(options, at)? {
            [0, _] => at += 1,
            [HOME_ADDRESS, 16] => return options.get(at + 2..at + 18),
            [_, len] => at += 2 + usize::from(len),
        }
    }
}

fn pair(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at..at + 2)?.try_into().ok()
}
