//! What the controller asks for: functions made, changed and ended.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::Pump;
use super::export::{Export, Made, Outcome};
use super::function::Function;
use crate::control::Incoming;
use crate::control::messages::{
    AnyDescription, AttachedAll, Connect, Create, Done, FromController, FromDatapath, Hello, PROTOCOL,
};
use crate::counters::FUNCTIONS;
use crate::vhost;
use crate::worker::orders::Order;

/// Packets taken from the controller before the VMMs have their turn.
const PACKETS_A_TURN: usize = 64;

impl Pump {
    /// A controller waits to be accepted: it replaces the present one, which must have died. What that one still said
    /// counts, because its answers carry the functions' state.
    pub fn change_controller(&mut self) {
        while self.take_packet() {}
        match self.world.accept_controller() {
            Ok(()) => self.introduce(),
            Err(error) => log::error!("a controller cannot be accepted: {error}"),
        }
    }

    fn introduce(&mut self) {
        log::info!("a controller has attached");
        let pid = std::process::id().into();
        self.send(&FromDatapath::Hello(Hello { protocol: PROTOCOL, pid }), true);
        for function in self.functions.values() {
            let attached = function.attached();
            let id = attached.function;
            let representor = self.representors.get(&(id as u32)).map(|fd| fd.as_fd());
            if self.world.control.send(&FromDatapath::Attached(attached), representor).is_err() {
                log::error!("function {id}: its state is too long for the socket to the controller");
            }
        }
        for uplink in self.uplinks.attached() {
            self.send(&FromDatapath::AttachedUplink(uplink), false);
        }
        self.send(&FromDatapath::AttachedAll(AttachedAll {}), false);
        self.functions.values_mut().for_each(|function| function.ask_again(&mut self.world));
    }

    pub fn hear_controller(&mut self) {
        self.world.control.flush();
        for _ in 0..PACKETS_A_TURN {
            if !self.take_packet() {
                return;
            }
        }
    }

    /// False when there is no further packet.
    fn take_packet(&mut self) -> bool {
        match self.world.control.receive() {
            Incoming::Message(message, fds) => self.hear(message, fds),
            Incoming::Malformed { ticket, reason } => {
                log::error!("the controller sent what is no message: {reason}");
                self.done(ticket.unwrap_or(0), Err((Errno::INVAL, format!("this is no message: {reason}"))));
            }
            Incoming::Nothing => return false,
            Incoming::Gone => {
                log::info!("the controller has gone");
                self.world.control.detach();
                return false;
            }
        }
        true
    }

    fn hear(&mut self, message: FromController, fds: Vec<OwnedFd>) {
        log::trace!("{message:?}");
        match message {
            FromController::Answer(answer) => {
                let id = answer.function as u32;
                self.guarded(id, |function, world| function.answer(answer, world));
            }
            FromController::Create(create) => {
                let ticket = create.ticket;
                let outcome = self.create(create, fds);
                self.done(ticket, outcome);
            }
            FromController::Update(update) => {
                let ticket = update.ticket;
                let known = self.known(update.function);
                let outcome = known.map(|id| self.guarded(id, |function, world| function.update(update, world)));
                self.done(ticket, outcome);
            }
            FromController::Positions(positions) => {
                if let Err(refused) = self.positions(positions.ticket, positions.function) {
                    self.done(positions.ticket, Err(refused));
                }
            }
            FromController::Connect(connect) => {
                let outcome = self.connect(&connect, fds);
                self.done(connect.ticket, outcome);
            }
            FromController::Destroy(destroy) => {
                let outcome = self.known(destroy.function).map(|id| self.destroy(id));
                self.done(destroy.ticket, outcome);
            }
            FromController::JoinUplink(join) => {
                let ticket = join.ticket;
                let outcome = self.uplinks.join(join, fds, &self.counters, &self.world);
                self.done(ticket, outcome);
            }
            FromController::ChangeUplink(change) => {
                let outcome = self.uplinks.change(&change, &self.world);
                self.done(change.ticket, outcome);
            }
            FromController::LeaveUplink(leave) => {
                let outcome = self.uplinks.leave(leave.uplink, &self.world);
                self.done(leave.ticket, outcome);
            }
            FromController::ChangeSwitch(change) => {
                self.world.worker.send(Order::SetFlooding { on: change.flooding });
                self.done(change.ticket, Ok(()));
            }
            FromController::Shutdown(shutdown) => {
                log::info!("the controller ends the datapath");
                self.done(shutdown.ticket, Ok(()));
                self.ended = true;
            }
        }
    }

    fn create(&mut self, create: Create, fds: Vec<OwnedFd>) -> Outcome {
        let invalid = |why: String| (Errno::INVAL, why);
        let number = create.function;
        if number >= FUNCTIONS as u64 {
            return Err(invalid(format!("function numbers are below {FUNCTIONS}, {number} is not")));
        }
        let id = number as u32;
        if self.functions.contains_key(&id) {
            return Err((Errno::EXIST, format!("function {id} is there already")));
        }
        let listens = !matches!(&create.description, AnyDescription::BackEnd(back_end) if back_end.client);
        let wanted = [listens, create.representor, create.records];
        let [listener, representor, records] = descriptors(fds, wanted).map_err(invalid)?;
        self.counters.clear(id).map_err(|error| invalid(error.to_string()))?;
        let again = representor.as_ref().map(OwnedFd::try_clone).transpose();
        let again = again.map_err(|error| invalid(format!("the representor of function {id}: {error}")))?;
        let function = self
            .export(create, listener, representor, records)
            .map_err(|why| invalid(format!("function {id} cannot be served: {why}")))?;
        self.functions.insert(id, function);
        self.representors.extend(again.map(|fd| (id, fd)));
        Ok(())
    }

    fn export(
        &mut self,
        create: Create,
        listener: Option<OwnedFd>,
        representor: Option<OwnedFd>,
        records: Option<OwnedFd>,
    ) -> Result<Box<dyn Export>, String> {
        let counters = self.counters.function(create.function as u32);
        let made = Made {
            id: create.function as u32,
            state: create.state.into_vec(),
            effects: create.effects,
            representor,
            counters,
            records,
        };
        Ok(match (create.description, listener) {
            (AnyDescription::Description(description), Some(listener)) => {
                Box::new(Function::create(made, description, listener, &mut self.world)?)
            }
            (AnyDescription::Description(_), None) => return Err("it lacks a listening socket".into()),
            (AnyDescription::BackEnd(back_end), listener) => {
                Box::new(vhost::Function::create(made, back_end, listener, &mut self.world)?)
            }
        })
    }

    /// A panic on the way leaves the socket to nobody: it is closed, and the controller may try again.
    fn connect(&mut self, connect: &Connect, mut fds: Vec<OwnedFd>) -> Outcome {
        let id = self.known(connect.function)?;
        let socket = fds.pop().filter(|_| fds.is_empty());
        let socket = socket.ok_or((Errno::INVAL, "exactly one descriptor belongs to Connect".to_owned()))?;
        let mut outcome = Ok(());
        self.guarded(id, |function, world| outcome = function.connect(socket, world));
        outcome
    }

    /// What the function has to say is said before: of queues too that the worker is still to start.
    fn positions(&mut self, ticket: u64, function: u64) -> Outcome {
        let id = self.known(function)?;
        self.world.settle(|done| Order::Fence { done });
        self.world.collect_notices();
        self.hear_worker();
        let mut outcome = Err((Errno::IO, "this program made a mistake: its log has it".into()));
        self.guarded(id, |function, world| outcome = function.positions(ticket, world));
        outcome
    }

    fn known(&self, function: u64) -> Result<u32, (Errno, String)> {
        let id = u32::try_from(function).ok().filter(|id| self.functions.contains_key(id));
        id.ok_or_else(|| (Errno::NOENT, format!("there is no function {function}")))
    }

    fn destroy(&mut self, id: u32) {
        self.representors.remove(&id);
        if let Some(function) = self.functions.remove(&id) {
            function.destroy(&mut self.world);
        }
    }

    fn done(&mut self, ticket: u64, outcome: Outcome) {
        let (errno, reason) = match outcome {
            Ok(()) => (0, String::new()),
            Err((errno, reason)) => (errno.raw_os_error() as u64, reason),
        };
        self.send(&FromDatapath::Done(Done { ticket, errno, reason }), false);
    }

    fn send(&mut self, message: &FromDatapath, with_counters: bool) {
        let fd = with_counters.then(|| self.counters.fd());
        if self.world.control.send(message, fd).is_err() {
            log::error!("a message is too long for the socket to the controller");
        }
    }
}

/// The listening socket, the representor, and where the rings' records are kept: each where it is wanted.
fn descriptors(fds: Vec<OwnedFd>, wanted: [bool; 3]) -> Result<[Option<OwnedFd>; 3], String> {
    let (came, count) = (fds.len(), wanted.into_iter().filter(|wanted| *wanted).count());
    if came != count {
        return Err(format!("{came} descriptors came where {count} belong"));
    }
    let mut fds = fds.into_iter();
    Ok(wanted.map(|wanted| if wanted { fds.next() } else { None }))
}
