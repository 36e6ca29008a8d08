//! Front ends come, speak and go.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::function::Function;
use super::session::Session;
use crate::control::messages::EventKind;
use crate::control::socket;
use crate::counters;
use crate::memory::Table;
use crate::offload::Offloads;
use crate::pump::export::Outcome;
use crate::pump::poll::{Flags, READ, Token};
use crate::pump::stream::Incoming;
use crate::pump::world::World;
use crate::worker::orders::Order;

/// Messages taken from one front end before the others have their turn.
const MESSAGES_A_TURN: usize = 32;

/// Events that wait for the controller's answer. Of a front end that comes and goes more often than a controller hears,
/// only the last state is told.
const MOST_EVENTS: usize = 16;

impl Function {
    /// Someone waits on the listening socket.
    pub(super) fn accept(&mut self, world: &mut World) {
        let Some(listener) = &self.listener else { return };
        let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return,
            Err(error) => return self.rest(error, world),
        };
        if self.session.as_ref().is_some_and(|session| !session.spoken && !has_hung_up(&session.stream)) {
            return self.hear_out(socket, world);
        }
        self.take_over_or_close(socket, world);
    }

    fn take_over_or_close(&mut self, socket: OwnedFd, world: &mut World) {
        if let Err((_, why)) = self.take_over(socket, world) {
            log::warn!("function {}: a front end is turned away: {why}", self.port.id);
        }
    }

    /// The one that is connected has not said a word, and may never: whoever speaks is served.
    fn hear_out(&mut self, socket: OwnedFd, world: &World) {
        self.strangers = self.strangers.wrapping_add(1);
        if world.poller.add(&socket, Token::Stranger(self.port.id, self.strangers), READ).is_ok() {
            self.stranger = Some((self.strangers, socket));
        }
    }

    /// The one more has something to say, or has gone.
    pub(super) fn prefer(&mut self, number: u32, world: &mut World) {
        let Some((_, socket)) = self.stranger.take_if(|(current, _)| *current == number) else { return };
        world.poller.remove(&socket);
        if has_hung_up(&socket) {
            return;
        }
        if self.session.as_ref().is_some_and(|session| !session.spoken) {
            log::info!("function {}: a front end that says nothing gives way to one that does", self.port.id);
            self.hang_up(world);
        }
        self.take_over_or_close(socket, world);
    }

    /// Serves a front end from now on, unless another is still there.
    pub(super) fn take_over(&mut self, socket: OwnedFd, world: &mut World) -> Outcome {
        if self.session.as_ref().is_some_and(|session| has_hung_up(&session.stream)) {
            self.depart(world); // the new one is its successor
        }
        if self.session.is_some() {
            return Err((Errno::BUSY, "another is connected".into()));
        }
        let serving = |error: Errno| (error, format!("its socket cannot be served: {error}"));
        rustix::io::ioctl_fionbio(&socket, true).map_err(serving)?;
        self.turn = self.turn.wrapping_add(1);
        let watched = world.poller.add(&socket, Token::Vmm(self.port.id, self.turn), READ);
        watched.map_err(|error| serving(Errno::from_io_error(&error).unwrap_or(Errno::NOMEM)))?;
        log::info!("function {}: a front end has connected", self.port.id);
        self.watched = READ;
        self.session = Some(Box::new(Session::new(socket, &self.port.offer)));
        Ok(())
    }

    /// No descriptor was left for a front end. The listener is left alone for a while, or it would be reported for ever.
    fn rest(&self, error: Errno, world: &mut World) {
        log::error!("function {}: no front end can be accepted for the moment: {error}", self.port.id);
        if let Some(listener) = &self.listener {
            world.poller.change(listener, Token::Listener(self.port.id), Flags::empty());
            world.resting.push((self.port.id, Instant::now()));
        }
    }

    /// The front end's socket has something to say.
    pub(super) fn serve(&mut self, flags: Flags, world: &mut World) {
        let Some(session) = &mut self.session else { return };
        if flags.intersects(Flags::ERR) {
            return self.depart(world);
        }
        session.stream.flush();
        for _ in 0..MESSAGES_A_TURN {
            if !self.take_message(world) {
                break;
            }
        }
        self.watch(world);
    }

    /// False when there is no further message.
    fn take_message(&mut self, world: &mut World) -> bool {
        let Some(session) = &mut self.session else { return false };
        let outcome = match session.stream.receive() {
            Incoming::Message(message) => session.carry_out(&mut self.port, message, world),
            Incoming::Nothing => return false,
            Incoming::Gone => {
                self.depart(world);
                return false;
            }
            Incoming::Fault(cause) => Err(cause),
        };
        let sent = outcome.and_then(|reply| reply.map_or(Ok(()), |(reply, fd)| session.stream.send(reply, fd)));
        match sent {
            Ok(()) => self.hear(world),
            Err(cause) => self.fault(cause, world),
        }
        self.session.is_some()
    }

    /// Its first message: it is one of ours.
    fn hear(&mut self, world: &mut World) {
        let Some(session) = self.session.as_mut().filter(|session| !session.spoken) else { return };
        session.spoken = true;
        let who = format!("pid {}", socket::peer_pid(&session.stream));
        self.tell(EventKind::Connected, 0, who, world);
    }

    /// Watches the front end's socket for exactly what can be dealt with.
    fn watch(&mut self, world: &World) {
        let Some(session) = &self.session else { return };
        let mut flags = READ;
        flags.set(Flags::OUT, session.stream.blocked());
        if flags != self.watched {
            world.poller.change(&session.stream, Token::Vmm(self.port.id, self.turn), flags);
            self.watched = flags;
        }
    }

    /// The front end broke the protocol.
    fn fault(&mut self, cause: String, world: &mut World) {
        log::warn!("function {}: the front end's connection is closed: {cause}", self.port.id);
        self.port.counters.add(counters::Function::PeerFaults, 1);
        self.tell(EventKind::PeerFault, 0, cause, world);
        self.depart(world);
    }

    /// The front end has gone: nothing of it is touched any more, and the controller is told.
    pub(super) fn depart(&mut self, world: &mut World) {
        let known = self.session.as_ref().is_some_and(|session| session.spoken || self.listener.is_none());
        if self.hang_up(world) {
            log::info!("function {}: the front end has gone", self.port.id);
        }
        if known {
            self.tell(EventKind::Disconnected, 0, String::new(), world);
        }
    }

    /// Closes the connection and lets go of everything the front end gave. False: there was none.
    pub(super) fn hang_up(&mut self, world: &mut World) -> bool {
        let Some(session) = self.session.take() else { return false };
        let function = self.port.id;
        world.poller.remove(&session.stream);
        world.settle(|done| Order::StopAll { function, done });
        world.forget_notices(function, None);
        world.settle(|done| Order::SetMemory { function, table: Arc::new(Table::default()), done });
        world.worker.send(Order::SetOffloads { function, offloads: Offloads::default() });
        self.limit_frames(world);
        self.port.lines.drop_eventfds();
        self.port.lines.reset();
        true
    }

    // ---- the controller

    pub(super) fn tell(&mut self, kind: EventKind, queue: u16, cause: String, world: &mut World) {
        if self.requests.count() >= MOST_EVENTS {
            return; // `catch_up` says how it ended
        }
        match kind {
            EventKind::Connected => self.said = true,
            EventKind::Disconnected => self.said = false,
            EventKind::Reset | EventKind::QueueFault | EventKind::PeerFault => {}
        }
        let request = self.requests.notice(kind, queue, cause);
        self.submit(request, world);
    }

    pub(super) fn submit(&mut self, request: u64, world: &mut World) {
        if let Some(message) = self.requests.message(request) {
            let sent = world.control.send(message, None);
            sent.expect("an event is shorter than any socket's buffer");
        }
    }

    /// The controller has heard everything that is open: if that is not how things are, it hears that too.
    pub(super) fn catch_up(&mut self, world: &mut World) {
        let connected = self.session.as_ref().is_some_and(|session| session.spoken);
        if self.requests.count() > 0 || self.said == connected {
            return;
        }
        match self.session.as_ref().filter(|_| connected) {
            Some(session) => {
                let who = format!("pid {}", socket::peer_pid(&session.stream));
                self.tell(EventKind::Connected, 0, who, world);
            }
            None => self.tell(EventKind::Disconnected, 0, String::new(), world),
        }
    }
}

fn has_hung_up(socket: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
