//! Internal device state, for a migration: what a front end cannot know from the messages that it sent or got itself. That
//! is little, so it goes through the pipe at once: nothing waits for the other end.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use vhost::vhost_user::message::{VhostTransferStateDirection as Direction, VhostUserTransferDeviceState};

use super::session::{Done, Port, Session, Verdict};
use super::wire::{NO_FD, kind, whole};
use crate::guard::Mark;
use crate::pump::world::World;

const VERSION: u32 = 1;
const FAILED: u64 = 1;
/// More than any state has: what a pipe of the kernel's least size holds.
const LONGEST: usize = 4096;

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    /// As the driver may have set it.
    address: Vec<u8>,
    /// As the front end set it; 0: it did not.
    mtu: u16,
}

impl Session {
    /// The answer says that the given descriptor is used, and whether it went well so far.
    pub fn set_device_state(&mut self, port: &Port, world: &World, body: &[u8], mut fds: Vec<OwnedFd>) -> Verdict {
        let asked: VhostUserTransferDeviceState = whole(body)?;
        let pipe = fds.pop().filter(|fd| kind(fd) == Some(FileType::Fifo)).ok_or("its descriptor is not a pipe")?;
        rustix::io::ioctl_fionbio(&pipe, true).map_err(|error| format!("its pipe cannot be used: {error}"))?;
        let begun = match Direction::try_from(asked.direction) {
            _ if self.rings.iter().any(|ring| ring.running.is_some()) => Err("rings run".into()),
            Ok(Direction::SAVE) => not_for_long(world, || self.save(port, &pipe)),
            _ => Ok(()),
        };
        let failed = begun.inspect_err(|why| log::warn!("function {}: state is not moved: {why}", port.id)).is_err();
        self.transfer = match Direction::try_from(asked.direction) {
            Ok(Direction::LOAD) if !failed => Some(pipe),
            _ => None,
        };
        self.transfer_failed = failed;
        Ok(Done::With((NO_FD | u64::from(failed)).to_ne_bytes().to_vec()))
    }

    /// The front end has written all, or read all.
    pub fn check_device_state(&mut self, port: &mut Port, world: &World) -> Verdict {
        if let Some(pipe) = self.transfer.take() {
            let loaded = not_for_long(world, || self.load(port, &pipe, world));
            self.transfer_failed = loaded
                .inspect_err(|why| log::warn!("function {}: the state that came is refused: {why}", port.id))
                .is_err();
        }
        Ok(Done::With((FAILED * u64::from(self.transfer_failed)).to_ne_bytes().to_vec()))
    }

    fn save(&self, port: &Port, pipe: &OwnedFd) -> Result<(), String> {
        let address = port.offer.config.iter().take(6).copied().collect();
        let state = State { version: VERSION, address, mtu: self.mtu };
        let bytes = rmp_serde::to_vec_named(&state).map_err(|error| error.to_string())?;
        match rustix::io::write(pipe, &bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err("the pipe is full".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn load(&mut self, port: &mut Port, pipe: &OwnedFd, world: &World) -> Result<(), String> {
        let mut bytes = vec![0; LONGEST];
        let mut have = 0;
        loop {
            match rustix::io::read(pipe, &mut bytes[have..]) {
                Ok(0) if have < LONGEST => break,
                Ok(0) => return Err(format!("it is longer than {LONGEST} bytes")),
                Ok(count) => have += count,
                Err(error) => return Err(format!("its end has not come: {error}")),
            }
        }
        let state: State = rmp_serde::from_slice(&bytes[..have]).map_err(|error| error.to_string())?;
        let known = state.version == VERSION && state.address.len() == 6;
        if !known || state.mtu != 0 && usize::from(state.mtu) + 18 > port.frame_limit {
            return Err(format!("its version is {}, its MTU {}", state.version, state.mtu));
        }
        if let Some(place) = port.offer.config.get_mut(..6) {
            place.copy_from_slice(&state.address);
        }
        self.mtu = state.mtu;
        self.limit_frames(port, world);
        Ok(())
    }
}

/// The pipe is the front end's too, which can make it block at any moment: a call that waits on it is interrupted.
fn not_for_long<R>(world: &World, work: impl FnOnce() -> R) -> R {
    let mark = Arc::new(Mark::default());
    world.guard.watch(&mark);
    mark.during(work).0
}
