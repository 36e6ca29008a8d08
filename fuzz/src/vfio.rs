//! Messages of vfio-user: each that wants an answer has exactly one, or the connection ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::input::Input;
use crate::process::{Function, Peer, descriptor, neighbour_is_well};

const VERSION: u16 = 1;
const COMMANDS: [u16; 24] = [1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 9, 10, 10, 13, 15, 16, 16, 16, 17, 18, 99];
const REPLY: u8 = 1;
const MOST: usize = 64;

pub fn vfio(data: &[u8]) {
    let mut input = Input::new(data);
    let mut peer = Peer::connect(Function::VfioUser);
    if input.byte() > 8 {
        exchange(&mut peer, VERSION, &[0, 0, 1, 0], &[]);
    }
    let mut in_step = true;
    for _ in 0..MOST {
        if input.ended() || peer.gone {
            break;
        }
        in_step = step(&mut peer, &mut input, in_step);
    }
    drop(peer);
    neighbour_is_well();
}

/// One message. Whether both ends still agree where the next one begins: if not, what follows may be anything.
fn step(peer: &mut Peer, input: &mut Input<'_>, in_step: bool) -> bool {
    let command = input.of(&COMMANDS);
    let body = body(command, input);
    let fds: Vec<OwnedFd> = (0..input.of(&[0, 1, 1, 0, 2, 3])).map(|_| descriptor(input.byte())).collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
    let whole = 16 + body.len() as u32;
    let size = input.of(&[whole, whole, whole, whole, whole, whole, 0, 15, 17, u32::MAX, 70_000]);
    let flags = input.of(&[0, 0, 0, 0, 0, 0, 0, 0x10, 1, 2, 0xff]);
    match input.below(24) {
        0 => {
            peer.send(input.bytes(40), &fds);
            return false;
        }
        _ if in_step && size == whole && flags == 0 => {
            exchange(peer, command, &body, &fds);
            return true;
        }
        _ => peer.send(&message(command, flags, size, &body), &fds),
    }
    peer.drain();
    in_step && size == whole && flags == 0x10
}

fn message(command: u16, flags: u8, size: u32, body: &[u8]) -> Vec<u8> {
    let id = [0x34, 0x12];
    [&id[..], &command.to_le_bytes(), &size.to_le_bytes(), &[flags, 0, 0, 0, 0, 0, 0, 0], body].concat()
}

fn exchange(peer: &mut Peer, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) {
    peer.send(&message(command, 0, 16 + body.len() as u32, body), fds);
    let Some(head) = peer.receive(16) else { return };
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    assert_eq!(
        (head[2..4].to_vec(), head[8] & 0xf),
        (command.to_le_bytes().to_vec(), REPLY),
        "it is the reply to this"
    );
    assert!(word(4) >= 16 && word(4) < 1 << 22);
    if head[8] & 0x20 != 0 {
        assert!(word(4) == 16 && word(12) != 0, "a refusal has an error and no body");
    }
    peer.receive(word(4) as usize - 16);
}

/// A body that is nearly right.
fn body(command: u16, input: &mut Input<'_>) -> Vec<u8> {
    let mut body = match command {
        1 => [&[0, 0, 1, 0][..], input.of(&[&b""[..], b"{}\0", b"{\"capabilities\":{\"max_msg_fds\":1}}\0", b"{[\0"])]
            .concat(),
        2 => numbers(&[(4, 32), (4, flags(input)), (8, offset(input)), (8, address(input)), (8, length(input))]),
        3 => numbers(&[(4, 24), (4, u64::from(input.byte() & 3)), (8, address(input)), (8, length(input))]),
        5..=7 => numbers(&[(4, 32), (4, 0), (4, u64::from(input.byte() % 10)), (4, 0), (8, 0), (8, 0)]),
        4 => numbers(&[(4, 16), (4, 0), (4, 0), (4, 0)]),
        8 => {
            let set = input.of(&[0x24u64, 0x21, 0x22, 0x0a, 0x12, 0x14, 0x11, 0x09, 0x3f]);
            let (index, start) = (u64::from(input.byte() % 6), u64::from(input.byte() % 6));
            let count = input.of(&[0u64, 1, 2, 3, 5, 0xffff_ffff]);
            numbers(&[(4, 20), (4, set), (4, index), (4, start), (4, count), (1, 1), (1, 0)])
        }
        9 | 10 | 15 => {
            let (region, count) = (input.of(&[0u64, 2, 7, 7, 3, 9]), input.of(&[1u64, 2, 4, 8, 0, 64, 65536, 70_000]));
            let place = u64::from(input.of(&[0u16, 16, 19, 0x3000, 0x3004, 0x1000, 0x2800, 4092, 63]))
                + u64::from(input.byte() & 3);
            let body = numbers(&[(8, place), (4, region), (4, count)]);
            if command == 9 { body } else { [body, vec![1; count.min(64) as usize]].concat() }
        }
        16 => feature(input),
        17 | 18 => {
            let size = input.of(&[0u64, 1, 8, 64, 65536, 65537, 0xffff_ffff]);
            let body = numbers(&[(4, size + u64::from(input.byte() % 16)), (4, size)]);
            if command == 17 { body } else { [body, vec![1; size.min(65536) as usize]].concat() }
        }
        _ => input.bytes(32).to_vec(),
    };
    if input.below(8) == 0 && !body.is_empty() {
        let at = input.below(body.len());
        body[at] = input.byte();
    }
    if input.below(16) == 0 {
        body.truncate(input.below(body.len().max(1)));
    }
    body
}

/// DEVICE_FEATURE: the states of a migration, and the log of what is written.
fn feature(input: &mut Input<'_>) -> Vec<u8> {
    let number = u64::from(input.of(&[1u8, 2, 2, 6, 6, 7, 8, 8, 8, 9, 3]));
    let wanted = input.of(&[1u64, 2, 2, 1, 4, 5, 6, 3, 0, 8]) << 16;
    let room = input.of(&[0x40_0000u64, 64, 16, 8, 0, 0xffff_ffff]);
    let page = input.of(&[4096u64, 4096, 8192, 1 << 20, 1, 3, 0]);
    let data = match number {
        2 => vec![(4, u64::from(input.byte() % 9)), (4, 0)],
        6 => vec![(8, page), (4, u64::from(input.byte() % 3)), (4, 0), (8, address(input)), (8, length(input))],
        8 => vec![(8, address(input)), (8, length(input)), (8, page)],
        _ => vec![],
    };
    numbers(&[&[(4, room), (4, number | wanted)][..], &data].concat())
}

fn flags(input: &mut Input<'_>) -> u64 {
    input.of(&[3, 3, 1, 2, 0, 8, 0xffff])
}

fn offset(input: &mut Input<'_>) -> u64 {
    input.of(&[0, 0, 0x1000, 0x1_0000, 1, u64::MAX - 0xfff])
}

fn address(input: &mut Input<'_>) -> u64 {
    u64::from(input.byte() & 15) * 0x1000 + input.of(&[0, 0, 0x1_0000_0000, 1, u64::MAX - 0xffff])
}

fn length(input: &mut Input<'_>) -> u64 {
    input.of(&[0x1000, 0x2000, 0x4_0000, 0, 0x800, 1 << 40, u64::MAX - 0xfff])
}

/// Numbers of so many bytes each.
pub fn numbers(fields: &[(usize, u64)]) -> Vec<u8> {
    fields.iter().flat_map(|(bytes, value)| value.to_le_bytes()[..*bytes].to_vec()).collect()
}
