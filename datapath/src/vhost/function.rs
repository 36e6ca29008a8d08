//! One function as the pump sees it: its listening socket, at most one front end, and what the controller is told.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::kept::Kept;
use super::session::{Offer, Port, Session};
use crate::control::messages::Update;
use crate::control::messages::{Agreement, Answer, AnyEffect, Attached, BackEnd, EventKind, FromDatapath, Negotiated};
use crate::interrupt::Lines;
use crate::port::LONGEST;
use crate::pump::effects::{number, order};
use crate::pump::export::{Export, Made, Outcome, listen};
use crate::pump::poll::{Flags, READ, Token};
use crate::pump::requests::Requests;
use crate::pump::world::World;
use crate::worker::orders::{Notice, Order};

pub struct Function {
    pub(super) port: Port,
    pub(super) session: Option<Box<Session>>,
    pub(super) listener: Option<OwnedFd>,
    /// One more, while the one that is connected has not said a word; and a count of them.
    pub(super) stranger: Option<(u32, OwnedFd)>,
    pub(super) strangers: u32,
    /// Counts the front ends.
    pub(super) turn: u32,
    /// What the poller watches the front end's socket for.
    pub(super) watched: Flags,
    pub(super) requests: Requests,
    /// What the controller last said of it, to be told to the next controller.
    state: Vec<u8>,
    /// What the controller was last told.
    pub(super) told: Option<Agreement>,
    /// Whether the last event about it said that a front end is there.
    pub(super) said: bool,
}

impl Function {
    /// Serves a new function from now on. The error is a sentence.
    pub fn create(made: Made, back_end: BackEnd, listener: Option<OwnedFd>, world: &mut World) -> Result<Self, String> {
        let Made { id, state, effects, representor, counters, records } = made;
        let offer = Offer::new(back_end)?;
        let kept = records.map(|file| Kept::new(&file, offer.rings, offer.size)).transpose()?;
        if let Some(listener) = &listener {
            listen(listener, id, world)?;
        }
        // A line a ring: the front end's call descriptors. There are no registers.
        let lines = Arc::new(Lines::new(offer.rings as u16, counters.clone()));
        world.guard.watch(lines.mark());
        lines.set_interrupts(true, true);
        let port = Port { id, offer, lines: lines.clone(), counters: counters.clone(), frame_limit: LONGEST, kept };
        let mut function = Self {
            port,
            session: None,
            listener,
            stranger: None,
            strangers: 0,
            turn: 0,
            watched: Flags::empty(),
            requests: Requests::new(id),
            state,
            told: None,
            said: false,
        };
        world.worker.send(Order::AddFunction { function: id, representor, lines, counters });
        function.apply(effects, world);
        Ok(function)
    }

    /// In order. An effect that makes no sense is a mistake of the controller's: it is logged and left out.
    fn apply(&mut self, effects: Vec<AnyEffect>, world: &mut World) {
        for effect in effects {
            log::trace!("function {}: {effect:?}", self.port.id);
            if let Err(why) = self.apply_one(effect, world) {
                log::error!("function {}: the controller asked for what cannot be done: {why}", self.port.id);
            }
        }
    }

    fn apply_one(&mut self, effect: AnyEffect, world: &mut World) -> Result<(), String> {
        match effect {
            AnyEffect::SetDeviceConfig(set) => {
                self.port.offer.config = set.config.into_vec();
                if let Some(session) = &mut self.session {
                    session.tell_config_changed();
                }
            }
            AnyEffect::SetFrameLimit(set) => {
                self.port.frame_limit = number(set.octets)?;
                match &self.session {
                    Some(session) => session.limit_frames(&self.port, world),
                    None => self.limit_frames(world),
                }
            }
            AnyEffect::SetLink(_) | AnyEffect::SetFabric(_) | AnyEffect::SetFilter(_) | AnyEffect::SetCoalescing(_) => {
                world.worker.send(order(self.port.id, effect)?);
            }
            other => return Err(format!("{other:?} is for functions that have registers here")),
        }
        Ok(())
    }

    /// As the operator has it.
    pub(super) fn limit_frames(&self, world: &World) {
        world.worker.send(Order::SetFrameLimit { function: self.port.id, octets: self.port.frame_limit });
    }

    /// Tells the controller how far things are, if that is news.
    pub(super) fn tell_agreement(&mut self, world: &mut World) {
        let agreement = self.session.as_ref().map_or_else(|| self.port.no_agreement(), |session| session.agreement());
        if self.told.as_ref() == Some(&agreement) || world.control.controller().is_none() {
            return;
        }
        let negotiated = Negotiated { function: self.port.id.into(), agreement: agreement.clone() };
        if world.control.send(&FromDatapath::Negotiated(negotiated), None).is_ok() {
            self.told = Some(agreement);
        }
    }
}

impl Export for Function {
    fn happened(&mut self, token: Token, flags: Flags, world: &mut World) {
        match token {
            Token::Vmm(_, turn) if turn == self.turn => self.serve(flags, world),
            Token::Listener(_) => self.accept(world),
            Token::Stranger(_, number) => self.prefer(number, world),
            _ => {}
        }
        self.tell_agreement(world);
    }

    fn notice(&mut self, notice: Notice, world: &mut World) {
        if let (Notice::Fault { queue, cause, .. }, Some(session)) = (notice, &mut self.session) {
            session.ring_fault(&self.port, queue, world);
            self.tell(EventKind::QueueFault, queue, cause, world);
            self.tell_agreement(world);
        }
    }

    fn answer(&mut self, answer: Answer, world: &mut World) {
        if self.requests.close(answer.request).is_none() {
            return log::warn!(
                "function {}: the controller answers {}, which is not open",
                self.port.id,
                answer.request
            );
        }
        self.apply(answer.effects, world);
        if let Some(state) = answer.state {
            self.state = state.into_vec();
        }
        self.catch_up(world);
    }

    fn update(&mut self, update: Update, world: &mut World) {
        self.apply(update.effects, world);
        self.state = update.state.into_vec();
    }

    fn connect(&mut self, socket: OwnedFd, world: &mut World) -> Outcome {
        let outcome = self.take_over(socket, world);
        self.tell_agreement(world);
        outcome
    }

    fn attached(&self) -> Attached {
        let connected = self.session.as_ref().is_some_and(|session| session.spoken);
        Attached { function: self.port.id.into(), state: self.state.clone().into(), connected }
    }

    fn ask_again(&mut self, world: &mut World) {
        for request in self.requests.again() {
            self.submit(request, world);
        }
        self.told = None;
        self.tell_agreement(world);
    }

    fn recover(&mut self, world: &mut World) {
        self.depart(world);
    }

    fn wake(&self, world: &World) {
        if let Some(listener) = &self.listener {
            world.poller.change(listener, Token::Listener(self.port.id), READ);
        }
    }

    fn has_peer(&self) -> bool {
        self.session.is_some()
    }

    fn destroy(mut self: Box<Self>, world: &mut World) {
        self.hang_up(world);
        if let Some(listener) = &self.listener {
            world.poller.remove(listener);
        }
        world.settle(|done| Order::RemoveFunction { function: self.port.id, done });
        world.forget_notices(self.port.id, None);
    }
}
