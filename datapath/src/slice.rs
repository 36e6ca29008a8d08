//! What a thread asks of the scheduler that sleeps until something comes, and then works for some microseconds: little at a
//! time, and soon. Linux lets whoever asks for less come first (EEVDF, `sched_attr::sched_runtime` since 6.12). Without it a
//! worker that a doorbell wakes stands behind the virtual processor that rang it, until that has done something else.

use std::io;
use std::mem::size_of;

/// Nanoseconds: the least that Linux gives.
const SLICE: u64 = 100_000;

/// Asks for a short slice, for this thread and those that it starts. Older kernels take no notice; a real-time policy that
/// the operator chose stays.
pub fn ask_for_a_short_one() -> io::Result<()> {
    let attributes = own()?;
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    let asked = libc::sched_attr { sched_runtime: SLICE, ..attributes };
    // SAFETY: the kernel reads what `asked.size` says, which it wrote itself and is no more than there is.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const asked, 0) })
}

fn own() -> io::Result<libc::sched_attr> {
    let mut found = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes no more than the size that it is told.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size_of::<libc::sched_attr>(), 0) })?;
    Ok(found)
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> (u32, u32) {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    #[test]
    fn a_thread_and_those_that_it_starts_have_a_short_slice() {
        let of_both = std::thread::spawn(|| {
            let before = own().unwrap();
            ask_for_a_short_one().unwrap();
            let started = std::thread::spawn(|| own().unwrap()).join().unwrap();
            [before, own().unwrap(), started]
        });
        let [before, asked, started] = of_both.join().unwrap();
        assert_eq!((asked.sched_policy, asked.sched_nice), (before.sched_policy, before.sched_nice));
        if kernel() >= (6, 12) {
            assert_eq!((asked.sched_runtime, started.sched_runtime), (SLICE, SLICE));
        }
    }
}
