//! A VMM may truncate the file that it shared with us. The next access then raises SIGBUS, which must cost that VMM's
//! devices only: the handler puts anonymous memory in place of the mapping and marks it poisoned; whoever owns it looks.
//!
//! The handler may run at any instruction of any thread, so it reads atomics and makes one system call, nothing else.

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

const CHUNK: usize = 256;
const CHUNKS: usize = 4096;

/// A mapping that the handler may replace. `start` is zero while the slot is free.
pub(super) struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    poisoned: AtomicBool,
}

static SLOTS: [AtomicPtr<[Slot; CHUNK]>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];
static FREE: Mutex<Free> = Mutex::new(Free { chunks: 0, slots: Vec::new() });
static POISONED: AtomicU64 = AtomicU64::new(0);
static INSTALL: Once = Once::new();

struct Free {
    chunks: usize,
    slots: Vec<&'static Slot>,
}

/// How many mappings have been poisoned since the start: when it moves, look at the tables.
pub fn poisonings() -> u64 {
    POISONED.load(Ordering::Relaxed)
}

/// Installs the handler, once a process.
pub fn install() {
    INSTALL.call_once(|| {
        // SAFETY: the action is fully initialised and the handler is async-signal-safe (see the head of this file).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, null_mut());
        }
    });
}

impl Slot {
    /// Takes a slot for a mapping of `len` bytes at `start`.
    pub(super) fn take(start: usize, len: usize) -> io::Result<&'static Slot> {
        let slot = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        slot.poisoned.store(false, Ordering::Relaxed);
        slot.len.store(len, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Ok(slot)
    }

    /// Gives the slot back; to be called before the mapping is undone.
    pub(super) fn release(&'static self) {
        self.start.store(0, Ordering::Release);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).slots.push(self);
    }

    pub(super) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    const fn free() -> Slot {
        Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), poisoned: AtomicBool::new(false) }
    }
}

impl Free {
    fn pop(&mut self) -> io::Result<&'static Slot> {
        if self.slots.is_empty() {
            self.grow()?;
        }
        self.slots.pop().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn grow(&mut self) -> io::Result<()> {
        let place = SLOTS.get(self.chunks).ok_or(io::ErrorKind::OutOfMemory)?;
        let chunk: &'static mut [Slot; CHUNK] = Box::leak(Box::new([const { Slot::free() }; CHUNK]));
        place.store(chunk, Ordering::Release);
        self.chunks += 1;
        // SAFETY: the chunk was leaked just now and is only ever shared from here on.
        let chunk: &'static [Slot; CHUNK] = unsafe { &*place.load(Ordering::Relaxed) };
        self.slots.extend(chunk.iter());
        Ok(())
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo; errno is this thread's own.
    unsafe {
        let address = (*info).si_addr() as usize;
        let errno = *libc::__errno_location();
        let replaced = find(address).is_some_and(replace);
        if !replaced {
            // Not guest memory, so a fault of ours: let it end the process where it happened.
            libc::signal(signal, libc::SIG_DFL);
        }
        *libc::__errno_location() = errno;
    }
}

fn find(address: usize) -> Option<&'static Slot> {
    SLOTS
        .iter()
        .map(|chunk| chunk.load(Ordering::Acquire))
        .take_while(|chunk| !chunk.is_null())
        // SAFETY: chunks are leaked, so a pointer that is not null stays valid.
        .flat_map(|chunk| unsafe { (*chunk).iter() })
        .find(|slot| {
            let start = slot.start.load(Ordering::Acquire);
            start != 0 && address.wrapping_sub(start) < slot.len.load(Ordering::Relaxed)
        })
}

fn replace(slot: &Slot) -> bool {
    slot.poisoned.store(true, Ordering::Relaxed);
    POISONED.fetch_add(1, Ordering::Relaxed);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let start = slot.start.load(Ordering::Relaxed) as *mut libc::c_void;
    // SAFETY: the range is a live mapping of ours: the thread that faulted in it holds it alive, and a slot is released
    // before its mapping is undone.
    let place = unsafe { libc::mmap(start, slot.len.load(Ordering::Relaxed), protection, flags, -1, 0) };
    place != libc::MAP_FAILED
}
