//! Queues whose driver notifies by an eventfd of its own (vhost-user), which the worker watches itself; and queues whose
//! driver does not notify at all.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;

use super::engine::Engine;
use super::orders::FunctionId;
use super::turn::Turn;
use crate::counters::{QUEUES, Queue as Counter};

/// How the driver says that buffers are there.
pub enum Kick {
    Eventfd(OwnedFd),
    /// It does not: the queue is polled for as long as it runs.
    Never,
    /// There is no driver, or it notifies by the pump.
    Elsewhere,
}

/// Events of taps are numbered by function; those of kicks have the queue, counted from 1, above that.
const QUEUE_SHIFT: u32 = 32;

/// What an event of a kick is known by.
pub fn number(function: FunctionId, queue: u16) -> u64 {
    u64::from(function) | u64::from(queue + 1) << QUEUE_SHIFT
}

impl Turn<'_> {
    /// Something that a worker watches is ready: a tap, or a kick.
    pub fn ready(&mut self, number: u64) {
        let function = number as FunctionId;
        match (number >> QUEUE_SHIFT) as u16 {
            0 => self.readable(function),
            queue => self.kicked(function, queue - 1),
        }
    }

    fn kicked(&mut self, function: FunctionId, queue: u16) {
        if let Some(port) = self.fabric.function(function) {
            port.counters.queue(queue).add(Counter::Doorbells, 1);
            self.doorbell(function, queue);
        }
    }
}

impl Engine {
    /// Watches another kick of a queue, in place of the one before. It is watched for each write and never read: a read
    /// could be made to wait.
    pub(super) fn set_kick(&mut self, function: FunctionId, queue: u16, kick: Kick) {
        let index = usize::from(queue);
        if index >= QUEUES {
            return;
        }
        self.drop_kicks(function, |other| other == index);
        let epoll = self.crew.desks[self.crew.home(function, Some(queue))].epoll.clone();
        let Some(port) = self.fabric.functions.get_mut(function as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        match kick {
            Kick::Eventfd(eventfd) => {
                let data = number(function, queue);
                let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                if let Err(error) = epoll::add(&*epoll, &eventfd, epoll::EventData::new_u64(data), flags) {
                    log::error!("function {function}: queue {queue} cannot be watched, so it stands still: {error}");
                }
                port.kicks.resize_with(port.kicks.len().max(index + 1), || None);
                port.kicks[index] = Some(eventfd);
            }
            Kick::Never => {
                port.unkicked |= 1 << queue;
                self.doorbell(function, queue);
            }
            Kick::Elsewhere => {}
        }
    }

    /// To be called before these kicks are closed: the driver holds them open, and their events would go on.
    pub(super) fn drop_kicks(&mut self, function: FunctionId, which: impl Fn(usize) -> bool) {
        let Some(port) = self.fabric.functions.get_mut(function as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let kicks = port.kicks.iter_mut().enumerate().filter(|(queue, _)| which(*queue));
        let crew = &self.crew;
        for (queue, eventfd) in kicks.filter_map(|(queue, kick)| Some((queue, kick.take()?))) {
            let epoll = &*crew.desks[crew.home(function, Some(queue as u16))].epoll;
            let _ = epoll::delete(epoll, eventfd.as_fd());
        }
        (0..QUEUES).filter(|queue| which(*queue)).for_each(|queue| port.unkicked &= !(1 << queue));
    }
}
