//! The interrupt lines of one function: which eventfds the VMM assigned, what is enabled, what is pending.
//!
//! The worker signals, the pump assigns; both may at once. Delivery depends on the eventfds alone: the mask bits of the
//! MSI-X table are the VMM's business. INTx is a level: the OR of the ISR bits, while MSI-X is off and INTx not disabled.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::counters::{Function, FunctionCounters};
use crate::guard::Mark;

/// ISR status bits (virtio 1.3 §4.1.4.5).
pub const ISR_QUEUE: u8 = 1;
pub const ISR_CONFIG: u8 = 2;

/// No MSI-X vector is mapped to the event.
pub const NO_VECTOR: u16 = 0xffff;

/// How often a VMM may let a write block before no more eventfds are taken on its connection.
const STRIKES: u8 = 3;

/// The interrupt types of VFIO_DEVICE_GET_IRQ_INFO that a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irq {
    Intx,
    Msix,
    /// Accepted, never fired by the device.
    Error,
    Request,
}

pub struct Lines {
    state: Mutex<State>,
    counters: FunctionCounters,
    mark: Arc<Mark>,
}

struct State {
    /// The one line of each type that is not MSI-X.
    intx: Option<Line>,
    error: Line,
    request: Line,
    vectors: Vec<Line>,
    isr: u8,
    msix: bool,
    intx_disabled: bool,
    config_vector: u16,
    /// How often an eventfd of the VMM that is there blocked whoever wrote to it.
    strikes: u8,
}

#[derive(Default)]
struct Line {
    eventfd: Option<OwnedFd>,
    masked: bool,
    pending: bool,
    /// Writing to it blocked.
    stuck: bool,
}

impl Lines {
    /// Lines of a function with this many MSI-X vectors. The function's `interrupts` counter is written here alone.
    pub fn new(vectors: u16, counters: FunctionCounters) -> Self {
        let state = State {
            intx: Some(Line::default()),
            error: Line::default(),
            request: Line::default(),
            vectors: (0..vectors).map(|_| Line::default()).collect(),
            isr: 0,
            msix: false,
            intx_disabled: false,
            config_vector: NO_VECTOR,
            strikes: 0,
        };
        Self { state: Mutex::new(state), counters, mark: Arc::default() }
    }

    /// Of a function without an interrupt pin: there is no INTx.
    pub fn without_intx(self) -> Self {
        self.lock().intx = None;
        self
    }

    /// For whoever sees to it that nobody waits in here.
    pub fn mark(&self) -> &Arc<Mark> {
        &self.mark
    }

    // ---- from the worker

    /// A queue used buffers and its driver wants to know. True if the VMM was interrupted.
    pub fn signal_queue(&self, vector: u16) -> bool {
        self.with(|state| state.signal(vector, ISR_QUEUE)) > 0
    }

    // ---- from the function, by way of the pump

    /// The device configuration changed. True if the VMM was interrupted.
    pub fn signal_config(&self) -> bool {
        self.with(|state| state.signal(state.config_vector, ISR_CONFIG)) > 0
    }

    pub fn set_interrupts(&self, msix: bool, intx_disabled: bool) {
        self.with(|state| {
            (state.msix, state.intx_disabled) = (msix, intx_disabled);
            state.raise_intx()
        });
    }

    pub fn set_config_vector(&self, vector: u16) {
        self.lock().config_vector = vector;
    }

    /// The driver reset the device: nothing waits to be delivered any more (virtio 1.3 §2.4.1).
    pub fn reset(&self) {
        self.change(|state| {
            state.isr = 0;
            state.config_vector = NO_VECTOR;
            state.vectors.iter_mut().for_each(|line| line.pending = false);
        });
    }

    /// What was not delivered where the function was before: it is now, or as soon as it can be.
    pub fn set_pending(&self, isr: u8, vectors: &[u16]) {
        self.with(|state| {
            state.isr |= isr;
            for vector in vectors {
                if let Some(line) = state.vectors.get_mut(usize::from(*vector)) {
                    line.pending = true;
                }
            }
            state.raise_intx() + state.fire_pending()
        });
    }

    /// The vectors that are pending.
    pub fn pending(&self) -> Vec<u16> {
        let state = self.lock();
        (0u16..).zip(&state.vectors).filter(|(_, line)| line.pending).map(|(vector, _)| vector).collect()
    }

    // ---- registers

    pub fn isr(&self) -> u8 {
        self.lock().isr
    }

    /// What a driver's read of the ISR status returns; it clears the bits.
    pub fn take_isr(&self) -> u8 {
        self.change(|state| std::mem::take(&mut state.isr))
    }

    pub fn acknowledge(&self, bits: u8) {
        self.change(|state| state.isr &= !bits);
    }

    /// Bytes `offset..` of the MSI-X pending bit array (PCI 3.0 §6.8.2.10); bits without a vector read as zero.
    pub fn read_pending(&self, offset: usize, bytes: &mut [u8]) {
        let state = self.lock();
        let bit = |index: usize| state.vectors.get(index).is_some_and(|line| line.pending);
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..8).fold(0, |value, n| value | u8::from(bit((offset + i) * 8 + n)) << n);
        }
    }

    // ---- from the VMM (DEVICE_SET_IRQS)

    /// How many interrupts of a type there are.
    pub fn count(&self, irq: Irq) -> u32 {
        self.lock().lines(irq).len() as u32
    }

    /// Assigns an eventfd to each line from `start` on; a line that has something to tell fires at once.
    pub fn assign(&self, irq: Irq, start: usize, eventfds: Vec<OwnedFd>) {
        self.with(|state| {
            if state.strikes >= STRIKES {
                return 0;
            }
            for (line, eventfd) in state.lines(irq)[start..].iter_mut().zip(eventfds) {
                (line.eventfd, line.masked) = (Some(eventfd), false);
            }
            state.catch_up(irq)
        });
    }

    pub fn unassign(&self, irq: Irq, lines: Range<usize>) {
        self.lock().lines(irq)[lines].iter_mut().for_each(|line| line.eventfd = None);
    }

    pub fn mask(&self, irq: Irq, index: usize) {
        self.lock().lines(irq)[index].masked = true;
    }

    /// INTx fires again while an ISR bit is still set; a vector fires if it is pending.
    pub fn unmask(&self, irq: Irq, index: usize) {
        self.with(|state| {
            state.lines(irq)[index].masked = false;
            state.catch_up(irq)
        });
    }

    /// The VMM asks for an interrupt of its own (loop-back test): the eventfd is written, nothing else changes.
    pub fn trigger(&self, irq: Irq, index: usize) {
        self.with(|state| state.lines(irq)[index].write());
    }

    /// The VMM has gone: its eventfds are closed, and the next one has a clean record. What is pending and the ISR bits
    /// stay until the function is reset.
    pub fn drop_eventfds(&self) {
        let mut state = self.lock();
        state.strikes = 0;
        for irq in [Irq::Intx, Irq::Msix, Irq::Error, Irq::Request] {
            state.lines(irq).iter_mut().for_each(|line| (line.eventfd, line.masked) = (None, false));
        }
    }

    /// Changes the state and counts the interrupts sent: one thread at a time does, and so each counter has one writer.
    fn with(&self, change: impl FnOnce(&mut State) -> u64) -> u64 {
        self.change(|state| {
            let (sent, late) = self.mark.during(|| change(state));
            if late && state.strike() {
                let number = self.counters.number();
                log::warn!(
                    "function {number}: its VMM let an interrupt block: none of its eventfds is written any more"
                );
                self.counters.add(Function::StuckInterrupts, 1);
            }
            if sent > 0 {
                self.counters.add(Function::Interrupts, sent);
            }
            sent
        })
    }

    /// Changes the state; ISR bits are shown as they come and go.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let before = state.isr;
        let result = change(&mut state);
        if state.isr != before {
            self.counters.show_isr(state.isr);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lines(&mut self, irq: Irq) -> &mut [Line] {
        match irq {
            Irq::Intx => self.intx.as_mut_slice(),
            Irq::Msix => &mut self.vectors,
            Irq::Error => std::slice::from_mut(&mut self.error),
            Irq::Request => std::slice::from_mut(&mut self.request),
        }
    }

    fn signal(&mut self, vector: u16, bit: u8) -> u64 {
        if !self.msix {
            self.isr |= bit;
            return self.raise_intx();
        }
        self.vectors.get_mut(usize::from(vector)).map_or(0, Line::fire)
    }

    /// INTx is raised once, then masks itself until the VMM unmasks it.
    fn raise_intx(&mut self) -> u64 {
        let level = self.isr != 0 && !self.msix && !self.intx_disabled;
        let Some(line) = self.intx.as_mut().filter(|line| level && !line.masked && line.eventfd.is_some()) else {
            return 0;
        };
        line.masked = true;
        line.write()
    }

    fn catch_up(&mut self, irq: Irq) -> u64 {
        match irq {
            Irq::Intx => self.raise_intx(),
            Irq::Msix => self.fire_pending(),
            Irq::Error | Irq::Request => 0,
        }
    }

    /// Stops at one that blocks: the others of the same VMM may be no better.
    fn fire_pending(&mut self) -> u64 {
        let mut sent = 0;
        for line in self.vectors.iter_mut().filter(|line| line.pending) {
            sent += line.fire();
            if line.stuck {
                break;
            }
        }
        sent
    }

    /// Drops every eventfd if one was found to block. A VMM that does so again and again is given no more chances.
    fn strike(&mut self) -> bool {
        let all = [Irq::Intx, Irq::Msix, Irq::Error, Irq::Request];
        let stuck = all.iter().any(|irq| self.lines(*irq).iter_mut().any(|line| std::mem::take(&mut line.stuck)));
        if stuck {
            self.strikes = self.strikes.saturating_add(1);
            all.iter().for_each(|irq| self.lines(*irq).iter_mut().for_each(|line| line.eventfd = None));
        }
        stuck
    }
}

impl Line {
    /// Delivers a message-signalled interrupt, or remembers it until it can be delivered.
    fn fire(&mut self) -> u64 {
        self.pending = self.masked || self.eventfd.is_none();
        if self.pending { 0 } else { self.write() }
    }

    /// The number of interrupts sent. A full eventfd needs no further write: its reader is behind.
    fn write(&mut self) -> u64 {
        let Some(eventfd) = &self.eventfd else { return 0 };
        // Only a write that waits is interrupted (see `guard`).
        self.stuck = rustix::io::write(eventfd, &1u64.to_ne_bytes()) == Err(Errno::INTR);
        u64::from(!self.stuck)
    }
}

#[cfg(test)]
mod tests;
