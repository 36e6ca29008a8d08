//! Bytes and file descriptors over a unix socket. Descriptors that nobody takes are closed when dropped.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Descriptors that one message may carry.
pub const MAX_FDS: usize = 16;

/// What one call of recvmsg brought.
pub struct Received {
    pub bytes: usize,
    pub fds: Vec<OwnedFd>,
    /// More descriptors were sent than are taken; the surplus is closed.
    pub fds_lost: bool,
    /// The packet was longer than the buffer.
    pub cut: bool,
}

/// Receives without waiting: at most `buffer.len()` bytes, and the descriptors that came with them.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut fds: Vec<OwnedFd> = control.drain().flat_map(rights).collect();
    let fds_lost = message.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS;
    fds.truncate(MAX_FDS);
    Ok(Received { bytes: message.bytes, fds, fds_lost, cut: message.flags.contains(ReturnFlags::TRUNC) })
}

fn rights(message: RecvAncillaryMessage<'_>) -> Vec<OwnedFd> {
    match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    }
}

/// Sends without waiting and without SIGPIPE; returns how many bytes were taken.
pub fn send(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Process id of whoever connected; 0 when it is in a PID namespace that this process cannot see. (rustix has a type of
/// its own for process ids, which cannot hold that 0.)
pub fn peer_pid(socket: impl AsFd) -> i32 {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let (socket, peer_at) = (socket.as_fd().as_raw_fd(), (&raw mut peer).cast());
    // SAFETY: the kernel writes at most `size` bytes, which is what `peer` has.
    let status = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, peer_at, &raw mut size) };
    if status == 0 { peer.pid } else { 0 }
}

pub fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
