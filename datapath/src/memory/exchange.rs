//! What an XDP socket shares with the kernel: chunks of memory that frames lie in, and four rings that say which.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use super::mapping::Mapping;
use super::{Area, Protection, Sink, Source};

/// Bytes of an entry: an address alone, or struct xdp_desc.
pub const ADDRESS: usize = 8;
pub const DESCRIPTOR: usize = 16;

/// Memory for frames, of a memfd that the kernel knows as the socket's UMEM.
pub struct Chunks {
    start: NonNull<u8>,
    len: usize,
    _mapping: Mapping,
}

// SAFETY: what lies there is only copied in and out, by way of checked ranges.
unsafe impl Send for Chunks {}
unsafe impl Sync for Chunks {}

impl Chunks {
    pub fn map(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Chunks> {
        let (mapping, start) = Mapping::new(fd, offset, len as u64, Protection { read: true, write: true })?;
        Ok(Chunks { start, len, _mapping: mapping })
    }

    pub fn source(&self, at: u64, len: usize) -> Option<Source<'_>> {
        let at = self.within(at, len)?;
        // SAFETY: the range lies in the mapping, which lives as long as the borrow.
        Some(unsafe { Source::new(self.start.as_ptr().add(at), len) })
    }

    pub fn sink(&self, at: u64, len: usize) -> Option<Sink<'_>> {
        let at = self.within(at, len)?;
        // SAFETY: as above; and nobody has references into it.
        Some(unsafe { Sink::new(self.start.as_ptr().add(at), len) })
    }

    fn within(&self, at: u64, len: usize) -> Option<usize> {
        let at = usize::try_from(at).ok()?;
        at.checked_add(len).filter(|end| *end <= self.len).map(|_| at)
    }
}

/// One ring: two indices, flags and entries, by their offsets.
pub struct Exchange {
    pub area: Area,
    pub producer: usize,
    pub consumer: usize,
    pub flags: usize,
    pub entries: usize,
}

/// The rings of one socket (linux/if_xdp.h).
pub struct Exchanges {
    pub receive: Exchange,
    pub transmit: Exchange,
    pub fill: Exchange,
    pub completion: Exchange,
}

impl Exchanges {
    /// Maps rings of `count` entries each.
    pub fn map(fd: BorrowedFd<'_>, count: u32) -> io::Result<Exchanges> {
        let places = places(fd)?;
        let ring = |place: &libc::xdp_ring_offset, from: u64, size| {
            let end = usize::try_from(place.desc).ok().and_then(|at| at.checked_add(count as usize * size));
            let len = end.ok_or(io::ErrorKind::InvalidData)?;
            let (mapping, start) = Mapping::of_kernel(fd, from, len)?;
            // SAFETY: exactly what was mapped, readable and writable.
            let area = unsafe { Area::new(start, len, Arc::new(mapping)) };
            let [producer, consumer, flags, entries] =
                [place.producer, place.consumer, place.flags, place.desc].map(|at| at as usize);
            Ok::<_, io::Error>(Exchange { area, producer, consumer, flags, entries })
        };
        Ok(Exchanges {
            receive: ring(&places.rx, libc::XDP_PGOFF_RX_RING as u64, DESCRIPTOR)?,
            transmit: ring(&places.tx, libc::XDP_PGOFF_TX_RING as u64, DESCRIPTOR)?,
            fill: ring(&places.fr, libc::XDP_UMEM_PGOFF_FILL_RING, ADDRESS)?,
            completion: ring(&places.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING, ADDRESS)?,
        })
    }
}

fn places(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: numbers alone, which may be zeros.
    let mut places: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&places) as libc::socklen_t;
    let at = (&raw mut places).cast();
    // SAFETY: the kernel writes at most `size` bytes, which is what `places` has.
    let status = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, at, &raw mut size) };
    match status {
        0 if size as usize == size_of_val(&places) => Ok(places),
        0 => Err(io::Error::new(io::ErrorKind::Unsupported, "AF_XDP is that of a kernel before Linux 5.4")),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel take what is to be sent. An error is that of the interface, or says that it has not taken all.
pub fn kick(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: nothing is handed over.
    let n = unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel see that it may receive again.
pub fn refilled(fd: BorrowedFd<'_>) {
    let (nothing, no_one) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: nothing is handed over. What goes wrong shows when nothing comes.
    unsafe { libc::recvfrom(fd.as_raw_fd(), nothing, 0, libc::MSG_DONTWAIT, no_one, std::ptr::null_mut()) };
}
