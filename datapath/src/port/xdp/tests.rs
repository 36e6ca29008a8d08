//! The test plays the kernel's side of the rings. Real sockets are tested with a whole DPU.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::Layout;
use super::receive::Receiver;
use super::ring::{Consumer, Piece, Producer};
use super::transmit::Sender;
use crate::memory::{ADDRESS, Chunks, DESCRIPTOR, Exchange, Protection, Region, Source, Table};
use crate::offload::Header;
use crate::ring::Payload;
use crate::switch::Loss;

const COUNT: u32 = 64;
const CHUNK: u64 = 2048;
const LAYOUT: Layout = Layout { count: COUNT, chunk: CHUNK, several: true, undone: false };

fn memfd(len: u64) -> OwnedFd {
    let fd = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, len).unwrap();
    fd
}

/// A ring, as each side sees it.
fn ring(size: usize) -> [Exchange; 2] {
    let len = 192 + COUNT as usize * size;
    let fd = memfd(len as u64);
    [(); 2].map(|()| {
        let region = Region::map(fd.as_fd(), 0, 0, len as u64, Protection { read: true, write: true }).unwrap();
        let area = Table::new(vec![region]).area(0, len, 8, true).unwrap();
        Exchange { area, producer: 0, consumer: 64, flags: 128, entries: 192 }
    })
}

struct Inbound {
    receiver: Receiver,
    memory: OwnedFd,
    came: Producer,
    fill: Consumer,
}

impl Inbound {
    fn new(layout: Layout) -> Inbound {
        let memory = memfd(2 * layout.half());
        let ([ours, theirs], [ours_fill, theirs_fill]) = (ring(DESCRIPTOR), ring(ADDRESS));
        let chunks = Arc::new(Chunks::map(memory.as_fd(), 0, 2 * layout.half() as usize).unwrap());
        let receiver = Receiver::new(chunks, layout, ours, ours_fill);
        Inbound { receiver, memory, came: Producer::new(theirs, COUNT), fill: Consumer::new(theirs_fill, COUNT) }
    }

    /// The kernel puts bytes into a free chunk, after the headroom that it keeps.
    fn comes(&mut self, bytes: &[u8], more: bool) {
        let address = self.fill.address(0) + 256;
        self.fill.advance(1);
        rustix::io::pwrite(&self.memory, bytes, address).unwrap();
        self.came.piece(Piece { address, len: bytes.len() as u32, more });
        self.came.publish();
    }

    fn burst(&mut self) -> Vec<Result<(Header, Vec<u8>), Loss>> {
        let count = self.receiver.receive(self.memory.as_fd());
        let mut pieces: Vec<Source<'_>> = Vec::new();
        let arrivals = self.receiver.arrivals(&mut pieces);
        assert_eq!(arrivals.len(), count);
        let frames = arrivals.into_iter().map(|came| {
            let came = came?;
            let mut bytes = vec![0; came.len];
            Payload::new(&pieces[came.pieces], came.len, 0).read(&mut bytes);
            Ok((came.header, bytes))
        });
        let frames = frames.collect();
        self.receiver.release(self.memory.as_fd());
        frames
    }
}

fn plain(frame: &[u8]) -> Result<(Header, Vec<u8>), Loss> {
    Ok((Header::default(), frame.to_vec()))
}

#[test]
fn frames_come_in_order_and_their_chunks_go_back() {
    let mut inbound = Inbound::new(LAYOUT);
    for round in 0..200 {
        inbound.comes(&[round; 60], false);
        inbound.comes(&[round; 61], false);
        assert_eq!(inbound.burst(), [plain(&[round; 60]), plain(&[round; 61])]);
        assert_eq!(inbound.fill.waiting(), COUNT);
    }
}

#[test]
fn a_frame_in_several_chunks_is_one_and_waits_for_its_end() {
    let mut inbound = Inbound::new(LAYOUT);
    inbound.comes(&[1; 1792], true);
    inbound.comes(&[2; 1792], true);
    assert_eq!(inbound.burst(), []);
    inbound.comes(&[3; 10], false);
    assert_eq!(inbound.burst(), [plain(&[vec![1; 1792], vec![2; 1792], vec![3; 10]].concat())]);
    assert_eq!(inbound.fill.waiting(), COUNT);
}

#[test]
fn a_frame_without_end_is_given_back_when_nothing_else_can_come() {
    let mut inbound = Inbound::new(LAYOUT);
    (0..COUNT).for_each(|_| inbound.comes(&[1; 60], true));
    assert_eq!(inbound.burst(), []);
    assert_eq!(inbound.fill.waiting(), COUNT);
    inbound.comes(&[2; 60], false);
    assert_eq!(inbound.burst(), [plain(&[2; 60])]);
}

#[test]
fn what_lies_nowhere_is_a_loss_and_is_not_read() {
    let mut inbound = Inbound::new(LAYOUT);
    let end = 2 * LAYOUT.half();
    for address in [end, end - 10, u64::MAX - 5] {
        inbound.came.piece(Piece { address, len: 60, more: false });
    }
    inbound.came.publish();
    assert_eq!(inbound.burst(), [const { Err(Loss::BadDescriptor) }; 3]);
}

#[test]
fn an_index_that_claims_more_than_the_ring_has_claims_nothing() {
    let [ours, theirs] = ring(DESCRIPTOR);
    let consumer = Consumer::new(ours, COUNT);
    theirs.area.u32(0).store(COUNT + 1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(consumer.waiting(), 0);
    let [ours, theirs] = ring(ADDRESS);
    let producer = Producer::new(ours, COUNT);
    theirs.area.u32(64).store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(producer.room(), 0);
}

#[test]
fn a_checksum_that_a_virtual_interface_left_undone_is_told() {
    let frame = tcp(100);
    for (undone, partial) in [(true, true), (false, false)] {
        let mut inbound = Inbound::new(Layout { undone, ..LAYOUT });
        inbound.comes(&frame, false);
        let came = inbound.burst().remove(0).unwrap();
        assert_eq!((came.0.partial(), &came.1), (partial, &frame));
    }
}

struct Outbound {
    sender: Sender,
    memory: OwnedFd,
    leaves: Consumer,
    done: Producer,
}

impl Outbound {
    fn new(layout: Layout) -> Outbound {
        let memory = memfd(2 * layout.half());
        let ([ours, theirs], [ours_done, theirs_done]) = (ring(DESCRIPTOR), ring(ADDRESS));
        let chunks = Arc::new(Chunks::map(memory.as_fd(), 0, 2 * layout.half() as usize).unwrap());
        let sender = Sender::new(chunks, layout, ours, ours_done);
        Outbound { sender, memory, leaves: Consumer::new(theirs, COUNT), done: Producer::new(theirs_done, COUNT) }
    }

    fn put(&mut self, frame: &[u8], header: [u8; 10]) -> Result<(), Option<Loss>> {
        let piece = [Source::from(frame)];
        let payload = Payload::new(&piece, frame.len(), 0);
        let header = Header::new(header);
        let header = if header.plain() { header } else { header.represented(&payload).unwrap() };
        self.sender.put(self.memory.as_fd(), &payload, &header)
    }

    /// The kernel sends all that it is shown.
    fn left(&mut self) -> Vec<Vec<u8>> {
        self.sender.flush(self.memory.as_fd());
        let (mut frames, mut frame) = (Vec::new(), Vec::new());
        for _ in 0..self.leaves.waiting() {
            let piece = self.leaves.piece(0);
            self.leaves.advance(1);
            let mut bytes = vec![0; piece.len as usize];
            rustix::io::pread(&self.memory, &mut bytes, piece.address).unwrap();
            assert!((LAYOUT.half()..2 * LAYOUT.half()).contains(&piece.address), "not of our half");
            frame.append(&mut bytes);
            if !piece.more {
                frames.push(std::mem::take(&mut frame));
            }
            self.done.address(piece.address);
        }
        self.done.publish();
        frames
    }
}

/// A TCP segment over IPv4 whose checksum is that of the pseudo-header.
fn tcp(payload: usize) -> Vec<u8> {
    let total = (40 + payload) as u16;
    let mut frame = [&[2u8; 12][..], &[8, 0, 0x45, 0], &total.to_be_bytes(), &[0, 7, 0, 0, 64, 6, 0, 0]].concat();
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    frame.extend((0..payload).map(|at| at as u8));
    let sum = words(&frame[26..34]) + 6 + u32::from(20 + payload as u16);
    frame[50..52].copy_from_slice(&folded(sum).to_be_bytes());
    frame
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[test]
fn what_a_driver_left_undone_is_done_before_it_leaves() {
    let mut outbound = Outbound::new(LAYOUT);
    let whole = tcp(2500);
    outbound.put(&whole, [1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0]).unwrap();
    outbound.put(&tcp(100), [1, 0, 0, 0, 0, 0, 34, 0, 16, 0]).unwrap();
    let frames = outbound.left();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [1054, 1054, 554, 154]);
    assert_eq!([&frames[0][54..], &frames[1][54..], &frames[2][54..]].concat(), whole[54..]);
    for frame in frames {
        let pseudo = words(&frame[26..34]) + 6 + (frame.len() - 34) as u32;
        assert_eq!(folded(pseudo + words(&frame[34..])), 0xffff);
    }
}

#[test]
fn a_long_frame_leaves_in_several_chunks_where_that_may_be() {
    let frame: Vec<u8> = (0..9018).map(|at| at as u8).collect();
    let mut outbound = Outbound::new(LAYOUT);
    outbound.put(&frame, [0; 10]).unwrap();
    assert_eq!(outbound.left(), [&frame[..]]);
    let mut outbound = Outbound::new(Layout { several: false, ..LAYOUT });
    assert_eq!(outbound.put(&frame, [0; 10]), Err(Some(Loss::TooLong)));
}

#[test]
fn a_kernel_that_takes_nothing_costs_frames_and_they_leave_in_order_when_it_does() {
    let mut outbound = Outbound::new(LAYOUT);
    for round in 0..10 {
        for number in 0..COUNT as u8 {
            assert_eq!(outbound.put(&[number; 60], [0; 10]), Ok(()), "{round}");
        }
        assert_eq!(outbound.put(&[99; 60], [0; 10]), Err(Some(Loss::UplinkBusy)));
        let frames: Vec<Vec<u8>> = (0..COUNT as u8).map(|number| vec![number; 60]).collect();
        assert_eq!(outbound.left(), frames);
    }
}
