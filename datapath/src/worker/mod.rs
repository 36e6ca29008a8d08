//! The worker: one thread that owns every ring, the switch and the ports. It polls while there is work and sleeps when
//! there is none.

mod announce;
mod closer;
mod deliver;
pub mod dirty;
mod doorbells;
mod engine;
mod fabric;
mod flood;
mod forward;
mod function;
pub mod kick;
mod notices;
mod obey;
pub mod orders;
mod pace;
mod represent;
mod shared;
mod thread;
mod timers;
mod uplink;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use doorbells::Doorbells;
pub use engine::Engine;
pub use notices::{Notices, notices};
use orders::{FunctionId, Order};

/// The pump's end of the worker. Dropping it ends the thread, after all orders sent.
pub struct WorkerHandle {
    orders: Option<Sender<Order>>,
    doorbells: Arc<Doorbells>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Hands over an order; the worker takes orders in the sequence they were sent.
    pub fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
            self.doorbells.order();
        }
    }

    /// The driver notified a queue. Costs a few atomic writes unless the worker sleeps. Counting it is the caller's part.
    pub fn doorbell(&self, function: FunctionId, queue: u16) {
        self.doorbells.ring(function, queue);
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.doorbells.order();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the worker thread and installs the process's SIGBUS handler.
pub fn spawn() -> io::Result<(WorkerHandle, Notices)> {
    crate::memory::survive_truncation();
    let (outbox, notices) = notices()?;
    let (sender, receiver) = channel();
    let doorbells = Arc::new(Doorbells::new()?);
    let mut thread = thread::Thread::new(Engine::new(outbox)?, receiver, doorbells.clone())?;
    let thread = std::thread::Builder::new().name("worker".into()).spawn(move || thread.run())?;
    Ok((WorkerHandle { orders: Some(sender), doorbells, thread: Some(thread) }, notices))
}

#[cfg(test)]
mod tests;
