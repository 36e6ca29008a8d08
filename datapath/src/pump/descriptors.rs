//! What kinds of file descriptors a VMM may hand over. Any other is closed as soon as it comes: a socket, for one, could
//! be the VMM's own end of the connection, and while it is held here nobody would hear that the VMM has gone.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

/// Files, which may be guest memory, and eventfds. Neither keeps any other descriptor alive.
pub fn may_be_held(fd: &OwnedFd) -> bool {
    let is_file = |status: rustix::fs::Stat| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    rustix::fs::fstat(fd).is_ok_and(is_file) || is_eventfd(fd)
}

/// Makes sure that writing it never waits.
pub fn prepare_eventfd(fd: &OwnedFd) -> Result<(), Errno> {
    if !is_eventfd(fd) {
        return Err(Errno::INVAL);
    }
    let flags = rustix::fs::fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) { Ok(()) } else { rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK) }
}

fn is_eventfd(fd: &OwnedFd) -> bool {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()), Vec::new());
    link.is_ok_and(|link| link.to_bytes() == b"anon_inode:[eventfd]")
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn only_memory_and_eventfds_are_held() {
        assert!(may_be_held(&memfd_create("guest", MemfdFlags::CLOEXEC).unwrap()));
        assert!(may_be_held(&eventfd(0, EventfdFlags::empty()).unwrap()));
        let socket = std::os::unix::net::UnixStream::pair().unwrap().0;
        let folder = std::fs::File::open("/proc").unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        for fd in [socket.into(), folder.into(), epoll, rustix::pipe::pipe().unwrap().1] {
            assert!(!may_be_held(&fd), "{fd:?}");
        }
    }

    #[test]
    fn an_eventfd_is_made_non_blocking() {
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        prepare_eventfd(&fd).unwrap();
        assert!(rustix::fs::fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
    }
}
