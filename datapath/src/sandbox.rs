//! What the process gives up before it meets the first guest: every privilege, and every system call that it does not
//! need. It works with the descriptors it is handed and opens nothing itself.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::port::TUNSETOFFLOAD;
use libc::{c_int, c_long, c_void, siginfo_t};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// System calls that need no look at their arguments, by what they are for.
const ALLOWED: &[c_long] = &[
    // sockets
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // uplinks
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    // eventfds, taps, the log
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    // waiting
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // what kind of descriptor is it
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_fstatfs,
    libc::SYS_fcntl,
    libc::SYS_readlinkat,
    // memory that a front end keeps for the next process
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_pwrite64,
    // memory
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_fallocate,
    // signals and the end
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // the allocator asks how many arenas are worth while
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_openat, // fails: see `FAILING`
];

/// System calls that fail with EACCES and do nothing: the allocator looks into /proc before it first gives back what a
/// thread freed, and does without.
const FAILING: [c_long; 1] = [libc::SYS_openat];

/// Likewise, where the architecture still has the older calls.
#[cfg(target_arch = "x86_64")]
const ALLOWED_TOO: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_TOO: &[c_long] = &[];

/// Ends the process's privileges; threads started later inherit that.
pub fn drop_privileges() -> io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Confines all threads to the system calls above. Any other one ends the process with a sentence on stderr.
pub fn enter() -> io::Result<()> {
    let handled = vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, complain);
    handled.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
    for filter in [failing()?, program()?] {
        seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Of several filters the kernel takes the strictest answer.
fn failing() -> io::Result<BpfProgram> {
    let rules = FAILING.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES as u32), arch)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)
}

fn program() -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_TOO).map(|call| (*call, Vec::new())).collect();
    // No memory ever becomes code.
    rules.insert(libc::SYS_mmap, vec![rule(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)?]);
    rules.insert(libc::SYS_mprotect, vec![rule(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![rule(1, SeccompCmpOp::Eq, libc::FIONBIO)?, rule(1, SeccompCmpOp::Eq, TUNSETOFFLOAD)?],
    );
    // Signals to this process alone: abort() sends one.
    rules.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, std::process::id().into())?]);
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)
}

fn rule(argument: u8, comparison: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value);
    condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)
}

/// The kernel refused a system call. Says which, without allocating, and ends the process.
extern "C" fn complain(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: for SIGSYS the kernel fills in the call's number behind its address; a siginfo has 128 bytes.
    let number = unsafe { info.cast::<c_int>().add(6).read() };
    let mut text = [0; 128];
    let mut rest = &mut text[..];
    let _ = writeln!(rest, "error: system call {number} is not allowed: see sandbox.rs");
    let left = rest.len();
    // SAFETY: `text` is initialised, and both calls are async-signal-safe.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len() - left);
        libc::_exit(128 + libc::SIGSYS);
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{Command, Output};

    use super::*;

    /// Runs this test program once more, for one test, which then confines itself and does something.
    fn confined(test: &str) -> Output {
        let program = env::current_exe().unwrap();
        let test = format!("sandbox::tests::{test}");
        Command::new(program).args(["--exact", &test, "--nocapture"]).env("CONFINED", "1").output().unwrap()
    }

    fn is_confined() -> bool {
        let confined = env::var_os("CONFINED").is_some();
        if confined {
            drop_privileges().unwrap();
            enter().unwrap();
        }
        confined
    }

    fn assert_ended(by: &Output, call: c_long) {
        assert_eq!(by.status.code(), Some(128 + libc::SIGSYS), "{by:?}");
        let said = format!("system call {call} is not allowed");
        assert!(String::from_utf8_lossy(&by.stderr).contains(&said), "{by:?}");
    }

    #[test]
    fn a_call_that_is_not_allowed_ends_the_process_with_a_sentence() {
        if is_confined() {
            let _ = std::net::UdpSocket::bind("127.0.0.1:0");
        } else {
            assert_ended(&confined("a_call_that_is_not_allowed_ends_the_process_with_a_sentence"), libc::SYS_socket);
        }
    }

    #[test]
    fn no_file_is_opened_and_the_allocator_lives_with_that() {
        if is_confined() {
            let refused = std::fs::File::open("/etc/hostname").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
            let blocks: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 16 * 1024]).collect();
            drop(blocks);
        } else {
            assert!(confined("no_file_is_opened_and_the_allocator_lives_with_that").status.success());
        }
    }

    #[test]
    fn memory_never_becomes_code() {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        if is_confined() {
            // SAFETY: a new mapping at an address of the kernel's choice, which nobody uses.
            let _ = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::EXEC, MapFlags::PRIVATE) };
        } else {
            assert_ended(&confined("memory_never_becomes_code"), libc::SYS_mmap);
        }
    }

    #[test]
    fn privileges_are_gone() {
        let left = std::thread::spawn(|| {
            drop_privileges().unwrap();
            rustix::thread::capabilities(None).unwrap()
        });
        let left = left.join().unwrap();
        assert!(left.effective.is_empty() && left.permitted.is_empty() && left.inheritable.is_empty());
    }
}
