//! Other guests on our engine's switch: receivers of floods, one of them who floods, and senders whose addresses fill its
//! table.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use softdpu_datapath::counters::Counters;
use softdpu_datapath::interrupt::Lines;
use softdpu_datapath::ring::testing::{Driver, Guest, WRITE};
use softdpu_datapath::worker::Engine;
use softdpu_datapath::worker::orders::{Order, Role};

use crate::ring::HEADER;

const RING: u16 = 64;
const BURST: u16 = 32;
/// Bytes of a buffer: the frames here are short.
const BUFFER: u64 = 256;
const FRAME: usize = 64;
/// Beyond the two guests that are measured.
const FIRST: u32 = 2;
/// Addresses that a port may have in the switch's table.
const SHARE: usize = 1024;

struct Member {
    id: u32,
    guest: Guest,
    receive: Driver,
    transmit: Driver,
}

pub struct Crowd {
    members: Vec<Member>,
}

impl Crowd {
    pub fn join(engine: &mut Engine, counters: &Counters, members: usize) -> Crowd {
        Crowd { members: (0..members).map(|number| Member::join(engine, counters, FIRST + number as u32)).collect() }
    }

    /// The first of them broadcasts a burst, when its former one is on its way.
    pub fn flood(&mut self, engine: &mut Engine) {
        if let Some(member) = self.members.first_mut().filter(|member| member.rests()) {
            member.send(engine, BURST);
        }
    }

    /// All take what came, and offer the buffers again.
    pub fn take(&mut self) {
        for Member { receive, .. } in &mut self.members {
            let used = receive.used_index();
            receive.again(used.wrapping_sub(receive.collected));
            receive.collected = used;
        }
    }

    /// The switch learns this many addresses, a share from each member.
    pub fn teach(&mut self, engine: &mut Engine, stations: usize) -> io::Result<()> {
        for station in 0..stations {
            let [.., a, b, c, d] = (station as u64).to_be_bytes();
            let address = [6, 0, a, b, c, d];
            let member = self.members.get_mut(station / SHARE).ok_or_else(|| io::Error::other("too few members"))?;
            // To itself: it is learned, and goes nowhere.
            member.prepare(address, address);
            member.send(engine, 1);
            settle(engine);
            if !member.rests() {
                return Err(io::Error::other(format!("the engine leaves frame {station} where it is")));
            }
        }
        settle(engine);
        let flooder = self.members.first_mut();
        flooder.into_iter().for_each(|member| member.prepare([0xff; 6], [6, 1, 0, 0, 0, 0]));
        Ok(())
    }
}

/// Until no queue is polled.
fn settle(engine: &mut Engine) {
    while !engine.idle() {
        engine.turn(Duration::ZERO);
    }
}

impl Member {
    fn join(engine: &mut Engine, counters: &Counters, id: u32) -> Member {
        let (guest, own) = (Guest::new(), counters.function(id));
        let lines = Arc::new(Lines::new(2, own.clone()));
        engine.obey(Order::AddFunction { function: id, representor: None, lines, counters: own });
        engine.obey(Order::SetMemory { function: id, table: guest.table.clone(), done: sync_channel(1).0 });
        let (mut receive, transmit) =
            (guest.queue(0, Role::Receive, RING.into()), guest.queue(1, Role::Transmit, RING.into()));
        for head in 0..RING {
            receive.describe(head, guest.buffer(0) + u64::from(head) * BUFFER, BUFFER as u32, WRITE, 0);
            transmit.describe(head, guest.buffer(16), (HEADER + FRAME) as u32, 0, 0);
        }
        receive.again(RING);
        for setup in [&receive.setup, &transmit.setup] {
            engine.obey(Order::StartQueue { function: id, setup: setup.clone() });
        }
        Member { id, guest, receive, transmit }
    }

    /// The frame that it sends from now on.
    fn prepare(&mut self, to: [u8; 6], from: [u8; 6]) {
        let mut frame = [0; HEADER + FRAME];
        frame[HEADER..HEADER + 6].copy_from_slice(&to);
        frame[HEADER + 6..HEADER + 12].copy_from_slice(&from);
        frame[HEADER + 12..HEADER + 14].copy_from_slice(&[0x88, 0xb5]);
        self.guest.write(self.guest.buffer(16), &frame);
    }

    fn send(&mut self, engine: &mut Engine, frames: u16) {
        self.transmit.again(frames);
        engine.doorbell(self.id, 1);
    }

    /// Whether all that it sent has been taken.
    fn rests(&self) -> bool {
        self.transmit.used_index() == self.transmit.offered
    }
}
