//! The front end of the `vhost` crate at the other end of a function's socket: both sides mean the same by every message.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight,
};
use ::vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures as Protocol};
use ::vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::control::messages::BackEnd;

const RINGS: u64 = 4;
const MEMORY: u64 = 1 << 20;
const USER: u64 = 0x7000_0000;
const OWN: u64 = 1 << 26 | 1 << 30;

/// Serves a function with two pairs of rings to the other end of a socket, until it is dropped.
struct Served {
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn new() -> (Self, Frontend) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let thread = std::thread::spawn(move || {
            let (mut pump, _) = pump();
            let counters = pump.counters.function(0);
            let made = Made { id: 0, state: Vec::new(), effects: vec![], representor: None, counters, records: None };
            let function = crate::vhost::Function::create(made, back_end(), None, &mut pump.world).unwrap();
            pump.functions.insert(0, Box::new(function));
            pump.guarded(0, |function, world| function.connect(ours.into(), world).unwrap());
            while !until.load(Ordering::Relaxed) {
                for (token, flags) in pump.world.poller.wait(Some(Duration::from_millis(20))).unwrap() {
                    pump.dispatch(token, flags);
                }
            }
        });
        (Self { ended, thread: Some(thread) }, Frontend::from_stream(theirs, RINGS))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn back_end() -> BackEnd {
    let config = [&[2, 0, 0, 0, 0, 1][..], &[0; 18]].concat().into();
    let (features, protocol_features) = (1 << 32 | 1 << 34, u64::MAX);
    BackEnd { features, protocol_features, config, queues: RINGS, queue_size: 256, client: true }
}

/// As far as memory.
fn negotiated(front: &mut Frontend) -> OwnedFd {
    front.set_owner().unwrap();
    assert_eq!(front.get_features().unwrap(), 1 << 32 | 1 << 34 | OWN);
    let offered = front.get_protocol_features().unwrap();
    assert!(offered.contains(Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIG | Protocol::INFLIGHT_SHMFD));
    assert!(!offered.intersects(Protocol::PAGEFAULT | Protocol::CRYPTO_SESSION | Protocol::XEN_MMAP));
    front.set_protocol_features(offered).unwrap();
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    assert_eq!(front.get_queue_num().unwrap(), RINGS / 2);
    front.set_features(1 << 32 | 1 << 30).unwrap();
    let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, MEMORY).unwrap();
    let region = VhostUserMemoryRegionInfo {
        guest_phys_addr: 0,
        memory_size: MEMORY,
        userspace_addr: USER,
        mmap_offset: 0,
        mmap_handle: fd.as_raw_fd(),
    };
    front.set_mem_table(&[region]).unwrap();
    fd
}

#[test]
fn a_ring_is_set_up_started_and_stopped_by_the_crates_front_end() {
    let (_served, mut front) = Served::new();
    let memory = negotiated(&mut front);
    rustix::io::pwrite(&memory, &7u16.to_le_bytes(), 0x2002).unwrap(); // the driver's index, where the ring begins
    let event = EventFd::new(0).unwrap();
    front.set_vring_num(1, 256).unwrap();
    front.set_vring_base(1, 7).unwrap();
    let areas = VringConfigData {
        queue_max_size: 256,
        queue_size: 256,
        flags: 0,
        desc_table_addr: USER + 0x1000,
        used_ring_addr: USER + 0x3000,
        avail_ring_addr: USER + 0x2000,
        log_addr: None,
    };
    front.set_vring_addr(1, &areas).unwrap();
    front.set_vring_call(1, &event).unwrap();
    front.set_vring_err(1, &event).unwrap();
    front.set_vring_kick(1, &event).unwrap();
    front.set_vring_enable(1, true).unwrap();
    assert_eq!(front.get_vring_base(1).unwrap(), 7);
}

#[test]
fn configuration_and_slots_are_told_to_the_crates_front_end() {
    let (_served, mut front) = Served::new();
    negotiated(&mut front);
    let (_, config) = front.get_config(0, 6, VhostUserConfigFlags::WRITABLE, &[0; 6]).unwrap();
    assert_eq!(config, [2, 0, 0, 0, 0, 1]);
    front.set_config(0, VhostUserConfigFlags::WRITABLE, &[2, 0, 0, 0, 0, 9]).unwrap();
    let (_, config) = front.get_config(4, 2, VhostUserConfigFlags::WRITABLE, &[0; 2]).unwrap();
    assert_eq!(config, [0, 9]);
    assert_eq!(front.get_max_mem_slots().unwrap(), 509);
    front.reset_device().unwrap();
}

#[test]
fn a_record_comes_and_goes_with_the_crates_front_end() {
    let (_served, mut front) = Served::new();
    negotiated(&mut front);
    let (record, file) = front.get_inflight_fd(&VhostUserInflight::new(0, 0, 4, 256)).unwrap();
    assert_eq!((record.mmap_size % 64, record.num_queues, record.queue_size), (0, 4, 256));
    front.set_inflight_fd(&record, file.as_raw_fd()).unwrap();
    front.check_device_state().unwrap();
}

#[test]
fn a_pipe_made_to_block_does_not_hold_the_pump() {
    let (_served, mut front) = Served::new();
    negotiated(&mut front);
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let theirs = reader.try_clone().unwrap();
    let (load, stopped) = (VhostTransferStateDirection::LOAD, VhostTransferStatePhase::STOPPED);
    front.set_device_state_fd(load, stopped, reader).unwrap();
    rustix::io::ioctl_fionbio(&theirs, false).unwrap();
    assert!(front.check_device_state().is_err());
    front.get_features().unwrap();
}
