//! Uplinks, as the controller has them joined and left.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::export::Outcome;
use super::world::World;
use crate::control::messages::{AttachedUplink, ChangeUplink, JoinUplink, XdpSockets};
use crate::counters::{Counters, FUNCTIONS, UPLINKS};
use crate::port::{Layout, Packets, Wire, Xdp};
use crate::worker::orders::Order;

/// What an Ethernet frame has beside its payload: header and a VLAN tag.
const AROUND: usize = 18;

/// Those that are there, by number.
#[derive(Default)]
pub struct Uplinks([Option<AttachedUplink>; UPLINKS]);

impl Uplinks {
    /// What the next controller is told.
    pub fn attached(&self) -> Vec<AttachedUplink> {
        self.0.iter().flatten().cloned().collect()
    }

    pub fn join(&mut self, join: JoinUplink, fds: Vec<OwnedFd>, counters: &Counters, world: &World) -> Outcome {
        let number = number(join.uplink)?;
        let wire = match &join.xdp {
            None => packets(fds),
            Some(layout) => xdp(layout, fds),
        };
        let wire =
            wire.map_err(|why| (Errno::INVAL, format!("{} cannot be uplink p{number}: {why}", join.interface)))?;
        let queues = if join.xdp.is_some() { wire.sockets().len() as u64 } else { 0 };
        let counters = counters.function(FUNCTIONS as u32 + u32::from(number));
        world.worker.send(Order::AddUplink { uplink: number, wire, counters });
        log::info!("uplink p{number}: {} has joined", join.interface);
        world.worker.send(state(number, join.up, join.mtu));
        let JoinUplink { uplink, interface, ifindex, .. } = join;
        self.0[usize::from(number)] = Some(AttachedUplink { uplink, interface, ifindex, queues });
        Ok(())
    }

    pub fn change(&self, change: &ChangeUplink, world: &World) -> Outcome {
        let number = number(change.uplink)?;
        if self.0[usize::from(number)].is_none() {
            return Err((Errno::NOENT, format!("there is no uplink p{number}")));
        }
        world.worker.send(state(number, change.up, change.mtu));
        Ok(())
    }

    pub fn leave(&mut self, uplink: u64, world: &World) -> Outcome {
        let number = number(uplink)?;
        if let Some(gone) = self.0[usize::from(number)].take() {
            log::info!("uplink p{number}: {} has left", gone.interface);
            world.worker.send(Order::RemoveUplink { uplink: number });
        }
        Ok(())
    }
}

fn packets(fds: Vec<OwnedFd>) -> Result<Wire, String> {
    let [packets] = <[OwnedFd; 1]>::try_from(fds).map_err(|fds| format!("{} descriptors came for 1", fds.len()))?;
    Ok(Wire::Packets(Packets::new(packets)))
}

fn xdp(layout: &XdpSockets, mut fds: Vec<OwnedFd>) -> Result<Wire, String> {
    const NAMED: usize = 3;
    if fds.len() <= NAMED {
        return Err(format!("{} descriptors came for {} and more", fds.len(), NAMED + 1));
    }
    let sockets = fds.split_off(NAMED);
    let memory = fds.remove(0);
    let layout = Layout {
        count: layout.count.try_into().unwrap_or(0),
        chunk: layout.chunk,
        several: layout.several,
        undone: layout.undone,
    };
    Ok(Wire::Xdp(Xdp::new(layout, &memory, sockets, fds).map_err(|error| error.to_string())?))
}

fn number(uplink: u64) -> Result<u8, (Errno, String)> {
    let known = u8::try_from(uplink).ok().filter(|number| usize::from(*number) < UPLINKS);
    known.ok_or_else(|| (Errno::INVAL, format!("uplinks are numbered below {UPLINKS}, {uplink} is not")))
}

fn state(uplink: u8, up: bool, mtu: u64) -> Order {
    Order::SetUplink { uplink, up, octets: usize::try_from(mtu).unwrap_or(usize::MAX).saturating_add(AROUND) }
}
