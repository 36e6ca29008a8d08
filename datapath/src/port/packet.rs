//! A packet socket with virtio-net headers of 10 bytes, bound to a network interface: an uplink. Frames that are still to be
//! cut into segments go whole, both ways, a burst by one system call.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Arrival, LONGEST, Sent};
use crate::locked::{Company, Locked, Taken};
use crate::memory::{AHEAD, HEADER, MOST_PIECES, Slot, Source, receive_burst, send_burst};
use crate::offload::{Header, finish};
use crate::ring::{BATCH, Payload};
use crate::switch::Loss;

/// Where a VLAN tag belongs: after the two addresses.
const TAG_AT: usize = 12;
/// linux/if_packet.h: the auxiliary data, and its bits for a tag.
const PACKET_AUXDATA: i32 = 8;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const TPID_8021Q: u16 = 0x8100;

pub struct Packets {
    fd: OwnedFd,
    burst: Locked<Burst>,
}

/// The frames that came last.
pub struct Burst {
    slots: Vec<Slot>,
    /// Of the last burst: its header, and where in the slot it lies.
    arrived: Vec<Option<(Header, Range<usize>)>>,
}

impl Packets {
    pub fn new(fd: OwnedFd) -> Packets {
        let slots = (0..BATCH).map(|_| Slot::new(LONGEST)).collect();
        Packets { fd, burst: Locked::new(Burst { slots, arrived: Vec::new() }) }
    }

    /// Sends frames; says what became of each, by its place.
    pub fn send<'b, 'm: 'b>(
        &self,
        frames: impl Iterator<Item = (usize, &'b Payload<'b, 'm>, &'b Header)>,
        mut said: impl FnMut(usize, Sent),
    ) {
        let frames: Vec<_> = frames.map(|(place, payload, header)| (place, payload, header, header.bytes(0))).collect();
        let whole: Vec<Option<Vec<u8>>> = frames.iter().map(|(_, payload, ..)| in_one_piece(payload)).collect();
        let (mut pieces, mut counts) = (Vec::with_capacity(2 * frames.len()), Vec::with_capacity(frames.len()));
        for ((_, payload, _, header), whole) in frames.iter().zip(&whole) {
            let before = pieces.len();
            pieces.push(Source::from(&header[..HEADER]));
            match whole {
                Some(bytes) => pieces.push(Source::from(&bytes[..])),
                None => pieces.extend(payload.pieces()),
            }
            counts.push(pieces.len() - before);
        }
        let (mut first, mut at) = (0, 0);
        while first < frames.len() {
            let sent = send_burst(self.fd.as_fd(), &pieces[at..], &counts[first..]);
            let (_, payload, header, _) = frames[first];
            let (went, outcome) = match sent {
                Ok(n) => (n.max(1), Ok(())),
                Err(error) if unknown(&error, header) => (1, cut(self.fd.as_fd(), payload, header)),
                Err(error) => (1, Err(refusal(&error))),
            };
            for _ in 0..went {
                said(frames[first].0, outcome);
                at += counts[first];
                first += 1;
            }
        }
    }

    /// For whoever receives, one at a time.
    pub fn burst(&self) -> Taken<'_, Burst> {
        self.burst.take(Company::SEVERAL)
    }
}

impl Burst {
    /// Receives a burst, which `arrivals` gives. How many frames came; 0: nothing waits.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> usize {
        // An error is that of the interface (it went down, or away); it is reported once, and then nothing comes.
        let count = receive_burst(fd, &mut self.slots).unwrap_or(0);
        self.arrived.clear();
        self.arrived.extend(self.slots[..count].iter_mut().map(restored));
        count
    }

    /// The frames of the last burst in order, each a piece that is added to those given.
    pub fn arrivals<'a>(&'a self, pieces: &mut Vec<Source<'a>>) -> Vec<Result<Arrival, Loss>> {
        let arrived = self.arrived.iter().zip(&self.slots).map(|(found, slot)| {
            let (header, bytes) = found.clone().ok_or(Loss::TooLong)?;
            let (place, len) = (pieces.len(), bytes.len());
            pieces.push(Source::from(&slot.bytes[bytes]));
            Ok(Arrival { header, pieces: place..place + 1, len })
        });
        arrived.collect()
    }
}

/// Puts a frame's VLAN tag back into it; says what its header says, and where it lies.
fn restored(slot: &mut Slot) -> Option<(Header, Range<usize>)> {
    let end = AHEAD + slot.len;
    if end > slot.bytes.len() {
        return None;
    }
    let mut header = slot.header;
    let Some(tag) = tag(slot).filter(|_| slot.len >= TAG_AT) else {
        return Some((Header::new(header), AHEAD..end));
    };
    slot.bytes.copy_within(AHEAD..AHEAD + TAG_AT, 0);
    slot.bytes[TAG_AT..TAG_AT + AHEAD].copy_from_slice(&tag);
    shift(&mut header);
    Some((Header::new(header), 0..end))
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A frame in more pieces than one system call takes is copied.
fn in_one_piece(payload: &Payload<'_, '_>) -> Option<Vec<u8>> {
    payload.pieces().nth(MOST_PIECES - 2)?;
    let mut bytes = vec![0; payload.len];
    payload.read(&mut bytes);
    Some(bytes)
}

/// Whether the kernel is too old to know what to do with datagrams that are to be cut (before Linux 6.2).
fn unknown(error: &io::Error, header: &Header) -> bool {
    header.datagrams() && error.raw_os_error() == Some(libc::EINVAL)
}

/// It gets the datagrams one by one.
fn cut(fd: BorrowedFd<'_>, frame: &Payload<'_, '_>, header: &Header) -> Sent {
    let mut whole = vec![0; frame.len];
    frame.read(&mut whole);
    let mut outcome = Ok(());
    let cut = finish(header, &mut whole, |datagram| {
        let pieces: Vec<Source<'_>> =
            std::iter::once(Source::from(&[0; HEADER][..])).chain(datagram.pieces()).collect();
        outcome = send_burst(fd, &pieces, &[pieces.len()]).map(drop).map_err(|error| refusal(&error));
        outcome.is_ok()
    });
    if cut.is_some() { outcome } else { Err(Some(Loss::BadHeader)) }
}

/// The VLAN tag that the kernel has taken out of a frame (struct tpacket_auxdata).
fn tag(slot: &Slot) -> Option<[u8; 4]> {
    let told = slot.aside(libc::SOL_PACKET, PACKET_AUXDATA)?;
    let status = u32::from_ne_bytes(told.get(0..4)?.try_into().ok()?);
    let word = |at: usize| Some(u16::from_ne_bytes(told.get(at..at + 2)?.try_into().ok()?));
    let kind = if status & TP_STATUS_VLAN_TPID_VALID != 0 { word(18)? } else { TPID_8021Q };
    let ([a, b], [c, d]) = (kind.to_be_bytes(), word(16)?.to_be_bytes());
    (status & TP_STATUS_VLAN_VALID != 0).then_some([a, b, c, d])
}

/// The tag comes back into the frame: what the header says lies behind it.
fn shift(header: &mut [u8; HEADER]) {
    // hdr_len and csum_start
    for at in [2, 6] {
        let word = u16::from_le_bytes([header[at], header[at + 1]]);
        if word != 0 {
            header[at..at + 2].copy_from_slice(&word.saturating_add(AHEAD as u16).to_le_bytes());
        }
    }
}

fn refusal(error: &io::Error) -> Option<Loss> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Some(Loss::UplinkBusy),
        Some(libc::EFAULT) => None,
        Some(libc::EINVAL) => Some(Loss::BadHeader),
        Some(libc::EMSGSIZE) => Some(Loss::TooLong),
        Some(libc::ENETDOWN) => Some(Loss::LinkDown),
        _ => Some(Loss::UplinkDown),
    }
}
