//! Which guest-physical address lies where.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use super::mapping::Mapping;
use super::{Area, Sink, Source};

/// What the device may do with a region: the two flags of DMA_MAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    pub read: bool,
    pub write: bool,
}

/// A range of guest-physical addresses; clones share the mapping, which is undone when the last one goes.
#[derive(Clone)]
pub struct Region {
    iova: u64,
    len: u64,
    protection: Protection,
    host: Option<NonNull<u8>>,
    mapping: Option<Arc<Mapping>>,
}

// SAFETY: `host` points into `mapping`, which may be used from any thread.
unsafe impl Send for Region {}
unsafe impl Sync for Region {}

/// An immutable snapshot of a guest's memory. Of regions that overlap, the one that begins last is found.
#[derive(Default)]
pub struct Table {
    regions: Vec<Region>,
    /// Where each mapped region begins in our own memory, in order, and its index: made when somebody asks the way back.
    hosts: OnceLock<Vec<(u64, usize)>>,
}

/// Why an address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Outside { iova: u64, len: u64 },
    NotShared { iova: u64 },
    ReadOnly { iova: u64 },
    WriteOnly { iova: u64 },
    Divided { iova: u64, len: u64 },
    Misaligned { iova: u64, align: usize },
}

/// A kind of piece that a range of guest addresses comes to: one that the device reads, or one that it writes.
pub trait Translate<'m>: Copy + Default {
    /// Whether the device writes to pieces of this kind.
    const WRITES: bool;

    /// # Safety
    /// `start..start + len` is mapped readable for `'m`, and writable for a kind that the device writes to.
    unsafe fn at(start: NonNull<u8>, len: usize) -> Self;

    /// Has its first cache lines fetched.
    fn prefetch(&self);

    /// Pushes the pieces of a range: several when it spans adjacent regions. `hint` is the caller's own and remembers the
    /// region of the last hit.
    fn translate(
        table: &'m Table,
        hint: &mut usize,
        iova: u64,
        len: u64,
        pieces: &mut Vec<Self>,
    ) -> Result<(), Refusal> {
        let (mut at, mut left) = (iova, len);
        while left > 0 {
            let (host, n) = table.locate(hint, at, left, Self::WRITES)?;
            // SAFETY: `locate` has found n bytes there that may be used so, and the table keeps them mapped for 'm.
            pieces.push(unsafe { Self::at(host, n) });
            left -= n as u64;
            if left > 0 {
                at = at.checked_add(n as u64).ok_or(Refusal::Outside { iova, len })?;
            }
        }
        Ok(())
    }
}

/// The region that a ring's buffers were last found in: looked up once a batch, asked once a buffer.
#[derive(Clone, Copy)]
pub struct Window<'m, S> {
    iova: u64,
    len: u64,
    host: NonNull<u8>,
    kind: PhantomData<(&'m Table, S)>,
}

impl<'m, S: Translate<'m>> Window<'m, S> {
    /// The range as one piece, if it lies in here.
    #[inline(always)]
    pub fn piece(&self, iova: u64, len: u32) -> Option<S> {
        let offset = iova.wrapping_sub(self.iova);
        let inside = offset < self.len && u64::from(len) <= self.len - offset;
        // SAFETY: the window is mapped for 'm as pieces of this kind need it, and the range is inside.
        inside.then(|| unsafe { S::at(self.host.add(offset as usize), len as usize) })
    }
}

impl Region {
    /// A range backed by a file that the VMM shares.
    ///
    /// # Errors
    /// `InvalidInput` with a sentence when the range or the file cannot serve, else what mmap said.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, iova: u64, len: u64, protection: Protection) -> io::Result<Region> {
        if iova.checked_add(len).is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range ends beyond 2^64"));
        }
        let (mapping, host) = Mapping::new(fd, offset, len, protection)?;
        Ok(Region { iova, len, protection, host: Some(host), mapping: Some(Arc::new(mapping)) })
    }

    /// A range that came without a descriptor: accepted, but a queue that touches it faults.
    pub fn unmapped(iova: u64, len: u64, protection: Protection) -> Region {
        Region { iova, len, protection, host: None, mapping: None }
    }

    /// Whether it takes a mapping of this process.
    pub fn mapped(&self) -> bool {
        self.mapping.is_some()
    }

    pub fn iova(&self) -> u64 {
        self.iova
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes from `iova` to the region's end, or None when it lies elsewhere.
    #[inline(always)]
    fn left(&self, iova: u64) -> Option<u64> {
        let offset = iova.wrapping_sub(self.iova);
        (offset < self.len).then(|| self.len - offset)
    }

    #[inline(always)]
    fn host(&self, iova: u64, write: bool) -> Result<NonNull<u8>, Refusal> {
        match self.host {
            _ if write && !self.protection.write => Err(Refusal::ReadOnly { iova }),
            _ if !write && !self.protection.read => Err(Refusal::WriteOnly { iova }),
            None => Err(Refusal::NotShared { iova }),
            // SAFETY: callers have found iova in the region, and `len` bytes are mapped at `host`.
            Some(host) => Ok(unsafe { host.add((iova - self.iova) as usize) }),
        }
    }
}

impl Table {
    pub fn new(mut regions: Vec<Region>) -> Table {
        regions.sort_by_key(Region::iova);
        Table { regions, hosts: OnceLock::new() }
    }

    /// Whether the VMM took pages of any region away.
    pub fn poisoned(&self) -> bool {
        self.regions.iter().filter_map(|region| region.mapping.as_ref()).any(|mapping| mapping.poisoned())
    }

    /// The memory of a ring: readable, whole in one region, aligned in our address space too.
    pub fn area(&self, iova: u64, len: usize, align: usize, write: bool) -> Result<Area, Refusal> {
        let region = self.find(iova).ok_or(Refusal::Outside { iova, len: len as u64 })?;
        let host = region.host(iova, false)?;
        if write {
            region.host(iova, true)?;
        }
        if region.left(iova).is_none_or(|left| left < len as u64) {
            return Err(Refusal::Divided { iova, len: len as u64 });
        }
        if iova % align as u64 != 0 || host.as_ptr() as usize % align != 0 {
            return Err(Refusal::Misaligned { iova, align });
        }
        let mapping = region.mapping.clone().ok_or(Refusal::NotShared { iova })?;
        // SAFETY: the range lies in the region, whose mapping is readable and, where asked for, writable.
        Ok(unsafe { Area::new(host, len, mapping) })
    }

    /// The region of a hint, for pieces of one kind; an empty window where there is none that may be used so.
    #[inline]
    pub fn window<'m, S: Translate<'m>>(&'m self, hint: usize) -> Window<'m, S> {
        let found = self.regions.get(hint).and_then(|region| Some((region, region.host(region.iova, S::WRITES).ok()?)));
        let (iova, len, host) = match found {
            Some((region, host)) => (region.iova, region.len, host),
            None => (0, 0, NonNull::dangling()),
        };
        Window { iova, len, host, kind: PhantomData }
    }

    /// Which guest address a sink of this table begins at.
    pub fn address(&self, sink: &Sink<'_>) -> Option<u64> {
        let place = sink.address() as u64;
        let hosts = self.hosts.get_or_init(|| self.by_host());
        let (start, index) = hosts[..hosts.partition_point(|(start, _)| *start <= place)].last()?;
        let region = &self.regions[*index];
        (place - start < region.len).then(|| region.iova + (place - start))
    }

    fn by_host(&self) -> Vec<(u64, usize)> {
        let hosts = self.regions.iter().enumerate();
        let mut hosts: Vec<_> =
            hosts.filter_map(|(index, region)| Some((region.host?.as_ptr() as u64, index))).collect();
        hosts.sort_unstable();
        hosts
    }

    /// The regions that the device may write to, as address and length, in order.
    pub fn writable(&self) -> impl Iterator<Item = (u64, u64)> {
        let writable = self.regions.iter().filter(|region| region.host.is_some() && region.protection.write);
        writable.map(|region| (region.iova, region.len))
    }

    /// Copies bytes out of guest memory.
    pub fn read(&self, hint: &mut usize, iova: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let mut done = 0;
        while done < buffer.len() {
            let at = iova.wrapping_add(done as u64);
            let (host, n) = self.locate(hint, at, (buffer.len() - done) as u64, false)?;
            // SAFETY: `locate` has found n readable bytes there.
            done += unsafe { Source::new(host.as_ptr(), n) }.read(&mut buffer[done..]);
        }
        Ok(())
    }

    /// Where `iova` lies, and how many of `len` bytes from there are in the same region: at least one if len > 0.
    #[inline(always)]
    fn locate(&self, hint: &mut usize, iova: u64, len: u64, write: bool) -> Result<(NonNull<u8>, usize), Refusal> {
        if let Some(region) = self.regions.get(*hint) {
            if let Some(left) = region.left(iova) {
                return Ok((region.host(iova, write)?, left.min(len) as usize));
            }
        }
        self.search(hint, iova, len, write)
    }

    #[cold]
    fn search(&self, hint: &mut usize, iova: u64, len: u64, write: bool) -> Result<(NonNull<u8>, usize), Refusal> {
        let index = self.regions.partition_point(|region| region.iova <= iova).wrapping_sub(1);
        let region = self.regions.get(index).ok_or(Refusal::Outside { iova, len })?;
        let left = region.left(iova).ok_or(Refusal::Outside { iova, len })?;
        *hint = index;
        Ok((region.host(iova, write)?, left.min(len) as usize))
    }

    fn find(&self, iova: u64) -> Option<&Region> {
        let index = self.regions.partition_point(|region| region.iova <= iova).checked_sub(1)?;
        self.regions.get(index).filter(|region| region.left(iova).is_some())
    }
}

impl<'m> Translate<'m> for Source<'m> {
    const WRITES: bool = false;

    #[inline(always)]
    unsafe fn at(start: NonNull<u8>, len: usize) -> Self {
        // SAFETY: as the caller promised.
        unsafe { Source::new(start.as_ptr(), len) }
    }

    #[inline(always)]
    fn prefetch(&self) {
        self.fetch();
    }
}

impl<'m> Translate<'m> for Sink<'m> {
    const WRITES: bool = true;

    #[inline(always)]
    unsafe fn at(start: NonNull<u8>, len: usize) -> Self {
        // SAFETY: as the caller promised.
        unsafe { Sink::new(start.as_ptr(), len) }
    }

    #[inline(always)]
    fn prefetch(&self) {
        self.fetch();
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::Outside { iova, len } => write!(f, "{iova:#x} + {len:#x} is outside the guest's memory"),
            Refusal::NotShared { iova } => {
                write!(f, "guest memory at {iova:#x} is not shared: start QEMU with a memory-backend-memfd,share=on")
            }
            Refusal::ReadOnly { iova } => write!(f, "guest memory at {iova:#x} is mapped read-only for the device"),
            Refusal::WriteOnly { iova } => write!(f, "guest memory at {iova:#x} is mapped write-only for the device"),
            Refusal::Divided { iova, len } => {
                write!(f, "{iova:#x} + {len:#x} is not in one region of the guest's memory, as a ring must be")
            }
            Refusal::Misaligned { iova, align } => {
                write!(f, "{iova:#x} is not a multiple of {align}, or its region is not")
            }
        }
    }
}
