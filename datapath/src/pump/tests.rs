//! The pump with a real worker, and with controllers and VMMs that are played here.

mod front_end;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use serde_bytes::ByteBuf;

use super::export::{Export, Made};
use super::function::{Function, Peer};
use super::poll::READ;
use super::*;
use crate::control::messages::{
    Answer, AnyEffect, Description, EventKind, Freeze, FromController, FromDatapath, Positioned, Positions, Region,
    Role, Standing, StartQueue, Update,
};
use crate::pump::wire::Header;

/// A pump that serves functions 0 and 1, and a VMM on each that has agreed on a version.
struct Bench {
    pump: Pump,
    address: SocketAddrUnix,
    vmms: [UnixStream; 2],
}

/// A name that no other test uses, in the abstract namespace.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("softdpu-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn pump() -> (Pump, SocketAddrUnix) {
    let address = SocketAddrUnix::new_abstract_name(name().as_bytes()).unwrap();
    let listener = seqpacket();
    bind(&listener, &address).unwrap();
    listen(&listener, 4).unwrap();
    let (worker, notices) = crate::worker::spawn().unwrap();
    let pump = Pump::new(worker, notices, Control::new(listener).unwrap(), Counters::new().unwrap());
    (pump.unwrap(), address)
}

fn function(pump: &mut Pump, id: u32) -> (Function, SocketAddr) {
    let address = SocketAddr::from_abstract_name(name()).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let regions = vec![Region { index: 7, size: 4096 }];
    let description =
        Description { regions, vectors: 0, doorbells: vec![], isr: vec![], pending: None, without_intx: false };
    let (state, effects, counters) = (Vec::new(), vec![], pump.counters.function(id));
    let made = Made { id, state, effects, representor: None, counters, records: None };
    let made = Function::create(made, description, listener.into(), &mut pump.world);
    (made.unwrap(), address)
}

fn serve_function(pump: &mut Pump, id: u32) -> SocketAddr {
    let (function, address) = function(pump, id);
    pump.functions.insert(id, Box::new(function));
    address
}

impl Bench {
    fn new() -> Self {
        let (mut pump, address) = pump();
        let vmms = [0, 1].map(|function| UnixStream::connect_addr(&serve_function(&mut pump, function)).unwrap());
        let mut bench = Self { pump, address, vmms };
        for vmm in [0, 1] {
            bench.turn();
            assert_eq!(bench.ask(vmm, 1, &[0; 4])[..2], [1, 0]);
        }
        bench
    }

    /// Deals with what has come.
    fn turn(&mut self) {
        for (token, flags) in self.pump.world.poller.wait(Some(Duration::ZERO)).unwrap() {
            self.pump.dispatch(token, flags);
        }
    }

    /// Sends a command; returns what the VMM receives, nothing if its connection is closed.
    fn ask(&mut self, vmm: usize, command: u16, body: &[u8]) -> Vec<u8> {
        let header = Header { id: 1, command, size: 0, flags: 0 };
        let mut message = header.reply(body);
        message[8..12].fill(0); // not a reply
        let _ = self.vmms[vmm].write_all(&message);
        self.turn();
        self.vmms[vmm].set_nonblocking(true).unwrap();
        let mut reply = vec![0; 1024];
        let count = self.vmms[vmm].read(&mut reply).unwrap_or(0);
        reply.truncate(count);
        reply
    }
}

#[test]
fn a_panic_costs_its_own_vmm_the_connection_and_nobody_else() {
    let mut bench = Bench::new();
    bench.pump.guarded(0, |_, _| panic!("on purpose"));
    let get_info = [&[16, 0, 0, 0][..], &[0; 12]].concat();
    assert_eq!(bench.ask(1, 4, &get_info).len(), 32);
    assert!(bench.ask(0, 4, &get_info).is_empty());
    assert!(!bench.pump.functions[&0].has_peer() && bench.pump.functions[&1].has_peer());
}

#[test]
fn a_panic_while_a_vmm_leaves_does_not_keep_the_next_one_out() {
    let (mut pump, _) = pump();
    let (mut function, address) = function(&mut pump, 0);
    let mut vmm = UnixStream::connect_addr(&address).unwrap();
    vmm.write_all(&[&[1, 0, 1, 0, 20, 0, 0, 0][..], &[0; 12]].concat()).unwrap();
    function.happened(Token::Listener(0), READ, &mut pump.world);
    function.happened(Token::Vmm(0, 1), READ, &mut pump.world);
    assert!(function.connected());
    function.depart(&mut pump.world);
    assert!(matches!(function.peer, Peer::Leaving));
    function.requests.close(2);
    function.recover(&mut pump.world);
    assert!(matches!(function.peer, Peer::Absent));
}

#[test]
fn nobody_waits_for_ever_for_nobody() {
    let (mut pump, address) = pump();
    assert!(pump.patience().unwrap().unwrap() <= IDLE);
    pump.idle_since = Instant::now().checked_sub(IDLE);
    assert_eq!(pump.patience(), None, "the time is up");
    pump.idle_since = Instant::now().checked_sub(IDLE);
    let controller = seqpacket();
    connect(&controller, &address).unwrap();
    pump.change_controller();
    assert_eq!(pump.patience(), Some(None), "a controller is there");
    drop(controller);
    pump.hear_controller();
    assert!(pump.patience().unwrap().unwrap() > IDLE / 2, "the time starts anew");
}

#[test]
fn a_vmm_is_reason_enough_to_stay() {
    let mut bench = Bench::new();
    assert_eq!(bench.pump.patience(), Some(None));
}

/// The next message to a controller.
fn heard(controller: &OwnedFd) -> Option<FromDatapath> {
    let mut packet = vec![0; 1 << 16];
    let (count, _) = rustix::net::recv(controller, &mut packet[..], rustix::net::RecvFlags::DONTWAIT).ok()?;
    Some(rmp_serde::from_slice(&packet[..count]).unwrap())
}

fn attached(pump: &mut Pump, address: &SocketAddrUnix) -> OwnedFd {
    let controller = seqpacket();
    connect(&controller, address).unwrap();
    pump.change_controller();
    while !matches!(heard(&controller), Some(FromDatapath::AttachedAll(_))) {}
    controller
}

#[test]
fn where_a_function_stands_is_told_when_its_commands_are_answered() {
    let (mut pump, address) = pump();
    let controller = attached(&mut pump, &address);
    let (mut function, _) = function(&mut pump, 0);
    assert_eq!(function.positions(8, &mut pump.world).unwrap_err().0, Errno::BUSY, "it is not frozen");
    function.apply(vec![AnyEffect::Freeze(Freeze { on: true })], &mut pump.world);
    let request = function.requests.command(2, 1, vec![1, 0, 1], 1);
    function.positions(9, &mut pump.world).unwrap();
    assert_eq!(heard(&controller), None, "a command is open");
    let (data, state, effects) = (vec![0].into(), None, vec![]);
    function.answer(Answer { function: 0, request, errno: 0, data, state, effects }, &mut pump.world);
    let standing = Standing { queues: vec![], isr: 0, pending: vec![] };
    assert_eq!(heard(&controller), Some(FromDatapath::Positioned(Positioned { ticket: 9, standing })));
}

#[test]
fn a_ring_that_cannot_be_is_told_before_where_its_function_stands() {
    let mut bench = Bench::new();
    let controller = attached(&mut bench.pump, &bench.address);
    let nowhere = StartQueue {
        queue: 1,
        role: Role::Transmit,
        size: 256,
        descriptor: 0x1000,
        driver: 0x2000,
        device: 0x3000,
        header: 12,
        mergeable: false,
        event_index: false,
        indirect: false,
        vector: 0xffff,
        position: 0,
        packed: false,
        in_order: false,
        resume: false,
        answer: None,
    };
    let effects = vec![AnyEffect::Freeze(Freeze { on: true }), AnyEffect::StartQueue(nowhere)];
    let asked = |message: FromController| {
        rustix::net::send(&controller, &rmp_serde::to_vec_named(&message).unwrap(), SendFlags::empty()).unwrap();
    };
    asked(FromController::Update(Update { ticket: 8, function: 0, state: ByteBuf::new(), effects }));
    asked(FromController::Positions(Positions { ticket: 9, function: 0 }));
    bench.pump.hear_controller();
    let told: Vec<_> = std::iter::from_fn(|| heard(&controller)).collect();
    let [.., FromDatapath::Event(fault), FromDatapath::Positioned(_)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((fault.kind, fault.queue), (EventKind::QueueFault, 1));
}

#[test]
fn the_next_controller_is_not_told_what_the_last_one_asked() {
    let (mut pump, address) = pump();
    let (mut function, _) = function(&mut pump, 0);
    function.apply(vec![AnyEffect::Freeze(Freeze { on: true })], &mut pump.world);
    let request = function.requests.command(2, 1, vec![1, 0, 1], 1);
    function.positions(9, &mut pump.world).unwrap();
    let controller = attached(&mut pump, &address);
    function.ask_again(&mut pump.world);
    let (data, state, effects) = (vec![0].into(), None, vec![]);
    function.answer(Answer { function: 0, request, errno: 0, data, state, effects }, &mut pump.world);
    assert!(matches!(heard(&controller), Some(FromDatapath::Command(_))));
    assert_eq!(heard(&controller), None);
}
