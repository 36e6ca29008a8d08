//! A function as the pump deals with it, whatever protocol its peer speaks.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::poll::{Flags, READ, Token};
use super::world::World;
use crate::control::messages::{Answer, AnyEffect, Attached, Update};
use crate::counters::FunctionCounters;
use crate::worker::orders::{FunctionId, Notice};

/// What a new function of any kind comes with.
pub struct Made {
    pub id: FunctionId,
    pub state: Vec<u8>,
    pub effects: Vec<AnyEffect>,
    pub representor: Option<OwnedFd>,
    pub counters: FunctionCounters,
    /// A file for what is to be known of its rings after this process.
    pub records: Option<OwnedFd>,
}

/// Why an order is refused; the sentence is for the operator.
pub type Outcome = Result<(), (Errno, String)>;

pub trait Export {
    /// Something happened on a descriptor that the function has the poller watch.
    fn happened(&mut self, token: Token, flags: Flags, world: &mut World);

    /// The worker has something to say.
    fn notice(&mut self, notice: Notice, world: &mut World);

    /// The controller answers a request.
    fn answer(&mut self, answer: Answer, world: &mut World);

    /// The operator changed the function.
    fn update(&mut self, update: Update, world: &mut World);

    /// The controller asks where the function stands; the answer follows when it can be given.
    fn positions(&mut self, _ticket: u64, _world: &mut World) -> Outcome {
        Err((Errno::OPNOTSUPP, "where its rings stand is for its VMM to ask".into()))
    }

    /// The controller hands over a connection that it made.
    fn connect(&mut self, _socket: OwnedFd, _world: &mut World) -> Outcome {
        Err((Errno::OPNOTSUPP, "its peer is to connect to it".into()))
    }

    /// For a new controller: what it is told first, and then what is open.
    fn attached(&self) -> Attached;
    fn ask_again(&mut self, world: &mut World);

    /// Whether somebody waits for the answer to a request, which may be given up when it takes too long.
    fn waits(&self, _request: u64) -> bool {
        false
    }
    fn give_up(&mut self, _request: u64, _world: &mut World) {}

    /// Something was left half done: whoever it was for must connect again.
    fn recover(&mut self, world: &mut World);

    /// Descriptors are there again: the listener may be watched.
    fn wake(&self, world: &World);

    /// Whether a peer is connected.
    fn has_peer(&self) -> bool;

    /// Ends it: whoever is connected loses the device.
    fn destroy(self: Box<Self>, world: &mut World);
}

/// Watches a listening socket.
pub fn listen(listener: &OwnedFd, id: FunctionId, world: &World) -> Result<(), String> {
    if !sockopt::socket_acceptconn(listener).unwrap_or(false) {
        return Err("its first descriptor is not a listening socket".into());
    }
    rustix::io::ioctl_fionbio(listener, true).map_err(|error| error.to_string())?;
    world.poller.add(listener, Token::Listener(id), READ).map_err(|error| error.to_string())
}
