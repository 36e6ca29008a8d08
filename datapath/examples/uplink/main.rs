//! What a frame costs on an uplink of either kind, in cycles of one thread: the kernel's work for it on both ends of a veth
//! pair included. `python -m tools.bench.uplink` makes the pair and the descriptors, and runs this:
//! `uplink FAR PACKETS [MEMORY PROGRAM PROMISCUOUS SOCKET...]`, all of them descriptors that it inherits; FAR is a packet
//! socket with virtio-net headers at the other end.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use softdpu_datapath::memory::{Source, send_burst};
use softdpu_datapath::offload::Header;
use softdpu_datapath::port::{Layout, Packets, Wire, Xdp};
use softdpu_datapath::ring::Payload;

const LAYOUT: Layout = Layout { count: 2048, chunk: 2048, several: true, undone: true };
const BURST: usize = 32;
const WINDOWS: usize = 200;
/// Bytes of a segment, and of a frame of 44 of them.
const SEGMENT: u16 = 1448;
const WHOLE: usize = 54 + 44 * SEGMENT as usize;

fn main() -> io::Result<()> {
    let fds = std::env::args().skip(1).map(|number| number.parse().expect("a descriptor"));
    // SAFETY: whoever starts this hands them over.
    let mut fds: Vec<OwnedFd> = fds.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect();
    let (far, packets) = (fds.remove(0), fds.remove(0));
    let mut kinds = vec![("af_packet", Wire::Packets(Packets::new(packets)))];
    if fds.len() > 3 {
        let sockets = fds.split_off(3);
        let memory = fds.remove(0);
        kinds = vec![("af_xdp", Wire::Xdp(Xdp::new(LAYOUT, &memory, sockets, fds)?))];
    }
    for (kind, wire) in &kinds {
        for (name, frame, header) in [("64", small(), Header::default()), ("64 KB", segments(), cut())] {
            let out = best(|| out(wire, &frame, &header));
            let (with, without) = (best(|| into(wire, &far, &frame, &header)), best(|| sent(&far, &frame, &header)));
            println!("{kind} {name}: out {out:.0}, in {with:.0} of which sending is {without:.0}");
        }
    }
    Ok(())
}

/// Cycles a frame of the least disturbed windows: their lower quartile.
fn best(mut window: impl FnMut() -> f64) -> f64 {
    let mut cycles: Vec<f64> = (0..WINDOWS).map(|_| window()).collect();
    cycles.sort_by(f64::total_cmp);
    cycles[WINDOWS / 4]
}

fn out(wire: &Wire, frame: &[u8], header: &Header) -> f64 {
    let pieces = [Source::from(frame)];
    let payload = Payload::new(&pieces, frame.len(), 0);
    let burst = burst(frame);
    let begin = cycles();
    let frames = (0..burst).map(|place| (place, &payload, header));
    wire.send(frames, |_, outcome| assert!(outcome.is_ok(), "{outcome:?}"));
    (cycles() - begin) as f64 / burst as f64
}

fn into(wire: &Wire, far: &OwnedFd, frame: &[u8], header: &Header) -> f64 {
    let mut wire = wire.reader();
    while wire.receive().0 > 0 {
        wire.release();
    }
    let begin = cycles();
    let count = send(far, frame, header);
    let mut octets = 0;
    while octets < count * (frame.len() - 54) {
        let (came, _) = wire.receive();
        if came == 0 {
            std::hint::spin_loop();
        }
        let mut pieces = Vec::new();
        let arrivals = wire.arrivals(&mut pieces);
        let mut copy = vec![0; frame.len()];
        for came in arrivals.iter().flatten() {
            let n = Payload::new(&pieces[came.pieces.clone()], came.len, 0).read(&mut copy);
            octets += n - 54;
        }
        wire.release();
    }
    (cycles() - begin) as f64 / count as f64
}

fn sent(far: &OwnedFd, frame: &[u8], header: &Header) -> f64 {
    let begin = cycles();
    let count = send(far, frame, header);
    (cycles() - begin) as f64 / count as f64
}

fn send(far: &OwnedFd, frame: &[u8], header: &Header) -> usize {
    let header = header.bytes(0);
    let count = burst(frame);
    let pieces: Vec<Source<'_>> = (0..count).flat_map(|_| [Source::from(&header[..10]), Source::from(frame)]).collect();
    send_burst(far.as_fd(), &pieces, &vec![2; count]).expect("the far end sends")
}

fn burst(frame: &[u8]) -> usize {
    if frame.len() > 2000 { 4 } else { BURST }
}

fn small() -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5][..], &[0; 50]].concat()
}

/// TCP over IPv4, to be cut; its checksum is that of the pseudo-header.
fn segments() -> Vec<u8> {
    let total = (WHOLE - 14) as u16;
    let mut frame = [&small()[..12], &[8, 0, 0x45, 0], &total.to_be_bytes(), &[0, 7, 0, 0, 64, 6, 0, 0]].concat();
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.resize(WHOLE, 7);
    let words = frame[26..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum::<u32>() + 6 + (WHOLE - 34) as u32;
    frame[50..52].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    frame
}

fn cut() -> Header {
    let frame = segments();
    let [low, high] = SEGMENT.to_le_bytes();
    let pieces = [Source::from(&frame[..])];
    let header = Header::new([1, 1, 54, 0, low, high, 34, 0, 16, 0]);
    header.represented(&Payload::new(&pieces, frame.len(), 0)).expect("the header fits the frame")
}

#[cfg(target_arch = "x86_64")]
fn cycles() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds, where cycles cannot be read.
#[cfg(not(target_arch = "x86_64"))]
fn cycles() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
