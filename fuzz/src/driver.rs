//! A driver's end of a ring, written from the specification and from nothing else: a second opinion on the datapath's. It
//! keeps its own record, and panics when the device uses what it was not given, or twice.

use std::collections::VecDeque;
use std::ops::Range;

use softdpu_datapath::worker::orders::{QueueSetup, Role};

use crate::memory::Memory;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Where the parts of a ring lie from its start on: what is between them, nobody may write.
const DRIVER: u64 = 0x0c00;
const DEVICE: u64 = 0x1000;
const TABLES: u64 = 0x1800;
/// Longest indirect table.
const ENTRIES: usize = 8;
pub const MOST: u16 = 64;
pub const STRIDE: u64 = 0x4000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Split,
    Packed,
}

/// A piece of a chain: address, bytes, whether the device writes it.
pub type Piece = (u64, u32, bool);

/// What the device was given.
struct Held {
    name: u16,
    slots: Vec<u16>,
    pieces: Vec<Piece>,
}

pub struct Ring {
    pub layout: Layout,
    pub setup: QueueSetup,
    size: u16,
    /// Slot and turn (split: only their sum counts) of the next chain, and of the next used element.
    next: u32,
    seen: u32,
    free: VecDeque<u16>,
    room: u16,
    held: Vec<Held>,
}

/// What both ends agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    pub layout: Layout,
    pub size: u16,
    pub event_index: bool,
    pub in_order: bool,
    pub mergeable: bool,
}

impl Ring {
    /// Lays a ring out in `STRIDE` bytes from `start` on.
    pub fn new(agreed: Agreed, queue: u16, role: Role, start: u64, memory: &mut Memory) -> Ring {
        let packed = agreed.layout == Layout::Packed;
        let setup = QueueSetup {
            queue,
            role,
            size: agreed.size.into(),
            descriptor: start,
            driver: start + DRIVER,
            device: start + DEVICE,
            header: 12,
            mergeable: agreed.mergeable,
            event_index: agreed.event_index,
            indirect: true,
            packed,
            in_order: agreed.in_order,
            vector: queue,
            position: if packed { 1 << 15 } else { 0 },
            record: None,
            resume: false,
            answer: None,
        };
        let size = agreed.size;
        let free = (0..size).collect();
        let ring = Ring { layout: agreed.layout, setup, size, next: 0, seen: 0, free, room: size, held: Vec::new() };
        ring.written().into_iter().filter(|range| !range.is_empty()).for_each(|range| memory.allow(range));
        ring
    }

    /// What the device writes of the ring itself.
    fn written(&self) -> [Range<u64>; 2] {
        let (setup, size) = (&self.setup, u64::from(self.size));
        match self.layout {
            Layout::Split => [setup.device..setup.device + 6 + 8 * size, 0..0],
            Layout::Packed => [setup.descriptor..setup.descriptor + 16 * size, setup.device..setup.device + 4],
        }
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The slot of the next chain, and whether its turn is an even one.
    pub fn place(&self) -> (u16, bool) {
        let size = u32::from(self.size);
        ((self.next % size) as u16, self.next / size % 2 == 0)
    }

    /// Makes a chain available if there is room.
    pub fn offer(&mut self, pieces: &[Piece], indirect: bool, memory: &mut Memory) -> bool {
        let indirect = indirect && pieces.len() <= ENTRIES;
        let needed = if indirect { 1 } else { pieces.len() as u16 };
        if pieces.is_empty() || needed > self.room {
            return false;
        }
        for (address, len, _) in pieces.iter().filter(|(_, _, writes)| *writes) {
            memory.allow(*address..address + u64::from(*len));
        }
        self.room -= needed;
        let held = match self.layout {
            Layout::Split => self.offer_split(pieces, indirect, needed, memory),
            Layout::Packed => self.offer_packed(pieces, indirect, needed, memory),
        };
        self.held.push(held);
        true
    }

    fn offer_split(&mut self, pieces: &[Piece], indirect: bool, needed: u16, memory: &mut Memory) -> Held {
        let slots: Vec<u16> = self.free.drain(..usize::from(needed)).collect();
        let links: Vec<u16> = if indirect { (0..pieces.len() as u16).collect() } else { slots.clone() };
        let table = if indirect { self.table(slots[0]) } else { self.setup.descriptor };
        for (place, (&slot, &(address, len, writes))) in links.iter().zip(pieces).enumerate() {
            let (flags, next) = links.get(place + 1).map_or((0, 0), |&next| (NEXT, next));
            describe(table, slot, (address, len, flags | write(writes), next), memory);
        }
        if indirect {
            describe(self.setup.descriptor, slots[0], (table, 16 * pieces.len() as u32, INDIRECT, 0), memory);
        }
        self.publish(slots[0], memory);
        Held { name: slots[0], slots, pieces: pieces.to_vec() }
    }

    /// Makes a head available in a split ring, whatever it is.
    pub fn publish(&mut self, head: u16, memory: &mut Memory) {
        memory.write(self.setup.driver + 4 + 2 * u64::from(self.next % u32::from(self.size)), &head.to_le_bytes());
        self.next = self.next.wrapping_add(1) & 0xffff;
        memory.write(self.setup.driver + 2, &(self.next as u16).to_le_bytes());
    }

    fn offer_packed(&mut self, pieces: &[Piece], indirect: bool, needed: u16, memory: &mut Memory) -> Held {
        let name = self.free.pop_front().expect("as many names as slots");
        let entries: Vec<(u64, u32, u16)> = if indirect {
            for (slot, &(address, len, writes)) in pieces.iter().enumerate() {
                // id and flags are the other way round
                describe(self.table(name), slot as u16, (address, len, 0, write(writes)), memory);
            }
            vec![(self.table(name), 16 * pieces.len() as u32, INDIRECT)]
        } else {
            let last = pieces.len() - 1;
            let flags = |place| if place == last { 0 } else { NEXT };
            pieces.iter().enumerate().map(|(n, &(at, len, writes))| (at, len, flags(n) | write(writes))).collect()
        };
        let mut slots = Vec::new();
        let mut first = None;
        for (address, len, flags) in entries {
            let (slot, even) = self.place();
            let flags = flags | if even { AVAILABLE } else { USED };
            let id = if usize::from(needed) == slots.len() + 1 { name } else { 0xffff };
            if slots.is_empty() {
                first = Some((slot, flags));
                let there = memory.u16(self.setup.descriptor + 16 * u64::from(slot) + 14);
                describe(self.setup.descriptor, slot, (address, len, id, there), memory);
            } else {
                describe(self.setup.descriptor, slot, (address, len, id, flags), memory);
            }
            slots.push(slot);
            self.next = (self.next + 1) % (2 * u32::from(self.size));
        }
        let (slot, flags) = first.expect("a chain has a piece");
        memory.write(self.setup.descriptor + 16 * u64::from(slot) + 14, &flags.to_le_bytes());
        Held { name, slots, pieces: pieces.to_vec() }
    }

    fn table(&self, name: u16) -> u64 {
        self.setup.descriptor + TABLES + u64::from(name) * (16 * ENTRIES as u64)
    }

    /// The chains used since the last call, and how many bytes were written to each (None: passed over, in order).
    pub fn collect(&mut self, memory: &mut Memory) -> Vec<(Vec<Piece>, Option<u32>)> {
        let mut used = Vec::new();
        while let Some((name, len)) = self.used(memory) {
            used.extend(self.release(name, len, memory));
        }
        used
    }

    fn used(&self, memory: &Memory) -> Option<(u32, u32)> {
        let size = u32::from(self.size);
        let slot = u64::from(self.seen % size);
        match self.layout {
            Layout::Split => {
                let entry = self.setup.device + 4 + 8 * slot;
                (memory.u16(self.setup.device + 2) != self.seen as u16)
                    .then(|| (memory.u32(entry), memory.u32(entry + 4)))
            }
            Layout::Packed => {
                let (entry, even) = (self.setup.descriptor + 16 * slot, self.seen / size % 2 == 0);
                let flags = memory.u16(entry + 14);
                let len = if flags & WRITE != 0 { memory.u32(entry + 8) } else { 0 };
                let marks = if even { AVAILABLE | USED } else { 0 };
                (flags & (AVAILABLE | USED) == marks).then(|| (memory.u16(entry + 12).into(), len))
            }
        }
    }

    fn release(&mut self, name: u32, len: u32, memory: &mut Memory) -> Vec<(Vec<Piece>, Option<u32>)> {
        let index = self.held.iter().position(|held| u32::from(held.name) == name);
        let index = index.unwrap_or_else(|| panic!("chain {name} is used and is not held"));
        let range = if self.setup.in_order { 0..index + 1 } else { index..index + 1 };
        let mut released: Vec<_> = self.held.drain(range).map(|held| (held, None)).collect();
        if let Some((_, written)) = released.last_mut() {
            *written = Some(len);
        }
        released.into_iter().map(|(held, written)| self.give_back(held, written, memory)).collect()
    }

    fn give_back(&mut self, held: Held, written: Option<u32>, memory: &mut Memory) -> (Vec<Piece>, Option<u32>) {
        let writable: Vec<_> = held.pieces.iter().filter(|(_, _, writes)| *writes).collect();
        writable.iter().for_each(|(address, len, _)| memory.forbid(&(*address..address + u64::from(*len))));
        let room: u32 = writable.iter().map(|(_, len, _)| len).sum();
        assert!(written.unwrap_or(0) <= room, "{written:?} bytes were written to a chain with room for {room}");
        let slots = held.slots.len() as u32;
        self.room += slots as u16;
        match self.layout {
            Layout::Split => {
                self.free.extend(&held.slots);
                self.seen = (self.seen + 1) & 0xffff;
            }
            Layout::Packed => {
                self.free.push_back(held.name);
                self.seen = (self.seen + slots) % (2 * u32::from(self.size));
            }
        }
        (held.pieces, written)
    }
}

/// Writes a descriptor: address, length, and two numbers whose meaning depends on the layout.
pub fn describe(table: u64, slot: u16, fields: (u64, u32, u16, u16), memory: &mut Memory) {
    let (address, len, third, fourth) = fields;
    let bytes = [&address.to_le_bytes()[..], &len.to_le_bytes(), &third.to_le_bytes(), &fourth.to_le_bytes()];
    memory.write(table + 16 * u64::from(slot), &bytes.concat());
}

fn write(writes: bool) -> u16 {
    if writes { WRITE } else { 0 }
}
