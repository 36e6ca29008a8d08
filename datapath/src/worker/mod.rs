//! The workers: a thread for each core given to them. They share the switch; each queue and port is served by one of them,
//! and moves when another has less to do. A worker polls while there is work and sleeps when there is none.

mod announce;
mod assign;
mod closer;
mod crew;
mod deliver;
pub mod dirty;
mod doorbells;
mod engine;
mod fabric;
mod flood;
mod forward;
mod function;
mod gate;
pub mod kick;
mod local;
mod notices;
mod obey;
pub mod orders;
mod pace;
mod represent;
mod shared;
mod straight;
mod thread;
mod timers;
mod turn;
mod uplink;
mod world;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_setaffinity};

use crew::Crew;
pub use crew::MOST_WORKERS;
pub use engine::Engine;
pub use notices::{Notices, notices};
use orders::{FunctionId, Order};
use thread::Shift;
use world::employ;

use crate::counters::Counters;

/// The pump's end of the workers. Dropping it ends their threads, after all orders sent.
pub struct WorkerHandle {
    orders: Option<Sender<Order>>,
    crew: Arc<Crew>,
    threads: Vec<JoinHandle<()>>,
    /// What each of them works with.
    places: Vec<Arc<Mutex<Shift>>>,
}

impl WorkerHandle {
    /// Hands over an order; they are carried out in the sequence they were sent.
    pub fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
            self.crew.desks[0].doorbells.order();
        }
    }

    /// The driver notified a queue. Costs a few atomic writes unless the queue's worker sleeps. Counting it is the caller's part.
    pub fn doorbell(&self, function: FunctionId, queue: u16) {
        self.crew.ring(function, queue);
    }

    /// The same, but where the queue's worker sleeps its work is done here and now: for as long as a few batches take.
    pub fn stand_in(&self, function: FunctionId, queue: u16) {
        let home = self.crew.home(function, Some(queue));
        if !thread::stand_in(&self.places[home], &self.crew.desks[home].doorbells, function, queue) {
            self.doorbell(function, queue);
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.crew.end();
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

/// Starts one worker, on whatever core the kernel gives it.
pub fn spawn() -> io::Result<(WorkerHandle, Notices)> {
    spawn_on(&[], None)
}

/// Starts a worker for each core, which shows what it does among the `counters`, and installs the process's SIGBUS handler. Returns when all of them run: a thread that
/// starts makes system calls that the sandbox does not allow.
///
/// # Errors
/// A core that this process may not use; threads or descriptors that the kernel does not give.
pub fn spawn_on(cores: &[usize], counters: Option<&Counters>) -> io::Result<(WorkerHandle, Notices)> {
    crate::memory::survive_truncation();
    let (outbox, notices) = notices()?;
    let (sender, receiver) = channel();
    let crew = Arc::new(Crew::new(cores.len().max(1))?);
    counters.inspect(|counters| crew.show(counters, &places(cores)));
    let (start, mut orders) = (Instant::now(), Some(receiver));
    let mut handle = WorkerHandle { orders: Some(sender), crew: crew.clone(), threads: Vec::new(), places: Vec::new() };
    let (ready, started) = channel();
    for (worker, core) in employ(Engine::with_crew(outbox, crew.clone())?).into_iter().zip(places(cores)) {
        let place = Arc::new(Mutex::new(Shift::new(worker, crew.clone(), orders.take(), start)?));
        handle.places.push(place.clone());
        let ready = ready.clone();
        let spawned = std::thread::Builder::new().name("worker".into()).spawn(move || {
            let pinned = core.map_or(Ok(()), pin);
            let fine = pinned.is_ok();
            let _ = ready.send(pinned);
            drop(ready);
            if fine {
                thread::run(&place);
            }
        });
        handle.threads.push(spawned?);
    }
    drop(ready);
    started.iter().collect::<io::Result<()>>()?;
    Ok((handle, notices))
}

/// The core of each worker, if it is given one.
fn places(cores: &[usize]) -> Vec<Option<usize>> {
    if cores.is_empty() { vec![None] } else { cores.iter().copied().map(Some).collect() }
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("no worker can run on core {core}: {error}"));
    if core >= CpuSet::MAX_CPU {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| refused(error.into()))
}

#[cfg(test)]
mod tests;
