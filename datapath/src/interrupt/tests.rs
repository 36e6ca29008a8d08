use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::counters::Counters;

fn lines(vectors: u16) -> Lines {
    Lines::new(vectors, Counters::new().unwrap().function(0))
}

/// An eventfd for the lines, and one for the test to read.
fn pair() -> (OwnedFd, OwnedFd) {
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    (fd.try_clone().unwrap(), fd)
}

fn fired(fd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
}

#[test]
fn intx_masks_itself_and_fires_again_on_unmask_while_isr_is_set() {
    let (lines, (theirs, mine)) = (lines(0), pair());
    lines.assign(Irq::Intx, 0, vec![theirs]);
    assert!(lines.signal_queue(NO_VECTOR));
    assert!(!lines.signal_queue(NO_VECTOR), "masked by itself");
    assert_eq!(fired(&mine), 1);
    lines.unmask(Irq::Intx, 0);
    assert_eq!(fired(&mine), 1, "the ISR is still set");
    assert_eq!(lines.take_isr(), ISR_QUEUE);
    lines.unmask(Irq::Intx, 0);
    assert_eq!(fired(&mine), 0, "the ISR was read");
}

#[test]
fn intx_waits_while_disabled_or_masked_by_the_vmm() {
    let (lines, (theirs, mine)) = (lines(0), pair());
    lines.assign(Irq::Intx, 0, vec![theirs]);
    lines.set_interrupts(false, true);
    assert!(!lines.signal_config());
    lines.set_interrupts(false, false);
    assert_eq!((fired(&mine), lines.isr()), (1, ISR_CONFIG));
    lines.acknowledge(ISR_CONFIG);
    lines.unmask(Irq::Intx, 0);
    lines.mask(Irq::Intx, 0);
    assert!(!lines.signal_queue(0));
    lines.unmask(Irq::Intx, 0);
    assert_eq!(fired(&mine), 1);
}

#[test]
fn intx_tells_on_assignment_what_happened_before() {
    let (lines, (theirs, mine)) = (lines(0), pair());
    assert!(!lines.signal_queue(NO_VECTOR));
    lines.assign(Irq::Intx, 0, vec![theirs]);
    assert_eq!(fired(&mine), 1);
}

#[test]
fn a_vector_without_eventfd_is_pending_until_it_has_one() {
    let (lines, (theirs, mine)) = (lines(10), pair());
    lines.set_interrupts(true, false);
    assert!(!lines.signal_queue(9));
    let mut pending = [0; 8];
    lines.read_pending(0, &mut pending);
    assert_eq!(pending, [0, 2, 0, 0, 0, 0, 0, 0]);
    lines.assign(Irq::Msix, 9, vec![theirs]);
    lines.read_pending(1, &mut pending);
    assert_eq!((fired(&mine), pending), (1, [0; 8]));
    assert_eq!(lines.isr(), 0, "MSI-X leaves the ISR alone");
}

#[test]
fn a_masked_vector_is_pending_and_fires_once_when_unmasked() {
    let (lines, (theirs, mine)) = (lines(1), pair());
    lines.set_interrupts(true, false);
    lines.assign(Irq::Msix, 0, vec![theirs]);
    lines.mask(Irq::Msix, 0);
    assert!(!lines.signal_queue(0) && !lines.signal_queue(0));
    lines.unmask(Irq::Msix, 0);
    assert_eq!(fired(&mine), 1);
}

#[test]
fn a_vector_that_is_not_there_interrupts_nobody() {
    let lines = lines(2);
    lines.set_interrupts(true, false);
    assert!(!lines.signal_queue(NO_VECTOR) && !lines.signal_queue(2) && !lines.signal_config());
}

#[test]
fn the_configuration_vector_is_its_own() {
    let (lines, (theirs, mine)) = (lines(3), pair());
    lines.set_interrupts(true, false);
    lines.assign(Irq::Msix, 2, vec![theirs]);
    lines.set_config_vector(2);
    assert!(lines.signal_config());
    assert_eq!(fired(&mine), 1);
}

#[test]
fn reset_forgets_what_was_to_be_delivered() {
    let (lines, (theirs, mine)) = (lines(1), pair());
    lines.signal_queue(0);
    lines.set_interrupts(true, false);
    lines.signal_queue(0);
    lines.reset();
    lines.assign(Irq::Msix, 0, vec![theirs]);
    assert_eq!((fired(&mine), lines.isr()), (0, 0));
}

#[test]
fn no_eventfd_outlives_its_vmm() {
    let (lines, (theirs, mine)) = (lines(1), pair());
    lines.set_interrupts(true, false);
    lines.assign(Irq::Msix, 0, vec![theirs]);
    lines.drop_eventfds();
    assert!(!lines.signal_queue(0));
    assert_eq!(fired(&mine), 0);
}

#[test]
fn a_trigger_of_the_vmm_writes_the_eventfd_only() {
    let (lines, (theirs, mine)) = (lines(1), pair());
    lines.assign(Irq::Request, 0, vec![theirs]);
    lines.trigger(Irq::Request, 0);
    assert_eq!((fired(&mine), lines.isr()), (1, 0));
}

/// An eventfd that blocks whoever writes to it.
fn full() -> OwnedFd {
    let full = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    full
}

/// Gives both vectors eventfds that block, so many times over, and tries to fire them.
fn block(lines: &Lines, times: usize) {
    for _ in 0..times {
        let full = full();
        lines.assign(Irq::Msix, 0, vec![full.try_clone().unwrap(), full]);
        assert!(!lines.signal_queue(0) && !lines.signal_queue(1), "neither is written");
    }
}

#[test]
fn an_eventfd_that_is_full_and_blocks_costs_its_own_vmm_the_interrupts() {
    let guard = crate::guard::Guard::spawn().unwrap();
    let counters = crate::counters::Counters::new().unwrap();
    let lines = Lines::new(2, counters.function(0));
    guard.watch(lines.mark());
    lines.set_interrupts(true, false);
    for strike in 1..=4 {
        block(&lines, 1);
        assert_eq!(counters.function(0).get(Function::StuckInterrupts), strike.min(3), "after three it is not tried");
    }
}

#[test]
fn the_next_vmm_does_not_pay_for_the_eventfds_of_the_last() {
    let guard = crate::guard::Guard::spawn().unwrap();
    let (lines, (theirs, mine)) = (lines(2), pair());
    guard.watch(lines.mark());
    lines.set_interrupts(true, false);
    block(&lines, 3);
    lines.drop_eventfds();
    lines.reset();
    lines.assign(Irq::Msix, 0, vec![theirs]);
    assert!(lines.signal_queue(0));
    assert_eq!(fired(&mine), 1);
}

#[test]
fn what_was_not_delivered_elsewhere_is_delivered_here_once() {
    let (lines, (theirs, mine)) = (lines(3), pair());
    lines.set_interrupts(true, false);
    lines.assign(Irq::Msix, 1, vec![theirs]);
    lines.set_pending(0, &[1, 2, 9]);
    assert_eq!((fired(&mine), lines.pending()), (1, vec![2]), "the one without an eventfd waits");
    lines.set_pending(0, &[]);
    assert_eq!(fired(&mine), 0);
}

#[test]
fn isr_bits_that_came_along_raise_intx() {
    let (lines, (theirs, mine)) = (lines(0), pair());
    lines.assign(Irq::Intx, 0, vec![theirs]);
    lines.set_pending(ISR_CONFIG, &[]);
    assert_eq!((fired(&mine), lines.take_isr()), (1, ISR_CONFIG));
}

#[test]
fn isr_bits_are_shown_as_they_come_and_go() {
    let counters = Counters::new().unwrap();
    let (lines, shown) = (Lines::new(0, counters.function(3)), counters.function(3));
    lines.signal_queue(NO_VECTOR);
    lines.signal_config();
    assert_eq!(shown.isr(), 3);
    lines.acknowledge(ISR_QUEUE);
    assert_eq!(shown.isr(), 2);
    lines.take_isr();
    assert_eq!(shown.isr(), 0);
    lines.set_pending(ISR_CONFIG, &[]);
    lines.reset();
    assert_eq!(shown.isr(), 0);
}
