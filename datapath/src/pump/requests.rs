//! What a function asked of the controller and was not yet answered: kept, so that the next controller is asked again.

use std::collections::BTreeMap;

use super::access::Place;
use crate::control::messages::{Access, Command, Event, EventKind, FromDatapath, Migrate, MigrateVerb};

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The VMM waits: a register access, a reset, or what a move of the device takes.
    Vmm,
    /// A chain of this queue waits in the worker, under this ticket.
    Chain { queue: u16, ticket: u64 },
    /// The next VMM waits for the function to have dealt with the last one's leaving.
    Left,
    /// Nobody waits.
    Notice,
}

struct Open {
    message: FromDatapath,
    purpose: Purpose,
    /// Whoever waited has gone. The answer still counts, for it brings the state.
    void: bool,
}

pub struct Requests {
    function: u32,
    last: u64,
    open: BTreeMap<u64, Open>,
}

impl Requests {
    pub fn new(function: u32) -> Self {
        Self { function, last: 0, open: BTreeMap::new() }
    }

    /// Numbers a request and keeps it; returns its number.
    pub fn access(&mut self, place: Place, written: Option<&[u8]>, isr: u8) -> u64 {
        let Place { region, offset, count } = place;
        let (function, request) = self.number();
        let access = Access {
            function,
            request,
            write: written.is_some(),
            region: region.into(),
            offset,
            size: count.into(),
            data: written.unwrap_or_default().to_vec().into(),
            isr: isr.into(),
        };
        self.keep(request, FromDatapath::Access(access), Purpose::Vmm)
    }

    pub fn command(&mut self, queue: u16, ticket: u64, data: Vec<u8>, room: usize) -> u64 {
        let (function, request) = self.number();
        let command = Command { function, request, queue: queue.into(), data: data.into(), room: room as u64 };
        self.keep(request, FromDatapath::Command(command), Purpose::Chain { queue, ticket })
    }

    /// The number is of a state, or of bytes.
    pub fn migrate(&mut self, verb: MigrateVerb, number: u32, data: &[u8]) -> u64 {
        let (function, request) = self.number();
        let (state, size) = if verb == MigrateVerb::SetState { (number.into(), 0) } else { (0, number.into()) };
        let migrate = Migrate { function, request, verb, state, size, data: data.to_vec().into() };
        self.keep(request, FromDatapath::Migrate(migrate), Purpose::Vmm)
    }

    pub fn event(&mut self, kind: EventKind, queue: u16, cause: String) -> u64 {
        let (function, request) = self.number();
        let purpose = match kind {
            EventKind::Reset => Purpose::Vmm,
            EventKind::Disconnected => Purpose::Left,
            EventKind::Connected | EventKind::QueueFault | EventKind::PeerFault => Purpose::Notice,
        };
        let event = Event { function, request, kind, queue: queue.into(), cause };
        self.keep(request, FromDatapath::Event(event), purpose)
    }

    /// An event for whose answer nobody waits.
    pub fn notice(&mut self, kind: EventKind, queue: u16, cause: String) -> u64 {
        let request = self.event(kind, queue, cause);
        self.leave_to_the_next(request);
        request
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Whether the answer to a command is still to come.
    pub fn commands(&self) -> bool {
        self.open.values().any(|open| !open.void && matches!(open.purpose, Purpose::Chain { .. }))
    }

    /// The request is answered. None: it was not open; else what it was for, if somebody still waits.
    pub fn close(&mut self, request: u64) -> Option<Option<Purpose>> {
        self.open.remove(&request).map(|open| Some(open.purpose).filter(|_| !open.void))
    }

    /// Those who wait for these have gone.
    pub fn cancel(&mut self, which: impl Fn(Purpose) -> bool) {
        self.open.values_mut().filter(|open| which(open.purpose)).for_each(|open| open.void = true);
    }

    /// Whether somebody still waits for the answer to a request.
    pub fn waits(&self, request: u64) -> bool {
        self.open.get(&request).is_some_and(|open| !open.void && open.purpose == Purpose::Vmm)
    }

    /// Nobody waits for this one any more. If it is answered all the same, the answer counts.
    pub fn give_up(&mut self, request: u64) {
        if let Some(open) = self.open.get_mut(&request) {
            open.void = true;
        }
    }

    /// Nobody waits for this one any more, but the controller must come to know of it.
    pub fn leave_to_the_next(&mut self, request: u64) {
        if let Some(open) = self.open.get_mut(&request) {
            open.purpose = Purpose::Notice;
        }
    }

    /// Whether such an event is open already.
    pub fn tells(&self, kind: EventKind) -> bool {
        self.open.values().any(|open| matches!(&open.message, FromDatapath::Event(event) if event.kind == kind))
    }

    /// For a new controller: the numbers of all that somebody still waits for, oldest first.
    pub fn again(&mut self) -> Vec<u64> {
        self.open.retain(|_, open| !open.void);
        self.open.keys().copied().collect()
    }

    /// What is to be sent for an open request.
    pub fn message(&self, request: u64) -> Option<&FromDatapath> {
        self.open.get(&request).map(|open| &open.message)
    }

    fn number(&mut self) -> (u64, u64) {
        self.last += 1;
        (self.function.into(), self.last)
    }

    fn keep(&mut self, request: u64, message: FromDatapath, purpose: Purpose) -> u64 {
        self.open.insert(request, Open { message, purpose, void: false });
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { region: 0, offset: 0, count: 1 };

    #[test]
    fn what_is_open_is_asked_again_in_its_order() {
        let mut requests = Requests::new(5);
        requests.event(EventKind::Connected, 0, String::new());
        requests.access(PLACE, None, 0);
        requests.command(2, 77, vec![], 1);
        assert_eq!(requests.close(2), Some(Some(Purpose::Vmm)));
        assert_eq!(requests.close(2), None, "answered twice");
        assert_eq!(requests.again(), [1, 3]);
    }

    #[test]
    fn one_that_took_too_long_is_not_asked_again_but_a_reset_is() {
        let mut requests = Requests::new(5);
        let access = requests.access(PLACE, Some(&[1]), 0);
        let reset = requests.event(EventKind::Reset, 0, String::new());
        assert!(requests.waits(access) && requests.waits(reset));
        requests.give_up(access);
        requests.leave_to_the_next(reset);
        assert!(!requests.waits(access) && !requests.waits(reset));
        assert_eq!(requests.again(), [reset]);
    }

    #[test]
    fn nobody_is_asked_again_for_one_who_has_gone() {
        let mut requests = Requests::new(5);
        requests.access(PLACE, Some(&[1]), 0);
        requests.event(EventKind::Disconnected, 0, String::new());
        requests.cancel(|purpose| purpose == Purpose::Vmm);
        assert_eq!(requests.close(1), Some(None), "the late answer is known");
        assert_eq!(requests.again(), [2]);
        assert!(requests.tells(EventKind::Disconnected) && !requests.tells(EventKind::Reset));
    }
}
