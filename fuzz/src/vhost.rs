//! Messages of vhost-user: what is asked is answered, or the connection ends; rings that were set up run meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::input::Input;
use crate::process::{Function, Peer, descriptor, neighbour_is_well};
use crate::vfio::numbers;

const GET_FEATURES: u32 = 1;
const REQUESTS: [u32; 40] = [
    1, 2, 2, 3, 5, 5, 8, 8, 9, 9, 10, 11, 12, 12, 13, 14, 15, 16, 17, 18, 18, 20, 21, 24, 25, 31, 32, 34, 36, 37, 37,
    38, 39, 40, 6, 7, 4, 19, 42, 43,
];
const REPLY_ACK: u64 = 1 << 3;
const USER: u64 = 0x7000_0000;
const PAGE: u64 = 0x1000;
const MOST: usize = 96;

pub fn vhost(data: &[u8]) {
    let mut input = Input::new(data);
    let mut peer = Peer::connect(Function::VhostUser);
    if input.byte() > 8 {
        prepare(&mut peer, &mut input);
    }
    for _ in 0..MOST {
        if input.ended() || peer.gone {
            break;
        }
        step(&mut peer, &mut input);
    }
    if !peer.gone {
        peer.drain();
        peer.send(&message(GET_FEATURES, 1, 0, &[]), &[]);
    }
    drop(peer);
    neighbour_is_well();
}

/// What every front end says first, so that the rest is reached.
fn prepare(peer: &mut Peer, input: &mut Input<'_>) {
    let features = input.of(&[1u64 << 32 | 1 << 30 | 1 << 15, 1 << 32 | 1 << 30 | 1 << 34, 1 << 30, 1 << 32]);
    let protocol = input.of(&[REPLY_ACK | 0b1_1010_0010_0010_0001, 0, 0x1_bfff, 0b1_1010_0010_0010_0001]);
    peer.send(&message(GET_FEATURES, 1, 0, &[]), &[]);
    let head = peer.receive(12).expect("features are told");
    let offered = u64::from_le_bytes(peer.receive(8).expect("features are told").try_into().unwrap());
    assert_eq!((head[0], head[4] & 7), (1, 5));
    peer.send(&message(15, 1, 0, &[]), &[]);
    peer.receive(12).expect("protocol features are told");
    let able = u64::from_le_bytes(peer.receive(8).expect("protocol features are told").try_into().unwrap());
    peer.send(&message(16, 1, 8, &(protocol & able).to_le_bytes()), &[]);
    peer.send(&message(2, 1, 8, &(features & offered).to_le_bytes()), &[]);
}

fn step(peer: &mut Peer, input: &mut Input<'_>) {
    let request = input.of(&REQUESTS);
    let (body, usual) = body(request, input);
    let count = if input.below(12) == 0 { input.below(10) } else { usual };
    let kind = if (12..=14).contains(&request) { 4 } else { 0 };
    let fds: Vec<OwnedFd> =
        (0..count).map(|_| if input.below(10) == 0 { descriptor(input.byte()) } else { descriptor(kind) }).collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
    let flags = input.of(&[1u32, 9, 9, 1, 1, 9, 9, 1, 1, 9, 1, 5, 0, 0xffff]);
    match input.below(30) {
        0 => peer.send(&message(request, flags, input.of(&[0, 4096, 4097, u32::MAX, 7]), &body), &fds),
        1 => peer.send(input.bytes(24), &fds),
        _ => peer.send(&message(request, flags, body.len() as u32, &body), &fds),
    }
    peer.drain();
}

fn message(request: u32, flags: u32, size: u32, body: &[u8]) -> Vec<u8> {
    [&request.to_le_bytes()[..], &flags.to_le_bytes(), &size.to_le_bytes(), body].concat()
}

/// A body that is nearly right, and how many descriptors go with it.
fn body(request: u32, input: &mut Input<'_>) -> (Vec<u8>, usize) {
    let index = input.of(&[0u64, 1, 2, 3, 0, 1, 4, 0xff, 0xffff_ffff]);
    let (mut body, fds) = match request {
        1 | 3 | 4 | 15 | 17 | 34 | 36 | 40 | 43 => (Vec::new(), 0),
        2 | 16 | 19 | 20 | 39 => (numbers(&[(8, input.of(&[0, 1 << 32, 1 << 30, 1 << 26, 15, 7, 1500, u64::MAX]))]), 0),
        5 => table(input),
        8 | 10 | 11 | 18 => {
            (numbers(&[(4, index), (4, input.of(&[0, 1, 256, 64, 8, 1024, 3, 0x8000_8000, 0xffff_ffff]))]), 0)
        }
        9 => {
            let places = [place(input), place(input), place(input)];
            (
                numbers(&[
                    (4, index),
                    (4, u64::from(input.byte() & 1)),
                    (8, places[0]),
                    (8, places[1]),
                    (8, places[2]),
                    (8, 0),
                ]),
                0,
            )
        }
        12..=14 => {
            let none = u64::from(input.below(4) == 0);
            (numbers(&[(8, index & 0xff | none << 8)]), 1 - none as usize)
        }
        21 | 7 => (Vec::new(), 1),
        24 | 25 => {
            let (offset, size) =
                (input.of(&[0u64, 6, 250, 256, 0xffff_ffff]), input.of(&[6u64, 20, 256, 0, 300, 0xffff_ffff]));
            ([numbers(&[(4, offset), (4, size), (4, 0)]), vec![0; size.min(300) as usize]].concat(), 0)
        }
        31 | 32 => {
            let size = input.of(&[0x1000u64, 0x2_0000, 0, 1 << 40, 64]);
            let (queues, descriptors) = (input.of(&[4u64, 1, 0, 0xffff]), input.of(&[256u64, 0, 1, 0xffff]));
            (
                numbers(&[(8, size), (8, input.of(&[0, 16, PAGE])), (2, queues), (2, descriptors), (4, 0)]),
                (request - 31) as usize,
            )
        }
        37 | 38 => ([vec![0; 8], region(input)].concat(), (38 - request) as usize),
        6 => (numbers(&[(8, input.of(&[0x1000, 8, 0, 1 << 50])), (8, input.of(&[0, 1, PAGE]))]), 1),
        42 => (numbers(&[(4, u64::from(input.byte() & 3)), (4, u64::from(input.byte() & 1))]), 1),
        _ => (input.bytes(16).to_vec(), 0),
    };
    if input.below(10) == 0 && !body.is_empty() {
        let at = input.below(body.len());
        body[at] = input.byte();
    }
    if input.below(20) == 0 {
        body.truncate(input.below(body.len().max(1)));
    }
    (body, fds)
}

fn table(input: &mut Input<'_>) -> (Vec<u8>, usize) {
    let count = 1 + input.below(3);
    let regions: Vec<u8> = (0..count).flat_map(|_| region(input)).collect();
    ([numbers(&[(4, count as u64), (4, 0)]), regions].concat(), count)
}

fn region(input: &mut Input<'_>) -> Vec<u8> {
    let slot = u64::from(input.byte() & 3) * 0x4_0000;
    let (size, offset) = (input.of(&[0x4_0000u64, 0x4_0000, PAGE, 0, 1 << 40]), input.of(&[0u64, 0, 0, PAGE, 1]));
    let shift = input.of(&[0u64, 0, 0, 1, u64::MAX - 0xffff]);
    numbers(&[(8, slot.wrapping_add(shift)), (8, size), (8, USER + slot), (8, offset)])
}

fn place(input: &mut Input<'_>) -> u64 {
    let page = u64::from(input.byte() & 63) * PAGE;
    USER + page + input.of(&[0, 0, 0, 0, 2, 16, 0x10_0000, 1 << 40])
}
