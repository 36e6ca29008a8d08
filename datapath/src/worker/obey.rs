//! Orders, carried out.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;

use super::engine::Engine;
use super::function::{Function, Queue, Slot};
use super::local::Thing;
use super::orders::{FunctionId, Order, QueueSetup, Receipt, Role};
use super::uplink::Uplink;
use crate::counters::{FUNCTIONS, FunctionCounters, QUEUES};
use crate::interrupt::Lines;
use crate::memory::Table;
use crate::port::{LONGEST, Tap};
use crate::switch::Rules;

/// Besides pairs there are a control queue and an administration virtqueue.
const MOST_PAIRS: u16 = ((QUEUES - 2) / 2) as u16;

impl Engine {
    pub fn obey(&mut self, order: Order) {
        self.crew.changed.store(true, Relaxed);
        match order {
            Order::AddFunction { function, representor, lines, counters } => {
                self.add(function, representor.map(Tap::new), lines, counters);
            }
            Order::RemoveFunction { function, done } => self.remove(function, &done),
            Order::AddUplink { uplink, wire, counters } => self.add_uplink(Uplink::new(uplink, wire, counters)),
            Order::SetUplink { uplink, up, octets } => {
                if let Some(uplink) = self.fabric.uplink_mut(uplink) {
                    (uplink.up, uplink.limit) = (up, octets.min(LONGEST));
                }
            }
            Order::RemoveUplink { uplink } => self.remove_uplink(uplink),
            Order::Assign { function, uplink } => self.change(function, |port| port.uplink = uplink),
            Order::SetFlooding { on } => self.fabric.flooding = on,
            Order::SetMemory { function, table, done } => self.set_memory(function, table, &done),
            Order::StartQueue { function, setup } => self.start(function, &setup),
            Order::StopQueue { function, queue, done } => self.stop(function, queue, &done),
            Order::StopAll { function, done } => {
                self.let_go(function, |queue| queue.is_some());
                self.drop_kicks(function, |_| true);
                self.change(function, Function::stop_all);
                self.fabric.review(function);
                self.readable(function);
                receipt(&done);
            }
            Order::Freeze { function, on, done } => {
                self.freeze(function, on);
                receipt(&done);
            }
            Order::SetVector { function, queue, vector } => self.change(function, |port| {
                if let Some(Slot::Running(queue) | Slot::Parked(queue)) = port.queues.get_mut(usize::from(queue)) {
                    queue.set_vector(vector);
                }
            }),
            Order::SetFilter { function, filter } => self.change(function, |port| port.rules = Rules::new(filter)),
            Order::SetPairs { function, pairs } => {
                self.change(function, |port| port.pairs = pairs.clamp(1, MOST_PAIRS))
            }
            Order::SetHash { function, hash } => self.change(function, |port| port.steering.set(&hash)),
            Order::SetCoalescing { function, queue, hold } => self.set_coalescing(function, queue, hold),
            Order::SetLink { function, up } => {
                self.change(function, |port| port.link = up);
                self.settle(function);
            }
            Order::SetFabric { function, on } => {
                self.change(function, |port| port.fabric = on);
                self.fabric.review(function);
            }
            Order::SetFrameLimit { function, octets } => {
                self.change(function, |port| port.frame_limit = octets.min(LONGEST));
            }
            Order::SetOffloads { function, offloads } => self.change(function, |port| port.set_offloads(offloads)),
            Order::Kick { function, queue } => self.doorbell(function, queue),
            Order::SetKick { function, queue, kick, done } => {
                self.set_kick(function, queue, kick);
                receipt(&done);
            }
            Order::SetEnabled { function, queue, on } => self.enable(function, queue, on),
            Order::TakeQueue { function, queue, position } => self.take(function, queue, &position),
            Order::Fence { done } => receipt(&done),
            Order::Stands { function, stands } => {
                let _ = stands.send(self.fabric.get(function).and_then(|port| port.stands())); // as with a receipt
            }
            Order::SetDirty { function, dirty, done } => {
                self.change(function, |port| port.dirty = dirty);
                receipt(&done);
            }
            Order::Announce { function, address } => self.announce(function, address),
            Order::Complete { function, queue, ticket, reply } => self.complete(function, queue, ticket, reply),
        }
    }

    fn add(&mut self, function: FunctionId, tap: Option<Tap>, lines: Arc<Lines>, counters: FunctionCounters) {
        self.forget(function);
        if function as usize >= FUNCTIONS {
            return log::error!("function {function} cannot be: the last one is {}", FUNCTIONS - 1);
        }
        let home = self.least_loaded();
        self.crew.settle(function, None, home);
        if let Some(Err(error)) = tap.as_ref().map(|tap| self.watch(function, tap.as_fd())) {
            log::error!("function {function}: its representor cannot be watched, so nothing comes from it: {error}");
        }
        let port = Function::new(function, self.company(), tap, lines, counters);
        self.fabric.functions[function as usize] = Some(Box::new(port));
        self.fabric.review(function);
        self.readable(function);
    }

    fn remove(&mut self, function: FunctionId, done: &Receipt) {
        self.forget(function);
        receipt(done);
    }

    fn forget(&mut self, function: FunctionId) {
        self.drop_kicks(function, |_| true);
        if let Some(mut port) = self.fabric.functions.get_mut(function as usize).and_then(Option::take) {
            self.let_go(function, |_| true);
            if let Some(tap) = port.tap.take() {
                self.unwatch(function, tap.as_fd());
                self.closer.close(tap);
            }
            self.fabric.review(function);
        }
    }

    fn set_memory(&mut self, function: FunctionId, table: Arc<Table>, done: &Receipt) {
        self.change(function, |port| port.set_memory(table));
        self.check_queues(function);
        receipt(done);
    }

    fn start(&mut self, function: FunctionId, setup: &QueueSetup) {
        self.let_go(function, |queue| queue == Some(setup.queue));
        if setup.role == Role::Transmit {
            let home = self.least_loaded();
            self.rehome(Thing { function, queue: Some(setup.queue) }, home);
        }
        let tickets = self.fabric.tickets.load(Relaxed);
        let Some(port) = self.fabric.get(function) else { return };
        let frozen = port.frozen;
        let mut queue = Queue::new(setup, &port.memory, tickets);
        queue.iter_mut().for_each(|queue| port.moderate(setup.queue, queue));
        port.polled.set(setup.queue, false);
        match (queue, port.place(setup.queue)) {
            (Ok(mut queue), Some(slot)) => {
                queue.ring().suppress();
                *slot = if frozen { Slot::Parked(queue) } else { Slot::Running(queue) };
                self.check_queues(function);
            }
            (Err(fault), Some(_)) => self.fault(function, fault),
            (_, None) => log::error!("function {function}: there is no queue {}", setup.queue),
        }
    }

    /// What drivers were to be interrupted for is told them before: a frozen function says nothing.
    fn freeze(&mut self, function: FunctionId, on: bool) {
        if on {
            self.hold_nothing_back(function);
            self.let_go(function, |queue| queue.is_some());
            self.change(function, |port| port.dirty.iter().for_each(|dirty| dirty.all_rings()));
        }
        self.change(function, |port| port.freeze(on));
        self.check_queues(function);
    }

    fn stop(&mut self, function: FunctionId, queue: u16, done: &Receipt) {
        self.halt(function, queue);
        receipt(done);
    }

    fn take(&mut self, function: FunctionId, queue: u16, position: &SyncSender<Option<u16>>) {
        let slot = self.fabric.get(function).and_then(|port| port.queues.get_mut(usize::from(queue)));
        let stands = match slot {
            Some(Slot::Running(queue) | Slot::Parked(queue)) => Some(queue.ring().hand_back()),
            Some(Slot::Stopped) | None => None,
        };
        self.change(function, |port| port.dirty.iter().for_each(|dirty| dirty.ring(queue)));
        self.halt(function, queue);
        let _ = position.send(stands); // the one who waits may have given up
    }

    fn enable(&mut self, function: FunctionId, queue: u16, on: bool) {
        let Some(bit) = 1u128.checked_shl(queue.into()) else { return };
        self.change(function, |port| if on { port.disabled &= !bit } else { port.disabled |= bit });
        self.settle(function);
    }

    fn halt(&mut self, function: FunctionId, queue: u16) {
        self.let_go(function, |item| item == Some(queue));
        self.change(function, |port| {
            if let Some(slot) = port.queues.get_mut(usize::from(queue)) {
                *slot = Slot::Stopped;
                port.polled.set(queue, false);
            }
        });
        self.settle(function);
    }

    /// Queues started, or came back: whatever waits in their rings is seen to, as if they had been notified.
    fn check_queues(&mut self, function: FunctionId) {
        let Some(port) = self.fabric.get(function) else { return };
        for queue in 0..port.queues.len() as u16 {
            match self.fabric.get(function).and_then(|port| port.running(queue)) {
                Some(Queue::Transmit(_)) => self.doorbell(function, queue),
                Some(Queue::Control(ring)) => match ring.get_mut().kept() {
                    Some((ticket, reply)) => self.complete(function, queue, ticket, reply),
                    None => self.doorbell(function, queue),
                },
                _ => {}
            }
        }
        self.settle(function);
    }

    fn change(&mut self, function: FunctionId, change: impl FnOnce(&mut Function)) {
        if let Some(port) = self.fabric.get(function) {
            change(port);
        }
    }
}

/// The one who waits may have given up.
fn receipt(done: &Receipt) {
    let _ = done.send(());
}
