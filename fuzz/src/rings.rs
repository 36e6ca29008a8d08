//! Rings as drivers might use them. An honest pair of guests must get everything right: frames in order, each chain used
//! once, every frame delivered or counted as dropped. Beside a hostile guest the honest one must not notice anything.

use softdpu_datapath::worker::orders::Role;

use crate::driver::{Agreed, Layout, MOST, describe};
use crate::input::Input;
use crate::memory::{BASE, BYTES, READ_ONLY};
use crate::rig::{BUFFERS, HEADER, Rig, mac};

const HONEST: u32 = 1;
const STRANGE: u64 = 0x7fff_0000_0000;
/// Offloads of virtio-net that need no other header: CSUM, GUEST_CSUM, TSO both ways, ECN.
const OFFLOADS: u64 = 0x3b83;
const LONGEST: usize = 1514;

pub fn rings(data: &[u8], layout: Layout) {
    let mut input = Input::new(data);
    let agreed = [agree(&mut input, layout), agree(&mut input, layout)];
    let hostile = input.flag();
    let mut program =
        Program { rig: Rig::new(agreed), sent: Default::default(), taken: [0; 2], got: [0; 2], serial: 0, hostile };
    if hostile {
        program.rig.offload(0, OFFLOADS);
        program.rig.guests[0].memory.allow(BASE..BASE + BYTES as u64);
    }
    while !input.ended() {
        program.step(&mut input);
    }
    program.finish();
}

fn agree(input: &mut Input<'_>, layout: Layout) -> Agreed {
    let size = match layout {
        Layout::Split => 1 << (1 + input.below(6)),
        Layout::Packed => 1 + input.below(MOST.into()) as u16,
    };
    let flags = input.byte();
    Agreed { layout, size, event_index: flags & 1 != 0, in_order: flags & 2 != 0, mergeable: flags & 4 != 0 }
}

struct Program {
    rig: Rig,
    /// By receiver, the frames that it must get, if it gets them, in this order.
    sent: [Vec<Vec<u8>>; 2],
    /// Frames that were taken from each, and given to each.
    taken: [u64; 2],
    got: [u64; 2],
    serial: u32,
    hostile: bool,
}

impl Program {
    fn step(&mut self, input: &mut Input<'_>) {
        let id = u32::from(input.flag());
        match input.below(if self.hostile && id != HONEST { 16 } else { 7 }) {
            0 | 1 => self.send(id, input),
            2 | 3 => self.post(id, input),
            4 => self.kick(id),
            5 => self.reap(id),
            6 => self.unshare(id, input),
            7 => self.scribble(input),
            8 => self.rewrite(input),
            9 => self.jump(input),
            10 => self.repeat(input),
            11 => self.lie(input),
            12 => self.restart(input),
            13 => self.table(input),
            14 => self.ask(input),
            _ => self.kick(id),
        }
    }

    fn send(&mut self, id: u32, input: &mut Input<'_>) {
        let to = 1 - id;
        let destination = input.of(&[mac(to), mac(to), [0xff; 6], [3; 6], [2, 9, 9, 9, 9, 9]]);
        let len = input.of(&[60, 14, 15, 64, 65, 200, LONGEST, LONGEST + 4, 1000, 13, 0, 5000]);
        self.serial += 1;
        let mut frame: Vec<u8> = (0..len).map(|n| (n as u32 * 7 + self.serial) as u8).collect();
        let head = [&destination[..], &mac(id), &[0x88, 0xb5], &self.serial.to_le_bytes()].concat();
        let n = head.len().min(len);
        frame[..n].copy_from_slice(&head[..n]);
        let cuts = [input.below(40), input.below(300), input.below(3)];
        let cuts = &cuts[..input.below(4)];
        if self.rig.guests[id as usize].send([0; HEADER], &frame, cuts, input.flag()) {
            self.sent[to as usize].push(frame);
        }
    }

    fn post(&mut self, id: u32, input: &mut Input<'_>) {
        let len = input.of(&[2048, 1526, 64, 100, 12, 30, 600]);
        let cuts = [input.below(40), input.below(300)];
        let cuts = &cuts[..input.below(3)];
        let indirect = input.flag();
        for _ in 0..=input.below(4) {
            self.rig.guests[id as usize].post(len, cuts, indirect);
        }
        self.rig.doorbell(id, 0);
    }

    fn kick(&mut self, id: u32) {
        self.rig.doorbell(id, 1);
        self.rig.turn();
    }

    fn reap(&mut self, id: u32) {
        if self.hostile && id != HONEST {
            return;
        }
        self.taken[id as usize] += self.rig.guests[id as usize].reap() as u64;
        for (header, frame) in self.rig.guests[id as usize].received() {
            assert_eq!(header[..10], [0; 10], "nothing was left undone for who takes nothing");
            self.got[id as usize] += 1;
            self.expect(id, &frame);
        }
    }

    /// Frames to one address come in the order in which they were sent; some may be missing.
    fn expect(&mut self, id: u32, frame: &[u8]) {
        let sent = &mut self.sent[id as usize];
        match sent.iter().position(|one| one == frame) {
            Some(place) => {
                let mut index = 0;
                sent.retain(|one| {
                    index += 1;
                    index > place + 1 || one.get(..6) != frame.get(..6)
                });
            }
            // What a hostile guest sends is its own affair.
            None => assert!(
                self.hostile,
                "guest {id}: a frame of {} bytes came that was not sent, or came twice, or late: {:02x?}",
                frame.len(),
                &frame[..frame.len().min(20)]
            ),
        }
    }

    /// The VMM takes memory away and gives it back.
    fn unshare(&mut self, id: u32, input: &mut Input<'_>) {
        let parts = if self.hostile && id != HONEST { input.below(3) } else { 0 };
        self.rig.share(id, parts);
        if input.flag() {
            self.kick(0);
            self.kick(1);
        }
        self.rig.share(id, usize::MAX);
        self.rig.turn();
    }

    fn finish(&mut self) {
        for id in [0, 1, 0, 1] {
            self.kick(id);
        }
        [0, 1].into_iter().for_each(|id| self.reap(id));
        let faults = self.rig.faults();
        for (function, cause) in &faults {
            assert!(!cause.contains("error of the datapath"), "{cause}");
            assert!(self.excused(*function, cause), "guest {function} did nothing wrong: {cause}");
        }
        let faulty = |id| faults.iter().any(|(function, _)| *function == id);
        for id in [0, 1] {
            if (id == HONEST || !self.hostile) && !faulty(id) {
                let held = self.rig.guests[id as usize].transmit.held();
                assert_eq!(held, 0, "chains of guest {id} were not used");
            }
        }
        self.rig.check_ledgers();
        if !self.hostile && faults.is_empty() {
            self.balance();
        }
    }

    /// A receive buffer too short for the header is a fault of an honest ring too.
    fn excused(&self, function: u32, cause: &str) -> bool {
        self.hostile && function != HONEST || cause.contains("cannot hold the header")
    }

    /// Every frame that came in went out, or has one cause.
    fn balance(&self) {
        let (taken, given) = (self.taken.iter().sum::<u64>(), self.got.iter().sum::<u64>());
        assert_eq!(taken, given + self.rig.dropped(), "frames in = frames out + causes");
    }
}

// ---- the hostile guest

impl Program {
    fn address(&self, input: &mut Input<'_>, queue: usize) -> u64 {
        let guest = &self.rig.guests[0];
        let setup = if queue == 0 { &guest.receive.setup } else { &guest.transmit.setup };
        let base = input.of(&[
            BUFFERS,
            BASE,
            BASE + 0x1_4000 - 20,
            BASE + BYTES as u64 - 20,
            READ_ONLY,
            READ_ONLY + 0xff0,
            STRANGE,
            u64::MAX - 20,
            setup.descriptor,
            setup.driver,
            setup.device,
            0,
        ]);
        base.wrapping_add(u64::from(input.byte()))
    }

    fn length(input: &mut Input<'_>) -> u32 {
        let random = u32::from(input.u16());
        input.of(&[60, 12, 16, 32, 0, 1, 26, 2000, 70_000, u32::MAX, 1 << 31, 128, random])
    }

    /// Bytes anywhere in its rings.
    fn scribble(&mut self, input: &mut Input<'_>) {
        let at = BASE + input.below((BUFFERS - BASE) as usize) as u64;
        let n = 1 + input.below(16);
        let bytes = input.bytes(n).to_vec();
        self.rig.guests[0].memory.write(at, &bytes);
    }

    /// A descriptor that is there already, or made available next.
    fn rewrite(&mut self, input: &mut Input<'_>) {
        let queue = input.below(2);
        let (address, len) = (self.address(input, queue), Self::length(input));
        let (third, fourth) = (input.of(&[0, 1, 2, 4, 3, 5, 0x80, 0x8080, 0x8000]), input.u16() % 80);
        let guest = &mut self.rig.guests[0];
        let ring = if queue == 0 { &guest.receive } else { &guest.transmit };
        let ((slot, even), table) = (ring.place(), ring.setup.descriptor);
        let slot = if input.flag() { slot } else { input.u16() % ring.setup.size as u16 };
        let marked = third & 0x7f7f | if even { 0x80 } else { 0x8000 };
        let fields = match ring.layout {
            Layout::Split => (address, len, third, fourth),
            Layout::Packed if input.flag() => (address, len, fourth, marked),
            Layout::Packed => (address, len, fourth, third),
        };
        describe(table, slot, fields, &mut guest.memory);
    }

    /// An available index, or event suppression, out of nowhere.
    fn jump(&mut self, input: &mut Input<'_>) {
        let queue = input.below(2);
        let random = u16::from(input.byte());
        let value = input.of(&[0, 1, 2, 63, 64, 65, 0x7fff, 0x8000, 0xffff, random]);
        let guest = &mut self.rig.guests[0];
        let setup = if queue == 0 { &guest.receive.setup } else { &guest.transmit.setup };
        let at = setup.driver + input.of(&[2, 0, 4]);
        guest.memory.write(at, &value.to_le_bytes());
    }

    /// A head that may be held already, or outside.
    fn repeat(&mut self, input: &mut Input<'_>) {
        let head = input.u16() % 70;
        let guest = &mut self.rig.guests[0];
        let ring = if input.flag() { &mut guest.receive } else { &mut guest.transmit };
        if ring.layout == Layout::Split {
            ring.publish(head, &mut guest.memory);
        }
    }

    /// A frame whose header says what it is not, or is.
    fn lie(&mut self, input: &mut Input<'_>) {
        let mut header = [0; HEADER];
        header[0] = input.of(&[1, 1, 0, 2, 0xff]);
        header[1] = input.of(&[1, 4, 0x81, 3, 5, 0, 0xff]);
        let (size, start) = (input.of(&[1448, 0, 1, 100, 0xffff]), input.of(&[34, 54, 14, 0, 0xffff]));
        for (place, word) in [input.u16(), size, start, input.of(&[16, 6, 0, 0xffff])].iter().enumerate() {
            header[2 + 2 * place..][..2].copy_from_slice(&word.to_le_bytes());
        }
        let n = input.of(&[54, 1514, 3000, 9000, 20]);
        let frame = crate::header::tcp(mac(HONEST), mac(0), input.flag(), n);
        self.rig.guests[0].send(header, &frame, &[], false);
    }

    fn restart(&mut self, input: &mut Input<'_>) {
        self.rig.restart(0, if input.flag() { Role::Receive } else { Role::Transmit });
    }

    /// An indirect table, and the descriptor that is next in the ring naming it.
    fn table(&mut self, input: &mut Input<'_>) {
        let Some(table) = self.rig.guests[0].buffer(128) else { return };
        for slot in 0..input.below(8) as u16 {
            let (address, len) = (self.address(input, 1), Self::length(input));
            let (third, fourth) = (input.of(&[0, 1, 2, 3, 4]), input.of(&[0, 1, 2, 7, 8, 0xffff]));
            describe(table, slot, (address, len, third, fourth), &mut self.rig.guests[0].memory);
        }
        let len = input.of(&[16, 32, 48, 128, 0, 17, 1 << 20, u32::MAX - 15]);
        let guest = &mut self.rig.guests[0];
        let ((slot, even), setup) = (guest.transmit.place(), &guest.transmit.setup);
        let mark = if even { 0x80 } else { 0x8000 };
        match guest.transmit.layout {
            Layout::Split => {
                describe(setup.descriptor, slot, (table, len, 4, 0), &mut guest.memory);
                guest.transmit.publish(slot, &mut guest.memory);
            }
            Layout::Packed => describe(setup.descriptor, slot, (table, len, slot, 4 | mark), &mut guest.memory),
        }
    }

    /// The honest guest sends to the hostile one, and is served whatever happens there.
    fn ask(&mut self, input: &mut Input<'_>) {
        self.send(HONEST, input);
        self.kick(HONEST);
        self.reap(HONEST);
    }
}
