//! Our own engine between two guests, with their driver in the same thread, as `dpdk` has it for DPDK's library: offloads,
//! filters, learning and counters as the product has them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use softdpu_datapath::counters::{Counters, Function};
use softdpu_datapath::interrupt::Lines;
use softdpu_datapath::memory::{Protection, Region, Table};
use softdpu_datapath::ring::testing;
use softdpu_datapath::worker::orders::{Order, QueueSetup, Role};
use softdpu_datapath::worker::{self, Engine};

use crate::arguments::Arguments;
use crate::crowd::Crowd;
use crate::guest::{Guest, Pair, Queue};
use crate::report::Report;
use crate::ring::{HEADER, PART, Ring};
use crate::traffic;

const ALL: Protection = Protection { read: true, write: true };

pub fn measure<R: Ring>(arguments: &Arguments) -> io::Result<Report> {
    let Rig { mut pair, mut engine, counters, .. } = Rig::<R>::new(arguments)?;
    let windows = traffic::together(&mut pair, arguments, || engine.turn(Duration::ZERO))?;
    let switched: u64 = [0, 1].map(|id| counters.function(id).get(Function::SwitchedFrames)).iter().sum();
    let measured: u64 = windows.iter().map(|window| window.frames).sum();
    if switched < measured {
        return Err(io::Error::other(format!("{switched} frames were switched, and {measured} are said to have come")));
    }
    Ok(Report { windows, disorder: pair.disorder() })
}

/// How long a frame is on its way, perhaps while another guest floods all. The other guests' own time does not count.
pub fn waits<R: Ring>(arguments: &Arguments) -> io::Result<Report> {
    let Rig { mut pair, mut engine, mut crowd, .. } = Rig::<R>::new(arguments)?;
    let others = |engine: &mut Engine| {
        if arguments.flood {
            crowd.flood(engine);
        }
        crowd.take();
    };
    let windows = traffic::apart(&mut pair, arguments, &mut engine, |engine| engine.turn(Duration::ZERO), others)?;
    Ok(Report { windows, disorder: pair.disorder() })
}

/// Our engine between two guests, and others beside them.
struct Rig<R: Ring> {
    pair: Pair<R>,
    engine: Engine,
    counters: Counters,
    crowd: Crowd,
    _notices: worker::Notices,
}

impl<R: Ring> Rig<R> {
    fn new(arguments: &Arguments) -> io::Result<Rig<R>> {
        let mut pair = Pair::<R>::alone(arguments)?;
        let (outbox, notices) = worker::notices()?;
        let (mut engine, counters) = (Engine::new(outbox)?, Counters::new()?);
        let mut crowd = Crowd::join(&mut engine, &counters, arguments.members);
        crowd.teach(&mut engine, arguments.stations)?;
        for (id, guest) in pair.guests.iter().enumerate() {
            add(&mut engine, id as u32, guest, arguments, &counters)?;
        }
        // As long as a measurement lasts: these two ring no doorbell.
        engine.be_patient(Duration::from_secs(3600));
        pair.greet(|| engine.turn(Duration::ZERO))?;
        Ok(Rig { pair, engine, counters, crowd, _notices: notices })
    }
}

fn add<R: Ring>(
    engine: &mut Engine,
    id: u32,
    guest: &Guest<R>,
    arguments: &Arguments,
    counters: &Counters,
) -> io::Result<()> {
    let own = counters.function(id);
    let lines = Arc::new(Lines::new(2, own.clone()));
    engine.obey(Order::AddFunction { function: id, representor: None, lines, counters: own });
    let memory = guest.memory.region();
    let region = Region::map(guest.memory.file().as_fd(), 0, memory.guest_phys_addr, memory.memory_size, ALL);
    let table = Arc::new(Table::new(vec![region?]));
    engine.obey(Order::SetMemory { function: id, table, done: sync_channel(1).0 });
    engine.obey(Order::SetFrameLimit { function: id, octets: 1518 });
    let queues = [(&guest.receive, Role::Receive), (&guest.transmit, Role::Transmit)];
    for (number, (queue, role)) in queues.into_iter().enumerate() {
        let setup = setup(number as u16, queue, role, arguments);
        engine.obey(Order::StartQueue { function: id, setup });
        engine.doorbell(id, number as u16);
    }
    Ok(())
}

fn setup<R: Ring>(number: u16, queue: &Queue<R>, role: Role, arguments: &Arguments) -> QueueSetup {
    QueueSetup {
        descriptor: queue.place.parts,
        driver: queue.place.parts + PART,
        device: queue.place.parts + 2 * PART,
        header: HEADER,
        mergeable: arguments.mergeable,
        packed: R::PACKED,
        position: R::BASE,
        record: None,
        ..testing::Guest::new().queue(number, role, arguments.ring.into()).setup
    }
}
