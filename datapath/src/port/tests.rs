//! Real taps, in a network namespace of the test's own; that takes CAP_SYS_ADMIN (`unshare -rn cargo test` gives it).

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{LONGEST, Outcome, Tap};
use crate::memory::{Sink, Source};
use crate::offload::{Header, Offloads};
use crate::ring::Payload;
use crate::switch::Loss;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const NAME: &CStr = c"probe0";

fn read(len: usize, placed: usize) -> Outcome {
    Outcome::Frame { header: Header::default(), len, placed }
}

/// A tap that is up, and a packet socket at its end in the kernel.
struct Link {
    tap: Tap,
    packets: OwnedFd,
    index: i32,
}

fn interface(flags: i32) -> libc::ifreq {
    // SAFETY: an ifreq of zeros is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as i16;
    request
}

/// Runs a test in a network namespace of its own.
fn with_link(test: impl FnOnce(Link) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: moves this thread alone to a new namespace, before it has opened anything.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "a network namespace takes privilege: run in `unshare -rn`");
        test(link());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn link() -> Link {
    let fd: OwnedFd = File::options().read(true).write(true).open("/dev/net/tun").unwrap().into();
    let mut request = interface(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR);
    // SAFETY: the requests take an ifreq and an int, and both live through the call.
    unsafe {
        assert_eq!(libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &mut request), 0);
        assert_eq!(libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &12), 0);
    }
    rustix::io::ioctl_fionbio(&fd, true).unwrap();
    set_up(true);
    let (packets, index) = packet_socket();
    let mut tap = Tap::new(fd);
    drain(&mut tap, &packets);
    Link { tap, packets, index }
}

fn set_up(up: bool) {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    let mut request = interface(if up { libc::IFF_UP | libc::IFF_NOARP } else { 0 });
    // SAFETY: the request takes an ifreq, which lives through the call.
    assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request) }, 0);
}

fn packet_socket() -> (OwnedFd, i32) {
    // SAFETY: plain system calls; the address is as long as it says.
    unsafe {
        let index = libc::if_nametoindex(NAME.as_ptr()) as i32;
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol.into());
        assert!(fd >= 0);
        let fd = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        (address.sll_family, address.sll_protocol, address.sll_ifindex) = (libc::AF_PACKET as u16, protocol, index);
        let len = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len), 0);
        (fd, index)
    }
}

/// What the kernel itself sends when an interface comes up is not part of the test.
fn drain(tap: &mut Tap, packets: &OwnedFd) {
    std::thread::sleep(std::time::Duration::from_millis(20));
    while tap.receive(std::iter::empty(), &mut vec![0; LONGEST]) != Outcome::Empty {}
    while rustix::io::read(packets, &mut [0; 2000]).is_ok() {}
}

fn frame(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    bytes
}

fn send(tap: &mut Tap, bytes: &[u8], cuts: usize) -> Result<(), Option<Loss>> {
    let pieces: Vec<Source> = bytes.chunks(cuts).map(Source::from).collect();
    tap.send(&Payload::new(&pieces, bytes.len(), 0), &Header::default())
}

#[test]
fn a_frame_sent_arrives_as_it_was() {
    with_link(|mut link| {
        for cuts in [2000, 7, 1] {
            send(&mut link.tap, &frame(1500), cuts).unwrap();
            let mut bytes = vec![0; 2000];
            let n = rustix::io::read(&link.packets, &mut bytes).unwrap();
            assert_eq!(bytes[..n], frame(1500), "in pieces of {cuts}");
        }
    });
}

#[test]
fn a_frame_received_fills_the_places_and_then_the_rest() {
    with_link(|link| {
        rustix::io::write(&link.packets, &frame(1000)).unwrap();
        rustix::io::write(&link.packets, &frame(60)).unwrap();
        let (mut a, mut b, mut rest) = ([0; 100], [0; 300], vec![0; LONGEST]);
        let places = [Sink::from(&mut a[..]), Sink::from(&mut b[..])];
        assert_eq!(link.tap.receive(places.into_iter(), &mut rest), read(1000, 400));
        assert_eq!([&a[..], &b[..], &rest[..600]].concat(), frame(1000));
        assert_eq!(link.tap.receive(places_of(&mut a), &mut rest), read(60, 60));
        assert_eq!(link.tap.receive(places_of(&mut a), &mut rest), Outcome::Empty);
    });
}

fn places_of(bytes: &mut [u8]) -> impl Iterator<Item = Sink<'_>> {
    std::iter::once(Sink::from(bytes))
}

#[test]
fn an_interface_that_is_down_loses_frames_and_comes_back() {
    with_link(|mut link| {
        set_up(false);
        assert_eq!(send(&mut link.tap, &frame(60), 60), Err(Some(Loss::RepresentorDown)));
        assert_eq!(link.tap.receive(std::iter::empty(), &mut [0; 2000]), Outcome::Empty);
        set_up(true);
        assert_eq!(send(&mut link.tap, &frame(60), 60), Ok(()));
    });
}

#[test]
fn an_interface_that_was_deleted_is_gone_for_good_and_quiet() {
    with_link(|mut link| {
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::empty()).unwrap();
        let flags = rustix::event::epoll::EventFlags::IN | rustix::event::epoll::EventFlags::ET;
        let data = rustix::event::epoll::EventData::new_u64(0);
        rustix::event::epoll::add(&epoll, link.tap.as_fd(), data, flags).unwrap();
        delete(link.index);
        assert_eq!(link.tap.receive(std::iter::empty(), &mut [0; 2000]), Outcome::Gone);
        assert_eq!(send(&mut link.tap, &frame(60), 60), Err(Some(Loss::RepresentorDown)));
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 4];
        let _ = rustix::event::epoll::wait(&epoll, &mut events, Some(&now)).unwrap();
        assert!(rustix::event::epoll::wait(&epoll, &mut events, Some(&now)).unwrap().0.is_empty(), "no second event");
    });
}

/// RTM_DELLINK of an interface by its index.
fn delete(index: i32) {
    let mut message = Vec::from(32u32.to_ne_bytes());
    message.extend([libc::RTM_DELLINK, libc::NLM_F_REQUEST as u16].map(u16::to_ne_bytes).concat());
    message.extend([1u32, 0, 0, index as u32, 0, 0].map(u32::to_ne_bytes).concat());
    message.truncate(32);
    // SAFETY: plain system calls on a buffer of that length; a message without an address goes to the kernel.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
        assert!(fd >= 0);
        let fd = OwnedFd::from_raw_fd(fd);
        assert_eq!(libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0), 32);
    }
}

/// A UDP datagram over IPv4, of `payload` bytes, with the checksum left undone; its header, to be cut each `size` bytes.
fn datagrams(payload: usize, size: u16) -> (Vec<u8>, Header) {
    let mut bytes = frame(14);
    bytes[12..].copy_from_slice(&[8, 0]);
    bytes.extend([0x45, 0]);
    bytes.extend(((28 + payload) as u16).to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 9, 0, 9]);
    bytes.extend(((8 + payload) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((0..payload).map(|n| (n / 7) as u8));
    let [low, high] = size.to_le_bytes();
    let asked = Header::new([1, 5, 42, 0, low, high, 34, 0, 6, 0]);
    let header = asked.transmitted(Offloads(1 | 1 << 56), &Payload::new(&[Source::from(&bytes[..])], bytes.len(), 0));
    (bytes, header.expect("as it should be"))
}

#[test]
fn datagrams_go_whole_to_a_kernel_that_cuts_them_and_one_by_one_to_another() {
    with_link(|mut link| {
        let (bytes, header) = datagrams(5000, 1400);
        for (kernel_cuts, lens) in [(true, vec![42 + 5000]), (false, vec![1442, 1442, 1442, 42 + 800])] {
            if kernel_cuts && !link.tap.datagrams {
                continue; // before Linux 6.2
            }
            link.tap.datagrams = kernel_cuts;
            link.tap.send(&Payload::new(&[Source::from(&bytes[..])], bytes.len(), 0), &header).unwrap();
            let mut seen = vec![0; 70_000];
            let mut data = Vec::<u8>::new();
            for len in lens {
                assert_eq!(rustix::io::read(&link.packets, &mut seen[..]), Ok(len));
                data.extend(&seen[42..len]);
            }
            assert_eq!(data, bytes[42..]);
        }
    });
}

#[test]
fn what_the_kernel_may_leave_undone_is_set_whether_it_cuts_datagrams_or_not() {
    with_link(|mut link| {
        let all = Offloads(0x3fff | 7 << 54).tun();
        assert!(link.tap.set_offloads(all).is_ok());
        link.tap.datagrams = false;
        assert!(link.tap.set_offloads(all).is_ok());
    });
}
