//! Threads that must have their cores during a window: pinned, real-time for that long, and watched, because a window in
//! which one of them waited for its core says nothing.

use std::fs;
use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

/// What came between the hot threads and their cores in a window.
#[derive(Serialize, Clone, Copy)]
pub struct Disturbance {
    /// Nanoseconds that the thread which waited most was ready to run and did not.
    pub waited: u64,
    /// Hundredths of a second that the hypervisor gave the machine's cores to others.
    pub stolen: u64,
}

pub struct Steady {
    threads: Vec<i32>,
    fifo: bool,
}

impl Steady {
    /// Pins this thread to `core`, and watches it and `others`.
    pub fn new(core: Option<usize>, others: &[i32], fifo: bool) -> io::Result<Steady> {
        if let Some(core) = core {
            pin(core)?;
        }
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        Ok(Steady { threads: [&[own], others].concat(), fifo })
    }

    /// Runs a window.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> io::Result<(T, Disturbance)> {
        self.schedule(self.fifo)?;
        let before = self.look()?;
        let done = work();
        let after = self.look()?;
        self.schedule(false)?;
        let waited = after.0.iter().zip(&before.0).map(|(after, before)| after - before).max().unwrap_or(0);
        Ok((done, Disturbance { waited, stolen: after.1 - before.1 }))
    }

    fn look(&self) -> io::Result<(Vec<u64>, u64)> {
        let waited: io::Result<Vec<u64>> = self.threads.iter().map(|thread| waited(*thread)).collect();
        Ok((waited?, stolen()?))
    }

    fn schedule(&self, real_time: bool) -> io::Result<()> {
        let policy = if real_time { libc::SCHED_FIFO } else { libc::SCHED_OTHER };
        let priority = libc::sched_param { sched_priority: i32::from(real_time) };
        self.threads.iter().try_for_each(|thread| {
            // SAFETY: the structure lives through the call.
            match unsafe { libc::sched_setscheduler(*thread, policy, &priority) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }
}

pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// The second number of schedstat: nanoseconds on a run queue.
fn waited(thread: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    Ok(text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn stolen() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    Ok(text.split_whitespace().nth(8).and_then(|number| number.parse().ok()).unwrap_or(0))
}
