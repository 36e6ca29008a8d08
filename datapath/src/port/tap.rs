//! A tap with a virtio-net header of 12 bytes, not blocking: a function's representor. Frames go between its queue in the
//! kernel and guest memory by one system call each, with no copy of ours between; those of 64 KB that are still to be cut
//! into segments go whole.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::memory::{MOST_PIECES, Sink, Source, gather, scatter};
use crate::offload::{Header, TUN_CSUM, TUN_USO, finish};
use crate::ring::Payload;
use crate::switch::Loss;

const HEADER: usize = 12;
/// linux/if_tun.h: which frames the kernel may leave to be finished by whoever reads the tap.
pub const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
/// Beyond the longest frame that a tap gives.
pub const LONGEST: usize = 68 * 1024;

pub struct Tap {
    fd: OwnedFd,
    gone: AtomicBool,
    /// Whether the kernel cuts datagrams (since Linux 6.2): it then takes them whole, and may leave them so.
    pub(super) datagrams: bool,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame of `len` bytes, the first `placed` of them in the places given and the others in `rest`. Its header has
    /// not been checked against it.
    Frame {
        header: Header,
        len: usize,
        placed: usize,
    },
    Empty,
    /// The places were not memory any more.
    BadMemory,
    /// The interface was deleted.
    Gone,
}

impl Tap {
    pub fn new(fd: OwnedFd) -> Tap {
        let mut tap = Tap { fd, gone: AtomicBool::new(false), datagrams: false };
        tap.datagrams = tap.set(TUN_CSUM | TUN_USO).is_ok();
        let _ = tap.set(0);
        tap
    }

    /// What the kernel may leave undone in frames that are received from now on; those in its queue stay as they are.
    pub fn set_offloads(&self, flags: u32) -> io::Result<()> {
        if self.gone.load(Relaxed) {
            return Ok(());
        }
        self.set(if self.datagrams { flags } else { flags & !TUN_USO })
    }

    fn set(&self, flags: u32) -> io::Result<()> {
        // SAFETY: this request takes a number.
        match unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(flags)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sends a frame out of the representor; the kernel finishes it where that is needed. An inner None is a place that was not memory any more.
    pub fn send(&self, frame: &Payload<'_, '_>, header: &Header) -> Result<(), Option<Loss>> {
        if self.gone.load(Relaxed) {
            return Err(Some(Loss::RepresentorDown));
        }
        if header.datagrams() && !self.datagrams { self.cut(frame, header) } else { self.put(frame, header) }
    }

    /// The kernel does not know what to do: it gets the datagrams one by one.
    fn cut(&self, frame: &Payload<'_, '_>, header: &Header) -> Result<(), Option<Loss>> {
        let mut whole = vec![0; frame.len];
        frame.read(&mut whole);
        let mut outcome = Ok(());
        let cut = finish(header, &mut whole, |datagram| {
            outcome = self.put(datagram, &Header::default());
            outcome.is_ok()
        });
        if cut.is_some() { outcome } else { Err(Some(Loss::BadHeader)) }
    }

    fn put(&self, frame: &Payload<'_, '_>, header: &Header) -> Result<(), Option<Loss>> {
        let header = header.bytes(0);
        let mut pieces = Vec::with_capacity(4);
        pieces.push(Source::from(&header[..]));
        pieces.extend(frame.pieces());
        let sent = if pieces.len() <= MOST_PIECES {
            gather(self.fd.as_fd(), &pieces)
        } else {
            let mut whole = vec![0; frame.len];
            frame.read(&mut whole);
            gather(self.fd.as_fd(), &[pieces[0], Source::from(&whole[..])])
        };
        sent.map(drop).map_err(|error| self.refused(&error))
    }

    /// Reads a frame into places, in order, and what they do not hold into `rest`, of `LONGEST` bytes.
    pub fn receive<'m>(&self, places: impl Iterator<Item = Sink<'m>>, rest: &mut [u8]) -> Outcome {
        let mut header = [0; HEADER];
        let mut pieces = Vec::with_capacity(4);
        pieces.push(Sink::from(&mut header[..]));
        places.take(MOST_PIECES - 2).for_each(|place| pieces.push(place));
        let room: usize = pieces[1..].iter().map(Sink::len).sum();
        pieces.push(Sink::from(rest));
        match scatter(self.fd.as_fd(), &pieces) {
            Ok(n) if n > HEADER => {
                let [offloads @ .., _, _] = header;
                Outcome::Frame { header: Header::new(offloads), len: n - HEADER, placed: room.min(n - HEADER) }
            }
            Ok(_) => Outcome::Empty,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Outcome::Empty,
                Some(libc::EFAULT) => Outcome::BadMemory,
                _ => {
                    self.gone.store(true, Relaxed);
                    Outcome::Gone
                }
            },
        }
    }

    fn refused(&self, error: &io::Error) -> Option<Loss> {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Some(Loss::RepresentorBusy),
            Some(libc::EFAULT) => None,
            Some(libc::EINVAL) => Some(Loss::BadHeader),
            Some(libc::EBADFD) => {
                self.gone.store(true, Relaxed);
                Some(Loss::RepresentorDown)
            }
            _ => Some(Loss::RepresentorDown),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
