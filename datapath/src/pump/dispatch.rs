//! The commands of the vfio-user protocol, each to whoever carries it out.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::io::Errno;

use super::access::Job;
use super::connection::Message;
use super::function::{Function, Peer, Refusal, Verdict};
use super::irqs::Wanted;
use super::wire::{Header, command};
use super::world::World;
use super::{info, irqs, version};
use crate::control::messages::EventKind;
use crate::control::socket;
use crate::counters;
use crate::worker::orders::Order;

impl Function {
    pub fn carry_out(&mut self, message: Message, world: &mut World) {
        let header = message.header;
        let verdict = if self.connected() { self.obey(message, world) } else { self.negotiate(&message, world) };
        match verdict {
            Ok(None) => {} // the controller was asked, or the reply has been sent
            Ok(Some(body)) => self.reply(header, header.reply(&body), world),
            Err(Refusal { errno, fatal }) => {
                log::debug!("function {}: {header:?} is refused: {errno}", self.id);
                self.reply(header, header.refusal(errno), world);
                if let Some(why) = fatal {
                    self.fault(why.into(), world);
                }
            }
        }
    }

    /// Nothing comes before VERSION.
    fn negotiate(&mut self, message: &Message, world: &mut World) -> Verdict {
        let refuse = |why| Refusal { errno: Errno::INVAL, fatal: Some(why) };
        if message.header.command != command::VERSION {
            return Err(refuse("its first message is not VERSION"));
        }
        if !message.fds.is_empty() || message.fds_lost {
            return Err(refuse("its VERSION came with descriptors"));
        }
        let (body, transfer) = version::agree(&message.body).map_err(|_| refuse("its VERSION cannot be agreed to"))?;
        let mut who = String::new();
        if let Peer::Here(connection) = &mut self.peer {
            (connection.agreed, connection.transfer) = (true, transfer);
            who = format!("pid {}", socket::peer_pid(&**connection));
        }
        self.reply(message.header, message.header.reply(&body), world);
        self.tell(EventKind::Connected, 0, who, world);
        Ok(None)
    }

    fn obey(&mut self, message: Message, world: &mut World) -> Verdict {
        let Message { header, body, fds, fds_lost } = message;
        let takes_fds = matches!(header.command, command::DMA_MAP | command::SET_IRQS);
        if fds_lost || !takes_fds && !fds.is_empty() {
            return Err(Errno::INVAL.into());
        }
        match header.command {
            command::REGION_READ => self.region_read(header, &body, world),
            command::REGION_WRITE => self.region_write(header, &body, world),
            command::REGION_WRITE_MULTI => self.region_write_multi(header, &body, world),
            command::DMA_MAP => self.dma_map(&body, fds, world),
            command::DMA_UNMAP => self.dma_unmap(&body, world),
            command::SET_IRQS => self.set_irqs(&body, fds, world),
            command::GET_IRQ_INFO => Ok(Some(irqs::info(&body, &self.lines)?)),
            command::GET_REGION_INFO => Ok(Some(info::region(&body, &self.outside)?)),
            command::GET_INFO => Ok(Some(info::device(&body)?)),
            command::RESET => self.reset_by_vmm(header, world),
            command::DEVICE_FEATURE => self.device_feature(header, &body, world),
            command::MIG_DATA_READ => self.migration_read(header, &body, world),
            command::MIG_DATA_WRITE => self.migration_write(header, &body, world),
            command::GET_REGION_IO_FDS => Err(Errno::OPNOTSUPP.into()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn dma_map(&mut self, body: &[u8], fds: Vec<OwnedFd>, world: &World) -> Verdict {
        self.maps.map(body, fds)?;
        self.counters.add(counters::Function::DmaMaps, 1);
        // Nobody waits for a map to be known: what may use it comes later, and so reaches the worker later.
        let (table, (done, _)) = (Arc::new(self.maps.table()), sync_channel(1));
        self.log_more(&table, world);
        world.worker.send(Order::SetMemory { function: self.id, table, done });
        Ok(Some(Vec::new()))
    }

    /// The reply means that the memory is touched no more: the worker has let go, and it is unmapped.
    fn dma_unmap(&mut self, body: &[u8], world: &World) -> Verdict {
        let regions = self.maps.unmap(body)?;
        self.counters.add(counters::Function::DmaUnmaps, regions.len() as u64);
        let table = Arc::new(self.maps.table());
        world.settle(|done| Order::SetMemory { function: self.id, table, done });
        Ok(Some(body[..24].to_vec()))
    }

    fn set_irqs(&mut self, body: &[u8], fds: Vec<OwnedFd>, world: &World) -> Verdict {
        if let Wanted::Resample(eventfd) = irqs::set(body, fds, &self.lines)? {
            self.resample_by(eventfd, world)?;
        }
        Ok(Some(Vec::new()))
    }

    fn reset_by_vmm(&mut self, header: Header, world: &mut World) -> Verdict {
        self.wait_for(Job::Reset { header });
        let request = self.requests.event(EventKind::Reset, 0, String::new());
        self.submit_until(request, world);
        Ok(None)
    }
}
