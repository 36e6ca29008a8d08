//! Several frames to or from a packet socket in one system call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::span::Source;

/// Bytes of struct virtio_net_hdr.
pub const HEADER: usize = 10;
/// Room for what the kernel says beside a frame: struct tpacket_auxdata behind a cmsghdr.
const ASIDE: usize = 64;

/// A place for one received frame.
pub struct Slot {
    /// What lies before the frame: struct virtio_net_hdr.
    pub header: [u8; HEADER],
    /// The frame after its first `AHEAD` bytes, which are free.
    pub bytes: Vec<u8>,
    /// Bytes of the frame; beyond the end of `bytes` if it was longer than they are.
    pub len: usize,
    aside: Aside,
    told: usize,
}

/// Room before a frame, for a VLAN tag that the kernel took out of it.
pub const AHEAD: usize = 4;

#[repr(C, align(8))]
struct Aside([u8; ASIDE]);

impl Slot {
    /// For frames of up to `longest` bytes.
    pub fn new(longest: usize) -> Slot {
        Slot { header: [0; HEADER], bytes: vec![0; AHEAD + longest], len: 0, aside: Aside([0; ASIDE]), told: 0 }
    }

    /// The payload of the control message of that level and type, if it came.
    pub fn aside(&self, level: i32, kind: i32) -> Option<&[u8]> {
        const HEAD: usize = size_of::<libc::cmsghdr>();
        let told = &self.aside.0[..self.told.min(ASIDE)];
        let number = |at: usize| told.get(at..at + 4).map(|bytes| i32::from_ne_bytes(bytes.try_into().expect("4")));
        let len = usize::from_ne_bytes(told.get(..size_of::<usize>())?.try_into().ok()?);
        let (of_level, of_kind) = (number(size_of::<usize>())?, number(size_of::<usize>() + 4)?);
        if (of_level, of_kind) != (level, kind) {
            return None;
        }
        told.get(HEAD..len)
    }
}

/// Sends messages, each the next `counts[n]` of `pieces`. How many went; the error is that of the first that did not.
pub fn send_burst(fd: BorrowedFd<'_>, pieces: &[Source<'_>], counts: &[usize]) -> io::Result<usize> {
    let mut at = 0;
    let mut messages: Vec<libc::mmsghdr> = Vec::with_capacity(counts.len());
    for count in counts {
        let own = &pieces[at..at + count];
        at += count;
        // SAFETY: zeros are a valid mmsghdr: no name, no control data.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = own.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_iovlen = own.len() as _;
        messages.push(message);
    }
    // SAFETY: Source is laid out as iovec, each names memory that may be read, and the call only reads it.
    let n = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Receives what waits, a frame a slot; how many came.
pub fn receive_burst(fd: BorrowedFd<'_>, slots: &mut [Slot]) -> io::Result<usize> {
    let mut places: Vec<[libc::iovec; 2]> = slots.iter_mut().map(places).collect();
    let mut messages: Vec<libc::mmsghdr> = Vec::with_capacity(slots.len());
    for (slot, place) in slots.iter_mut().zip(&mut places) {
        // SAFETY: as above.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = place.as_mut_ptr();
        message.msg_hdr.msg_iovlen = 2;
        message.msg_hdr.msg_control = slot.aside.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = ASIDE as _;
        messages.push(message);
    }
    let (start, count, flags) = (messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT | libc::MSG_TRUNC);
    // SAFETY: every message names places in its slot, which is borrowed for the call; no time-out is given.
    let n = unsafe { libc::recvmmsg(fd.as_raw_fd(), start, count, flags as _, std::ptr::null_mut()) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // A frame has its header; less is the end of a socket whose other side has gone.
    let n = messages[..n].iter().take_while(|message| message.msg_len as usize >= HEADER).count();
    for (slot, message) in slots.iter_mut().zip(&messages[..n]) {
        slot.len = message.msg_len as usize - HEADER;
        slot.told = message.msg_hdr.msg_controllen;
    }
    Ok(n)
}

fn places(slot: &mut Slot) -> [libc::iovec; 2] {
    let bytes = &mut slot.bytes[AHEAD..];
    [
        libc::iovec { iov_base: slot.header.as_mut_ptr().cast(), iov_len: slot.header.len() },
        libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() },
    ]
}
