//! One function as the pump sees it: its listening socket, at most one VMM, and what is open with the controller.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::access::Job;
use super::connection::{Connection, Incoming, Message};
use super::dma::Maps;
use super::export::{Export, Made, Outcome, listen};
use super::logging::Logging;
use super::outside::Outside;
use super::poll::{Flags, READ, Token};
use super::requests::{Purpose, Requests};
use super::wire::Header;
use super::world::World;
use crate::control::messages::{
    Answer, Attached, Description, Done, EventKind, FromDatapath, Positioned, QueueStanding, Standing, Update,
};
use crate::counters::{self, FunctionCounters};
use crate::interrupt::{Irq, Lines};
use crate::memory::Table;
use crate::worker::orders::{FunctionId, Notice, Order, Stand};

/// How long a VMM waits for the controller: less than the 5 s after which QEMU counts the device as lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Messages taken from one VMM before the others have their turn.
const MESSAGES_A_TURN: usize = 32;

/// What a command comes to: the body of the reply, or none yet, because the controller was asked.
pub type Verdict = Result<Option<Vec<u8>>, Refusal>;

/// A command that is not carried out.
pub struct Refusal {
    pub errno: Errno,
    /// Why the connection cannot go on, if it cannot.
    pub fatal: Option<&'static str>,
}

pub struct Function {
    pub id: FunctionId,
    pub outside: Outside,
    pub lines: Arc<Lines>,
    pub counters: FunctionCounters,
    pub maps: Maps,
    pub peer: Peer,
    pub requests: Requests,
    /// While the VMM wants to know what is written into the guest.
    pub logging: Option<Logging>,
    /// The addresses and lengths of what the device writes of the rings that it was given, by queue.
    pub rings: BTreeMap<u16, Vec<(u64, u64)>>,
    /// What the controller last said of it, to be told to the next controller.
    pub state: Vec<u8>,
    listener: OwnedFd,
    /// Counts the VMMs.
    turn: u32,
    /// What the poller watches the VMM's socket for.
    watched: Flags,
    /// A VMM that came while another was served, until it has said who it is and was refused. The newest only.
    stranger: Option<(u32, Connection)>,
    strangers: u32,
    /// The controller's question where it stands, until it can be answered.
    asked: Option<u64>,
}

pub enum Peer {
    Absent,
    Here(Box<Connection>),
    /// It has gone, and the function does not know yet: the next one waits.
    Leaving,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, fatal: None }
    }
}

// ---- its life

impl Function {
    /// Serves a new function from now on. The error is a sentence.
    pub fn create(made: Made, description: Description, listener: OwnedFd, world: &mut World) -> Result<Self, String> {
        let Made { id, state, effects, representor, counters, records: _ } = made;
        let outside = Outside::new(description)?;
        listen(&listener, id, world)?;
        let lines = Lines::new(outside.vectors, counters.clone());
        let lines = Arc::new(if outside.without_intx { lines.without_intx() } else { lines });
        world.guard.watch(lines.mark());
        let mut function = Self {
            id,
            outside,
            lines: lines.clone(),
            counters: counters.clone(),
            maps: Maps::sharing(world.mappings.clone()),
            peer: Peer::Absent,
            requests: Requests::new(id),
            logging: None,
            rings: BTreeMap::new(),
            state,
            listener,
            turn: 0,
            watched: Flags::empty(),
            stranger: None,
            strangers: 0,
            asked: None,
        };
        world.worker.send(Order::AddFunction { function: id, representor, lines, counters });
        function.apply(effects, world);
        Ok(function)
    }

    pub fn connected(&self) -> bool {
        matches!(&self.peer, Peer::Here(connection) if connection.agreed)
    }
}

impl Export for Function {
    fn happened(&mut self, token: Token, flags: Flags, world: &mut World) {
        match token {
            Token::Vmm(_, turn) => self.serve(turn, flags, world),
            Token::Listener(_) => self.accept(world),
            Token::Resample(_, turn) => self.resample(turn),
            Token::Stranger(_, turn) => self.turn_away(turn, world),
            _ => {}
        }
    }

    fn notice(&mut self, notice: Notice, world: &mut World) {
        match notice {
            Notice::Command { queue, ticket, data, room, .. } => {
                let request = self.requests.command(queue, ticket, data, room);
                self.submit(request, world);
            }
            Notice::Fault { queue, cause, .. } => self.tell(EventKind::QueueFault, queue, cause, world),
        }
    }

    /// Effects first, then the state, then whoever waits.
    fn answer(&mut self, answer: Answer, world: &mut World) {
        let Some(purpose) = self.requests.close(answer.request) else {
            return log::warn!("function {}: the controller answers {}, which is not open", self.id, answer.request);
        };
        self.apply(answer.effects, world);
        if let Some(state) = answer.state {
            self.state = state.into_vec();
        }
        match purpose {
            Some(Purpose::Vmm) => self.resume(answer.errno, &answer.data, world),
            Some(Purpose::Chain { queue, ticket }) => {
                world.worker.send(Order::Complete { function: self.id, queue, ticket, reply: answer.data.into_vec() });
            }
            Some(Purpose::Left) => self.make_way(world),
            Some(Purpose::Notice) | None => {}
        }
        self.tell_positions(world);
    }

    fn update(&mut self, update: Update, world: &mut World) {
        self.apply(update.effects, world);
        self.state = update.state.into_vec();
        self.tell_positions(world);
    }

    fn positions(&mut self, ticket: u64, world: &mut World) -> Outcome {
        self.stands(world)?;
        self.asked = Some(ticket);
        self.tell_positions(world);
        Ok(())
    }

    fn attached(&self) -> Attached {
        Attached { function: self.id.into(), state: self.state.clone().into(), connected: self.connected() }
    }

    fn ask_again(&mut self, world: &mut World) {
        self.asked = None; // it was the last controller that did
        for request in self.requests.again() {
            self.submit(request, world);
        }
    }

    fn waits(&self, request: u64) -> bool {
        self.requests.waits(request)
    }

    /// The controller has not answered in time, it may be away: what waits fails. QEMU gives a message 5 s, and an answer
    /// that comes later would break the connection for good.
    fn give_up(&mut self, request: u64, world: &mut World) {
        let Peer::Here(connection) = &self.peer else { return };
        if matches!(connection.job, Some(Job::Reset { .. })) {
            // Its part of a reset is done here and now; the registers follow when a controller comes.
            self.reset(world);
            self.requests.leave_to_the_next(request);
            return self.resume(0, &[], world);
        }
        log::warn!("function {}: an access was not answered in {} s: it fails", self.id, ANSWER_WITHIN.as_secs());
        self.requests.give_up(request);
        self.resume(Errno::TIMEDOUT.raw_os_error() as u64, &[], world);
    }

    fn recover(&mut self, world: &mut World) {
        self.depart(world);
        if matches!(self.peer, Peer::Leaving) && !self.requests.tells(EventKind::Disconnected) {
            self.make_way(world);
        }
    }

    fn wake(&self, world: &World) {
        if !matches!(self.peer, Peer::Leaving) {
            world.poller.change(&self.listener, Token::Listener(self.id), READ);
        }
    }

    fn has_peer(&self) -> bool {
        matches!(self.peer, Peer::Here(_))
    }

    fn destroy(mut self: Box<Self>, world: &mut World) {
        self.hang_up(world);
        world.poller.remove(&self.listener);
        world.settle(|done| Order::RemoveFunction { function: self.id, done });
        world.forget_notices(self.id, None);
    }
}

// ---- the VMM comes and goes

impl Function {
    /// Someone waits on the listening socket.
    pub fn accept(&mut self, world: &mut World) {
        if matches!(self.peer, Peer::Leaving) {
            return; // said before the listener was left alone
        }
        if self.vmm_has_hung_up() {
            return self.depart(world); // whoever waits is the next VMM, not a second one
        }
        let socket = match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return,
            Err(error) => return self.rest(error, world),
        };
        match self.peer {
            Peer::Absent => self.welcome(socket, world),
            _ => self.hear_out(socket, world),
        }
    }

    /// A second VMM is refused in the words of the protocol: QEMU aborts when it is not answered at all.
    fn hear_out(&mut self, socket: OwnedFd, world: &World) {
        log::warn!("function {}: a second VMM is turned away", self.id);
        self.strangers = self.strangers.wrapping_add(1);
        if world.poller.add(&socket, Token::Stranger(self.id, self.strangers), READ).is_ok() {
            self.stranger = Some((self.strangers, Connection::new(socket)));
        }
    }

    /// The second VMM has said something.
    pub fn turn_away(&mut self, number: u32, world: &mut World) {
        let Some((_, mut stranger)) = self.stranger.take_if(|(current, _)| *current == number) else { return };
        match stranger.receive() {
            Incoming::Nothing => self.stranger = Some((number, stranger)),
            Incoming::Message(message) if !self.connected() && !matches!(self.peer, Peer::Leaving) => {
                self.prefer(stranger, message, world)
            }
            Incoming::Message(message) => {
                let _ = stranger.send(message.header.refusal(Errno::BUSY));
                world.poller.remove(&stranger);
            }
            Incoming::Gone | Incoming::Fault(_) => world.poller.remove(&stranger),
        }
    }

    /// The first one has not said a word, and may never: whoever speaks is served.
    fn prefer(&mut self, newcomer: Connection, first: Message, world: &mut World) {
        log::info!("function {}: a VMM that says nothing gives way to one that does", self.id);
        self.hang_up(world);
        self.turn = self.turn.wrapping_add(1);
        world.poller.change(&newcomer, Token::Vmm(self.id, self.turn), READ);
        self.watched = READ;
        self.peer = Peer::Here(Box::new(newcomer));
        self.carry_out(first, world);
        self.watch(world);
    }

    fn welcome(&mut self, socket: OwnedFd, world: &World) {
        self.turn = self.turn.wrapping_add(1);
        if let Err(error) = world.poller.add(&socket, Token::Vmm(self.id, self.turn), READ) {
            return log::error!("function {}: a VMM cannot be served: {error}", self.id);
        }
        log::info!("function {}: a VMM has connected", self.id);
        self.watched = READ;
        self.peer = Peer::Here(Box::new(Connection::new(socket)));
    }

    /// No descriptor was left for a VMM. The listener is left alone for a while, or it would be reported for ever.
    fn rest(&self, error: Errno, world: &mut World) {
        log::error!("function {}: no VMM can be accepted for the moment: {error}", self.id);
        world.poller.change(&self.listener, Token::Listener(self.id), Flags::empty());
        world.resting.push((self.id, Instant::now()));
    }

    fn vmm_has_hung_up(&self) -> bool {
        let Peer::Here(connection) = &self.peer else { return false };
        let mut fds = [PollFd::new(connection, PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    /// The VMM has gone: nothing of it is touched any more, and the function is told.
    pub fn depart(&mut self, world: &mut World) {
        let agreed = self.connected();
        if !self.hang_up(world) {
            return;
        }
        log::info!("function {}: the VMM has gone", self.id);
        if agreed {
            self.peer = Peer::Leaving;
            world.poller.change(&self.listener, Token::Listener(self.id), Flags::empty());
            self.tell(EventKind::Disconnected, 0, String::new(), world);
        }
    }

    /// The function has dealt with the last VMM: the next may come.
    fn make_way(&mut self, world: &World) {
        self.peer = Peer::Absent;
        self.wake(world);
    }

    /// Closes the connection and lets go of everything the VMM gave. False: there was none.
    fn hang_up(&mut self, world: &mut World) -> bool {
        let Peer::Here(connection) = std::mem::replace(&mut self.peer, Peer::Absent) else { return false };
        world.poller.remove(&*connection);
        if let Some(resample) = &connection.resample {
            world.poller.remove(resample);
        }
        self.logging = None;
        self.stop_all(world);
        world.settle(|done| Order::SetMemory { function: self.id, table: Arc::new(Table::default()), done });
        self.maps.clear();
        self.lines.drop_eventfds();
        self.requests.cancel(|purpose| purpose == Purpose::Vmm);
        self.tell_positions(world);
        true
    }

    /// The VMM broke the protocol.
    pub fn fault(&mut self, cause: String, world: &mut World) {
        log::warn!("function {}: the VMM's connection is closed: {cause}", self.id);
        self.counters.add(counters::Function::PeerFaults, 1);
        if !self.requests.tells(EventKind::PeerFault) {
            self.tell(EventKind::PeerFault, 0, cause, world);
        }
        self.depart(world);
    }
}

// ---- the VMM speaks

impl Function {
    /// The VMM's socket has something to say.
    pub fn serve(&mut self, turn: u32, flags: Flags, world: &mut World) {
        let Peer::Here(connection) = &mut self.peer else { return };
        if turn != self.turn {
            return;
        }
        if flags.intersects(Flags::HUP | Flags::ERR) {
            return self.depart(world);
        }
        connection.flush();
        for _ in 0..MESSAGES_A_TURN {
            if !self.take_message(world) {
                break;
            }
        }
        self.watch(world);
    }

    /// False when there is none, or none may be read now.
    fn take_message(&mut self, world: &mut World) -> bool {
        let Peer::Here(connection) = &mut self.peer else { return false };
        if connection.job.is_some() {
            return false;
        }
        match connection.receive() {
            Incoming::Message(message) => {
                self.carry_out(message, world);
                return true;
            }
            Incoming::Nothing => {}
            Incoming::Gone => self.depart(world),
            Incoming::Fault(cause) => self.fault(cause, world),
        }
        false
    }

    pub fn reply(&mut self, header: Header, message: Vec<u8>, world: &mut World) {
        let Peer::Here(connection) = &mut self.peer else { return };
        if !header.wants_reply() {
            return;
        }
        if let Err(cause) = connection.send(message) {
            self.fault(cause, world);
        }
    }

    pub fn wait_for(&mut self, job: Job) {
        if let Peer::Here(connection) = &mut self.peer {
            connection.job = Some(job);
        }
    }

    /// Watches the VMM's socket for exactly what can be dealt with.
    fn watch(&mut self, world: &World) {
        let Peer::Here(connection) = &self.peer else { return };
        let mut flags = Flags::empty();
        flags.set(READ, connection.job.is_none());
        flags.set(Flags::OUT, connection.blocked());
        if flags != self.watched {
            world.poller.change(&**connection, Token::Vmm(self.id, self.turn), flags);
            self.watched = flags;
        }
    }

    /// The VMM's eventfd that unmasks INTx, or none any more. It is watched for each write and never read: a read could
    /// be made to wait.
    pub fn resample_by(&mut self, eventfd: Option<OwnedFd>, world: &World) -> Result<(), Errno> {
        let Peer::Here(connection) = &mut self.peer else { return Ok(()) };
        if let Some(former) = connection.resample.take() {
            world.poller.remove(former);
        }
        if let Some(eventfd) = eventfd {
            let token = Token::Resample(self.id, self.turn);
            world.poller.add(&eventfd, token, READ | Flags::ET).map_err(|_| Errno::NOSPC)?;
            connection.resample = Some(eventfd);
        }
        Ok(())
    }

    pub fn resample(&self, turn: u32) {
        if turn == self.turn && self.has_peer() {
            self.lines.unmask(Irq::Intx, 0);
        }
    }
}

// ---- the worker and the controller speak

impl Function {
    pub fn tell(&mut self, kind: EventKind, queue: u16, cause: String, world: &mut World) {
        let request = self.requests.event(kind, queue, cause);
        self.submit(request, world);
    }

    /// Says where the function stands if that was asked and can be said: commands that the controller executes count as
    /// executed, so their answers belong to it.
    fn tell_positions(&mut self, world: &mut World) {
        if self.requests.commands() {
            return;
        }
        let Some(ticket) = self.asked.take() else { return };
        let message = match self.stands(world) {
            Ok(standing) => FromDatapath::Positioned(Positioned { ticket, standing }),
            Err((errno, reason)) => FromDatapath::Done(Done { ticket, errno: errno.raw_os_error() as u64, reason }),
        };
        if world.control.send(&message, None).is_err() {
            log::error!("function {}: where it stands is too long for the socket to the controller", self.id);
        }
    }

    fn stands(&self, world: &World) -> Result<Standing, (Errno, String)> {
        let (stands, told) = sync_channel(1);
        world.worker.send(Order::Stands { function: self.id, stands });
        let queues = told.recv().ok().flatten();
        let queues = queues.ok_or_else(|| (Errno::BUSY, format!("function {} is not frozen", self.id)))?;
        let (isr, pending) = (self.lines.isr().into(), self.lines.pending().into_iter().map(u64::from).collect());
        Ok(Standing { queues: queues.into_iter().map(queue_standing).collect(), isr, pending })
    }

    /// Sends a request for whose answer the VMM waits, but not for ever.
    pub fn submit_until(&mut self, request: u64, world: &mut World) {
        world.deadlines.push_back((Instant::now() + ANSWER_WITHIN, self.id, request));
        self.submit(request, world);
    }

    /// Sends an open request to the controller. One that cannot be sent is answered at once, with EMSGSIZE.
    pub fn submit(&mut self, request: u64, world: &mut World) {
        let Some(message) = self.requests.message(request) else { return };
        if world.control.send(message, None).is_err() {
            log::error!("function {}: request {request} is too long for the socket to the controller", self.id);
            let errno = Errno::MSGSIZE.raw_os_error() as u64;
            let (data, state, effects) = (Vec::new().into(), None, Vec::new());
            self.answer(Answer { function: self.id.into(), request, errno, data, state, effects }, world);
        }
    }

    fn resume(&mut self, errno: u64, data: &[u8], world: &mut World) {
        let Peer::Here(connection) = &mut self.peer else { return };
        if let Some(job) = connection.job.take() {
            self.finish(job, errno, data, world);
        }
        self.watch(world);
    }
}

fn queue_standing(stand: Stand) -> QueueStanding {
    QueueStanding { queue: stand.queue.into(), position: stand.position.into(), answer: stand.answer.map(Into::into) }
}
