//! What the workers know of one function: its memory, queues, representor, and how its port is set. In their turns they
//! share it: what they write then is atomic, or a queue, which they take.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::dirty::Dirty;
use super::flood::Underway;
use super::orders::{FunctionId, QueueSetup, Role, Stand};
use crate::counters::{FunctionCounters, QUEUES, Queue as Counter};
use crate::interrupt::Lines;
use crate::locked::{Company, Locked};
use crate::memory::Table;
use crate::offload::Offloads;
use crate::port::{LONGEST, Tap};
use crate::ring::{Carried, Control, Fault, Hold, Receive, Ring, Transmit};
use crate::switch::{Behind, Rules, Steering};

pub struct Function {
    pub id: FunctionId,
    pub company: Company,
    pub lines: Arc<Lines>,
    pub counters: FunctionCounters,
    pub memory: Arc<Table>,
    /// By number.
    pub queues: Vec<Slot>,
    pub tap: Option<Tap>,
    /// Its rings and its driver are left alone: queues that would run are parked.
    pub frozen: bool,
    /// Frames wait in the tap until the driver posts buffers.
    pub starved: AtomicBool,
    /// Who is beyond the representor.
    pub behind: Behind,
    pub rules: Rules,
    pub steering: Steering,
    /// How interrupts of a queue are held back.
    pub coalescing: HashMap<u16, Hold>,
    pub pairs: u16,
    pub link: bool,
    pub fabric: bool,
    pub frame_limit: usize,
    pub offloads: Offloads,
    /// Queues, and the tap, that are being polled.
    pub polled: Bits,
    /// Transmit queues that are not polled, and whose driver is not asked for their doorbell: they will be looked at again.
    pub left: Bits,
    pub tap_polled: AtomicBool,
    /// The uplink that serves it.
    pub uplink: u8,
    /// While a flood that it began is under way its transmit queues wait.
    pub floods: Underway,
    /// Eventfds by which the driver notifies, by queue; and queues, by bit, of which it never does.
    pub kicks: Vec<Option<OwnedFd>>,
    pub unkicked: u128,
    /// Queues, by bit, that carry no frames although they run.
    pub disabled: u128,
    /// Where writes into the guest are logged, while that is wanted.
    pub dirty: Option<Arc<Dirty>>,
    #[cfg(test)]
    pub panics: bool,
}

#[derive(Default)]
pub enum Slot {
    #[default]
    Stopped,
    /// Its ring's memory is unmapped, or its function frozen; it goes on when that is over.
    Parked(Queue),
    Running(Queue),
}

pub enum Queue {
    Receive(Locked<Receive>),
    Transmit(Locked<Transmit>),
    Control(Locked<Control>),
}

/// A bit a queue.
#[derive(Default)]
pub struct Bits([AtomicU64; QUEUES.div_ceil(64)]);

impl Bits {
    #[inline]
    pub fn get(&self, queue: u16) -> bool {
        self.0.get(usize::from(queue) / 64).is_some_and(|word| word.load(Relaxed) >> (queue % 64) & 1 != 0)
    }

    pub fn set(&self, queue: u16, on: bool) {
        let (Some(word), bit) = (self.0.get(usize::from(queue) / 64), 1 << (queue % 64)) else { return };
        if on {
            word.fetch_or(bit, Relaxed)
        } else {
            word.fetch_and(!bit, Relaxed)
        };
    }
}

impl Function {
    pub fn new(
        id: FunctionId,
        company: Company,
        tap: Option<Tap>,
        lines: Arc<Lines>,
        counters: FunctionCounters,
    ) -> Function {
        Function {
            id,
            company,
            lines,
            counters,
            memory: Arc::default(),
            queues: Vec::new(),
            tap,
            frozen: false,
            starved: AtomicBool::new(false),
            behind: Behind::default(),
            rules: Rules::open(),
            steering: Steering::default(),
            coalescing: HashMap::new(),
            pairs: 1,
            link: true,
            fabric: true,
            frame_limit: LONGEST,
            offloads: Offloads::default(),
            polled: Bits::default(),
            left: Bits::default(),
            tap_polled: AtomicBool::new(false),
            uplink: 0,
            floods: Underway::default(),
            kicks: Vec::new(),
            unkicked: 0,
            disabled: 0,
            dirty: None,
            #[cfg(test)]
            panics: false,
        }
    }

    /// What driver and device agreed to leave undone; the kernel leaves it undone too, for this receiver.
    pub fn set_offloads(&mut self, offloads: Offloads) {
        if self.offloads == offloads {
            return;
        }
        if let Some(Err(error)) = self.tap.as_mut().map(|tap| tap.set_offloads(offloads.tun())) {
            log::warn!("function {}: the offloads of its representor stay as they were: {error}", self.id);
        }
        self.offloads = offloads;
    }

    /// The place of a queue, made when it is not there; None beyond the last queue that a function can have.
    pub fn place(&mut self, queue: u16) -> Option<&mut Slot> {
        let index = usize::from(queue);
        if index >= QUEUES {
            return None;
        }
        if index >= self.queues.len() {
            self.queues.resize_with(index + 1, Slot::default);
        }
        self.queues.get_mut(index)
    }

    pub fn running(&mut self, queue: u16) -> Option<&mut Queue> {
        match self.queues.get_mut(usize::from(queue)) {
            Some(Slot::Running(queue)) => Some(queue),
            _ => None,
        }
    }

    /// A queue that runs, for whoever shares the function.
    #[inline]
    pub fn queue(&self, queue: u16) -> Option<&Queue> {
        match self.queues.get(usize::from(queue)) {
            Some(Slot::Running(queue)) => Some(queue),
            _ => None,
        }
    }

    #[inline]
    pub fn receive(&self, queue: u16) -> Option<&Locked<Receive>> {
        match self.queue(queue) {
            Some(Queue::Receive(queue)) => Some(queue),
            _ => None,
        }
    }

    #[inline]
    pub fn transmit(&self, queue: u16) -> Option<&Locked<Transmit>> {
        match self.queue(queue) {
            Some(Queue::Transmit(queue)) => Some(queue),
            _ => None,
        }
    }

    /// What a transmit queue and the receive queue beside it have carried.
    pub fn carried(&self, transmit: u16) -> Carried {
        let (sent, received) = (self.counters.queue(transmit), self.counters.queue(transmit.saturating_sub(1)));
        Carried {
            sent: sent.get(Counter::Octets),
            received: received.get(Counter::Octets),
            frames: received.get(Counter::Frames),
        }
    }

    /// Whether a driver is there to receive, on any queue.
    pub fn ready(&self) -> bool {
        (0..self.pairs).any(|pair| self.receives(pair))
    }

    fn receives(&self, pair: u16) -> bool {
        self.disabled >> (2 * pair) & 1 == 0 && self.receive(2 * pair).is_some()
    }

    /// The pair itself if its receive queue runs, or else another that does (§5.1.6.5.6.2). A driver's own table is taken at
    /// its word: frames for a queue that is being reset are lost (§5.1.6.5.7.2).
    pub fn in_place_of(&self, pair: u16) -> u16 {
        if self.receives(pair) || self.steering.scales() {
            return pair;
        }
        (0..self.pairs).find(|other| self.receives(*other)).unwrap_or(pair)
    }

    /// Whether the ring of the first receive queue is out of reach for a moment.
    pub fn parked(&self) -> bool {
        matches!(self.queues.first(), Some(Slot::Parked(_)))
    }

    /// The driver is gone: what it had set returns to how it was before.
    pub fn stop_all(&mut self) {
        self.queues.clear();
        (self.polled, self.left) = (Bits::default(), Bits::default());
        *self.starved.get_mut() = false;
        self.disabled = 0;
        self.dirty = None;
        self.pairs = 1;
        self.steering = Steering::default();
        self.coalescing.clear();
    }

    /// Takes a new table; queues whose rings are not in it wait until one comes in which they are.
    pub fn set_memory(&mut self, table: Arc<Table>) {
        for slot in &mut self.queues {
            *slot = match std::mem::take(slot) {
                Slot::Stopped => Slot::Stopped,
                Slot::Parked(queue) | Slot::Running(queue) => queue.moved(&table, self.frozen),
            };
        }
        self.memory = table;
    }

    /// Where its queues stand, while it is frozen: nothing is taken from a ring then that was not given back used.
    pub fn stands(&mut self) -> Option<Vec<Stand>> {
        let queues = self.queues.iter_mut().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Stopped => None,
            Slot::Parked(queue) | Slot::Running(queue) => Some((index as u16, queue)),
        });
        self.frozen.then(|| queues.map(|(number, queue)| queue.stands(number)).collect())
    }

    /// From now on its rings are left alone, or not any more.
    pub fn freeze(&mut self, on: bool) {
        self.frozen = on;
        self.set_memory(self.memory.clone());
        if on {
            self.polled = Bits::default();
        }
    }
}

impl Queue {
    pub fn new(setup: &QueueSetup, table: &Table, first_ticket: u64) -> Result<Queue, Fault> {
        Ok(match setup.role {
            Role::Receive => Queue::Receive(Locked::new(Receive::new(setup, table)?)),
            Role::Transmit => Queue::Transmit(Locked::new(Transmit::new(setup, table)?)),
            Role::Control => Queue::Control(Locked::new(Control::new(setup, table, first_ticket)?)),
        })
    }

    pub fn ring(&mut self) -> &mut Ring {
        match self {
            Queue::Receive(queue) => queue.get_mut().ring(),
            Queue::Transmit(queue) => queue.get_mut().ring(),
            Queue::Control(queue) => queue.get_mut().ring(),
        }
    }

    fn stands(&mut self, queue: u16) -> Stand {
        let answer = match self {
            Queue::Control(control) => control.get_mut().answer().map(<[u8]>::to_vec),
            Queue::Receive(_) | Queue::Transmit(_) => None,
        };
        Stand { queue, position: self.ring().position(), answer }
    }

    pub fn set_vector(&mut self, vector: u16) {
        match self {
            Queue::Receive(queue) => queue.get_mut().vector = vector,
            Queue::Transmit(queue) => queue.get_mut().vector = vector,
            Queue::Control(queue) => queue.get_mut().vector = vector,
        }
    }

    fn moved(mut self, table: &Table, frozen: bool) -> Slot {
        self.ring().detach();
        match self.ring().attach(table) {
            Ok(()) if !frozen => Slot::Running(self),
            _ => Slot::Parked(self),
        }
    }
}

/// A batch of a queue was flushed: counts it, and interrupts the driver when it wants that.
pub fn conclude(lines: &Lines, counters: &FunctionCounters, queue: u16, vector: u16, flushed: (u16, bool)) {
    let (count, wanted) = flushed;
    if count == 0 {
        return;
    }
    let counters = counters.queue(queue);
    counters.add(Counter::Batches, 1);
    counters.add(Counter::ReceivedDesc, u64::from(count));
    counters.add(Counter::CompletedDesc, u64::from(count));
    let interrupted = wanted && lines.signal_queue(vector);
    counters.add(if interrupted { Counter::Interrupts } else { Counter::SuppressedInterrupts }, 1);
}
