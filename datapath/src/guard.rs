//! Nobody waits on an eventfd. A VMM can clear O_NONBLOCK on one that it handed over, and fill it, at any moment: a write to
//! it would then block whoever interrupts, and no look beforehand rules that out. So the writers leave a mark while they are
//! at it, and a thread that finds the same mark twice sends the writer a signal, which ends the write.

use std::io;
use std::os::raw::c_int;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A writer is interrupted after one to two of these.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The mark of whoever writes to one function's eventfds; one thread at a time.
#[derive(Default)]
pub struct Mark {
    /// Odd while someone writes.
    turn: AtomicU64,
    thread: AtomicI32,
    signalled: AtomicBool,
}

thread_local! {
    static THREAD: i32 = rustix::thread::gettid().as_raw_nonzero().get();
}

impl Mark {
    /// Writes, under the mark. True beside the result if a signal was sent meanwhile.
    pub fn during<R>(&self, write: impl FnOnce() -> R) -> (R, bool) {
        self.thread.store(THREAD.with(|thread| *thread), Relaxed);
        self.turn.fetch_add(1, Release);
        let result = write();
        self.turn.fetch_add(1, Release);
        (result, self.signalled.load(Relaxed) && self.signalled.swap(false, Relaxed))
    }
}

/// The thread that looks. It ends when this is dropped, and sleeps while there is nothing to look at.
pub struct Guard(Sender<Weak<Mark>>);

impl Guard {
    pub fn spawn() -> io::Result<Guard> {
        let handled = vmm_sys_util::signal::register_signal_handler(libc::SIGURG, wake);
        handled.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        let (sender, receiver) = channel();
        let (ready, started) = sync_channel(1);
        std::thread::Builder::new().name("guard".into()).spawn(move || {
            let _ = ready.send(());
            look(&receiver);
        })?;
        // A thread that starts makes system calls that the sandbox does not allow.
        let _ = started.recv();
        Ok(Guard(sender))
    }

    /// Looks at a mark from now on, as long as it is there.
    pub fn watch(&self, mark: &Arc<Mark>) {
        let _ = self.0.send(Arc::downgrade(mark));
    }
}

fn look(new: &Receiver<Weak<Mark>>) {
    let mut marks: Vec<(Weak<Mark>, u64)> = Vec::new();
    loop {
        let came = if marks.is_empty() {
            new.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            new.recv_timeout(LOOK_EVERY)
        };
        match came {
            Ok(mark) => marks.push((mark, 0)),
            Err(RecvTimeoutError::Timeout) => marks.retain_mut(|(mark, before)| {
                let Some(mark) = mark.upgrade() else { return false };
                let turn = mark.turn.load(Acquire);
                if turn % 2 == 1 && turn == std::mem::replace(before, turn) {
                    interrupt(&mark);
                }
                true
            }),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn interrupt(mark: &Mark) {
    mark.signalled.store(true, Relaxed);
    let process = std::process::id() as i32;
    // SAFETY: a signal to a thread of this process; one that ended meanwhile gets none.
    unsafe { libc::syscall(libc::SYS_tgkill, process, mark.thread.load(Relaxed), libc::SIGURG) };
}

/// The signal itself does nothing: that the call returns is what counts.
extern "C" fn wake(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {}
