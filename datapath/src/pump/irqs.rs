//! GET_IRQ_INFO and SET_IRQS: what interrupts there are, and what the VMM wants done with them.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::descriptors::prepare_eventfd;
use super::wire::Fields;
use crate::interrupt::{Irq, Lines};

/// The interrupt types of VFIO PCI devices, by index; there is no MSI.
pub const TYPES: [Option<Irq>; 5] = [Some(Irq::Intx), None, Some(Irq::Msix), Some(Irq::Error), Some(Irq::Request)];

const EVENTFD: u32 = 1;
const MASKABLE: u32 = 2;
const AUTOMASKED: u32 = 4;
const INFO_SIZE: u32 = 16;
const SET_SIZE: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Mask,
    Unmask,
    Trigger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    None,
    Bool,
    Eventfd,
}

/// A SET_IRQS whose numbers are known to be in range.
struct Change<'a> {
    irq: Irq,
    action: Action,
    data: Data,
    lines: Range<usize>,
    bools: &'a [u8],
}

/// What the VMM asks beyond the lines themselves.
#[derive(Debug)]
pub enum Wanted {
    Nothing,
    /// This eventfd is signalled when INTx may fire again; None: no longer.
    Resample(Option<OwnedFd>),
}

pub fn info(body: &[u8], lines: &Lines) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(body);
    let (size, _flags, index, _count) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let irq = TYPES.get(index as usize).filter(|_| size >= INFO_SIZE).ok_or(Errno::INVAL)?;
    let count = irq.map_or(0, |irq| lines.count(irq));
    let flags = EVENTFD | if *irq == Some(Irq::Intx) { MASKABLE | AUTOMASKED } else { 0 };
    Ok([INFO_SIZE, flags, index, count].iter().flat_map(|field| field.to_le_bytes()).collect())
}

pub fn set(body: &[u8], fds: Vec<OwnedFd>, lines: &Lines) -> Result<Wanted, Errno> {
    let change = Change::parse(body, lines)?;
    match change.data {
        Data::Eventfd => change.connect(fds, lines),
        _ if !fds.is_empty() => Err(Errno::INVAL),
        // Nothing at all is triggered: the whole type is switched off.
        Data::None if change.lines.is_empty() => {
            lines.unassign(change.irq, 0..lines.count(change.irq) as usize);
            Ok(if change.irq == Irq::Intx { Wanted::Resample(None) } else { Wanted::Nothing })
        }
        _ => {
            change.act(lines);
            Ok(Wanted::Nothing)
        }
    }
}

impl<'a> Change<'a> {
    fn parse(body: &'a [u8], lines: &Lines) -> Result<Self, Errno> {
        let mut fields = Fields(body);
        let (size, flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (start, count) = (fields.u32()?, fields.u32()?);
        let irq = TYPES.get(index as usize).copied().flatten().filter(|_| size >= SET_SIZE).ok_or(Errno::INVAL)?;
        let end = start.checked_add(count).ok_or(Errno::INVAL)?;
        let change = Self {
            irq,
            action: action(flags)?,
            data: data(flags)?,
            lines: start as usize..end as usize,
            bools: fields.rest(),
        };
        let in_range = start < lines.count(irq) && end <= lines.count(irq);
        if in_range && change.makes_sense() { Ok(change) } else { Err(Errno::INVAL) }
    }

    fn makes_sense(&self) -> bool {
        let nothing = self.lines.is_empty();
        let disables = self.lines.start == 0 && self.action == Action::Trigger && self.data == Data::None;
        let maskable = !matches!(self.irq, Irq::Error | Irq::Request) || self.action == Action::Trigger;
        let bools_fit = self.data != Data::Bool || self.bools.len() == self.lines.len();
        (!nothing || disables) && maskable && bools_fit
    }

    fn act(&self, lines: &Lines) {
        let chosen = |index: &usize| self.data == Data::None || self.bools[index - self.lines.start] != 0;
        for index in self.lines.clone().filter(chosen) {
            match self.action {
                Action::Mask => lines.mask(self.irq, index),
                Action::Unmask => lines.unmask(self.irq, index),
                Action::Trigger => lines.trigger(self.irq, index),
            }
        }
    }

    /// One eventfd a line, or none at all, which takes the present ones away.
    fn connect(&self, fds: Vec<OwnedFd>, lines: &Lines) -> Result<Wanted, Errno> {
        if !fds.is_empty() && fds.len() != self.lines.len() {
            return Err(Errno::INVAL);
        }
        fds.iter().try_for_each(prepare_eventfd)?;
        match (self.action, self.irq) {
            (Action::Trigger, _) if fds.is_empty() => lines.unassign(self.irq, self.lines.clone()),
            (Action::Trigger, _) => lines.assign(self.irq, self.lines.start, fds),
            (Action::Unmask, Irq::Intx) => return Ok(Wanted::Resample(fds.into_iter().next())),
            _ => return Err(Errno::OPNOTSUPP),
        }
        Ok(Wanted::Nothing)
    }
}

fn action(flags: u32) -> Result<Action, Errno> {
    match flags & 0x38 {
        0x08 => Ok(Action::Mask),
        0x10 => Ok(Action::Unmask),
        0x20 => Ok(Action::Trigger),
        _ => Err(Errno::INVAL),
    }
}

fn data(flags: u32) -> Result<Data, Errno> {
    match flags & !0x38 {
        1 => Ok(Data::None),
        2 => Ok(Data::Bool),
        4 => Ok(Data::Eventfd),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::counters::Counters;

    const MASK: u32 = 0x08;
    const UNMASK: u32 = 0x10;
    const TRIGGER: u32 = 0x20;

    fn lines() -> Lines {
        Lines::new(3, Counters::new().unwrap().function(0))
    }

    fn body(flags: u32, index: u32, start: u32, count: u32, bools: &[u8]) -> Vec<u8> {
        let numbers = [SET_SIZE, flags, index, start, count];
        numbers.iter().flat_map(|number| number.to_le_bytes()).chain(bools.iter().copied()).collect()
    }

    fn eventfds(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| eventfd(0, EventfdFlags::empty()).unwrap()).collect()
    }

    fn count_of(fd: &OwnedFd) -> u64 {
        let mut value = [0; 8];
        rustix::io::read(fd, &mut value).map_or(0, |_| u64::from_ne_bytes(value))
    }

    #[test]
    fn a_function_without_a_pin_has_no_intx() {
        let lines = lines().without_intx();
        let question: Vec<u8> = [16u32, 0, 0, 0].iter().flat_map(|field| field.to_le_bytes()).collect();
        assert_eq!(info(&question, &lines).unwrap()[12..], [0; 4]);
        assert_eq!(set(&body(TRIGGER | 4, 0, 0, 1, &[]), eventfds(1), &lines).unwrap_err(), Errno::INVAL);
        lines.set_interrupts(false, false);
        assert!(!lines.signal_queue(0));
        assert_eq!(lines.isr(), 1, "for a driver that looks by itself");
    }

    #[test]
    fn what_is_out_of_range_or_contradicts_itself_is_invalid() {
        for (flags, index, start, count) in [
            (TRIGGER | 1, 5, 0, 0),        // no such type
            (TRIGGER | 1, 1, 0, 0),        // no MSI
            (MASK | UNMASK | 1, 2, 0, 1),  // two actions
            (1, 2, 0, 1),                  // no action
            (MASK | 1 | 2, 2, 0, 1),       // two kinds of data
            (MASK, 2, 0, 1),               // no kind of data
            (TRIGGER | 0x40 | 1, 2, 0, 1), // an unknown flag
            (MASK | 1, 2, 2, 2),           // beyond the last vector
            (MASK | 1, 2, 3, 0),           // likewise
            (TRIGGER | 4, 2, 1, u32::MAX), // overflow
            (MASK | 1, 3, 0, 1),           // errors cannot be masked
            (TRIGGER | 1, 4, 0, 2),        // there is one request line
            (TRIGGER | 1, 2, 1, 0),        // nothing, but not from 0
            (MASK | 1, 2, 0, 0),           // nothing, but not triggered
            (TRIGGER | 2, 2, 0, 0),        // nothing, with data
            (TRIGGER | 4, 2, 0, 0),        // likewise
        ] {
            let got = set(&body(flags, index, start, count, &[]), vec![], &lines());
            assert_eq!(got.unwrap_err(), Errno::INVAL, "{flags:#x} {index} {start} {count}");
        }
    }

    #[test]
    fn descriptors_are_as_many_as_lines_and_come_with_eventfd_data_only() {
        let lines = lines();
        for (flags, count, bools) in [(TRIGGER | 2, 1, &[0][..]), (TRIGGER | 1, 1, &[]), (TRIGGER | 4, 2, &[])] {
            let got = set(&body(flags, 2, 0, count, bools), eventfds(1), &lines);
            assert_eq!(got.unwrap_err(), Errno::INVAL, "{flags:#x} {count}");
        }
    }

    #[test]
    fn only_eventfds_are_taken() {
        let pipe = rustix::pipe::pipe().unwrap().1;
        assert_eq!(set(&body(TRIGGER | 4, 2, 0, 1, &[]), vec![pipe], &lines()).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn bools_choose_among_the_lines() {
        let lines = lines();
        let fds = eventfds(2);
        let copies = fds.iter().map(|fd| fd.try_clone().unwrap()).collect();
        set(&body(TRIGGER | 4, 2, 1, 2, &[]), copies, &lines).unwrap();
        set(&body(TRIGGER | 2, 2, 1, 2, &[0, 1]), vec![], &lines).unwrap();
        assert_eq!((count_of(&fds[0]), count_of(&fds[1])), (0, 1));
        for bools in [&[1][..], &[1; 3]] {
            assert_eq!(set(&body(TRIGGER | 2, 2, 1, 2, bools), vec![], &lines).unwrap_err(), Errno::INVAL);
        }
    }

    #[test]
    fn eventfd_data_without_descriptors_takes_them_away() {
        let lines = lines();
        let fd = eventfds(1).remove(0);
        set(&body(TRIGGER | 4, 2, 0, 1, &[]), vec![fd.try_clone().unwrap()], &lines).unwrap();
        set(&body(TRIGGER | 4, 2, 0, 1, &[]), vec![], &lines).unwrap();
        set(&body(TRIGGER | 1, 2, 0, 1, &[]), vec![], &lines).unwrap();
        assert_eq!(count_of(&fd), 0);
    }

    #[test]
    fn an_unmask_eventfd_is_for_intx_only() {
        let got = set(&body(UNMASK | 4, 0, 0, 1, &[]), eventfds(1), &lines());
        assert!(matches!(got, Ok(Wanted::Resample(Some(_)))));
        assert_eq!(set(&body(UNMASK | 4, 2, 0, 1, &[]), eventfds(1), &lines()).unwrap_err(), Errno::OPNOTSUPP);
        assert_eq!(set(&body(MASK | 4, 0, 0, 1, &[]), eventfds(1), &lines()).unwrap_err(), Errno::OPNOTSUPP);
    }

    #[test]
    fn info_tells_how_many_and_what_they_can() {
        let ask = |index: u32| {
            info(&[16, 0, index, 0].iter().flat_map(|n: &u32| n.to_le_bytes()).collect::<Vec<_>>(), &lines())
        };
        let told = |flags: u32, index: u32, count: u32| {
            Ok([16, flags, index, count].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())
        };
        assert_eq!(ask(0), told(EVENTFD | MASKABLE | AUTOMASKED, 0, 1));
        assert_eq!(ask(1), told(EVENTFD, 1, 0));
        assert_eq!(ask(2), told(EVENTFD, 2, 3));
        assert_eq!(ask(4), told(EVENTFD, 4, 1));
        assert_eq!(ask(5), Err(Errno::INVAL));
    }
}
