//! Each request to whoever carries it out, once it is known that it may come.

use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::message::FrontendReq;

use super::memory::MOST_SLOTS;
use super::session::{Done, Port, Session, Verdict};
use super::wire::Header;
use crate::pump::stream::Message;
use crate::pump::world::World;

/// The protocol features that are served.
pub const SERVED: Protocol = Protocol::MQ
    .union(Protocol::RARP)
    .union(Protocol::REPLY_ACK)
    .union(Protocol::MTU)
    .union(Protocol::BACKEND_REQ)
    .union(Protocol::CONFIG)
    .union(Protocol::RESET_DEVICE)
    .union(Protocol::CONFIGURE_MEM_SLOTS)
    .union(Protocol::STATUS)
    .union(Protocol::LOG_SHMFD)
    .union(Protocol::INFLIGHT_SHMFD)
    .union(Protocol::DEVICE_STATE);

/// A message to the front end, and a descriptor that goes with it.
pub type Reply = (Vec<u8>, Option<OwnedFd>);

impl Session {
    /// Carries out a message; what is to be sent back. The error is a sentence: why the connection cannot go on.
    pub fn carry_out(
        &mut self,
        port: &mut Port,
        message: Message<Header>,
        world: &mut World,
    ) -> Result<Option<Reply>, String> {
        let header = message.header;
        let done = self.obey(port, message, world).map_err(|why| format!("{}: {why}", header.name()))?;
        let asked = header.wants_reply() && self.protocol.contains(Protocol::REPLY_ACK);
        match done {
            Done::With(body) => Ok(Some((header.reply(&body), None))),
            Done::WithFd(body, fd) => Ok(Some((header.reply(&body), Some(fd)))),
            Done::Quietly => Ok(asked.then(|| (header.reply(&0u64.to_ne_bytes()), None))),
            Done::Refused(why) if asked => {
                log::warn!("function {}: {} is refused: {why}", port.id, header.name());
                Ok(Some((header.reply(&1u64.to_ne_bytes()), None)))
            }
            Done::Refused(why) => Err(format!("{}: {why}", header.name())),
        }
    }

    fn obey(&mut self, port: &mut Port, message: Message<Header>, world: &mut World) -> Verdict {
        let Message { header, body, fds, fds_lost } = message;
        let request = FrontendReq::try_from(header.request).map_err(|()| "there is no such request")?;
        let needed = needed(request).ok_or("it is not served here")?;
        if !self.protocol.contains(needed) {
            return Err(format!("it came without {needed:?}"));
        }
        if fds_lost || !descriptors(request).contains(&fds.len()) {
            return Err(format!("it came with {} descriptors, or with others than belong to it", fds.len()));
        }
        log::trace!("function {}: {request:?} {body:02x?}", port.id);
        match request {
            FrontendReq::GET_FEATURES => told(port.offer.features, &body),
            FrontendReq::SET_FEATURES => self.set_features(port, &body, world),
            FrontendReq::GET_PROTOCOL_FEATURES => told(port.offer.protocol.bits(), &body),
            FrontendReq::SET_PROTOCOL_FEATURES => self.set_protocol_features(port, &body),
            FrontendReq::SET_OWNER => Ok(Done::Quietly),
            FrontendReq::RESET_OWNER | FrontendReq::RESET_DEVICE => {
                self.reset(port, world);
                Ok(Done::Quietly)
            }
            FrontendReq::GET_QUEUE_NUM => told(port.offer.rings as u64 / 2, &body),
            FrontendReq::SET_MEM_TABLE => self.set_mem_table(port, &body, &fds, world),
            FrontendReq::GET_MAX_MEM_SLOTS => told(MOST_SLOTS as u64, &body),
            FrontendReq::ADD_MEM_REG => self.add_mem_reg(port, &body, &fds, world),
            FrontendReq::REM_MEM_REG => self.rem_mem_reg(port, &body, world),
            FrontendReq::SET_VRING_NUM => self.set_vring_num(port, &body, world),
            FrontendReq::SET_VRING_ADDR => self.set_vring_addr(port, &body, world),
            FrontendReq::SET_VRING_BASE => self.set_vring_base(&body),
            FrontendReq::GET_VRING_BASE => self.get_vring_base(port, &body, world),
            FrontendReq::SET_VRING_KICK => self.set_vring_kick(port, &body, fds, world),
            FrontendReq::SET_VRING_CALL => self.set_vring_call(port, &body, fds),
            FrontendReq::SET_VRING_ERR => self.set_vring_err(&body, fds),
            FrontendReq::SET_VRING_ENABLE => self.set_vring_enable(port, &body, world),
            FrontendReq::SEND_RARP => self.announce(port, &body, world),
            FrontendReq::NET_SET_MTU => self.set_mtu(port, &body, world),
            FrontendReq::SET_BACKEND_REQ_FD => self.set_channel(fds),
            FrontendReq::GET_CONFIG => self.get_config(port, &body),
            FrontendReq::SET_CONFIG => self.set_config(port, &body),
            FrontendReq::SET_STATUS => self.set_status(port, &body, world),
            FrontendReq::SET_LOG_BASE => self.set_log_base(port, &body, &fds, world),
            FrontendReq::SET_LOG_FD => self.set_log_fd(port, fds, world),
            FrontendReq::GET_INFLIGHT_FD => self.get_inflight(port, &body),
            FrontendReq::SET_INFLIGHT_FD => self.set_inflight(port, &body, &fds),
            FrontendReq::SET_DEVICE_STATE_FD => self.set_device_state(port, world, &body, fds),
            FrontendReq::CHECK_DEVICE_STATE => self.check_device_state(port, world),
            FrontendReq::GET_STATUS => told(self.status.into(), &body),
            _ => Err("it is not served here".into()),
        }
    }
}

/// The protocol feature that a request belongs to, if to any; None: it is not served.
fn needed(request: FrontendReq) -> Option<Protocol> {
    Some(match request {
        FrontendReq::GET_FEATURES
        | FrontendReq::SET_FEATURES
        | FrontendReq::SET_OWNER
        | FrontendReq::RESET_OWNER
        | FrontendReq::SET_LOG_FD
        | FrontendReq::SET_MEM_TABLE
        | FrontendReq::SET_VRING_NUM
        | FrontendReq::SET_VRING_ADDR
        | FrontendReq::SET_VRING_BASE
        | FrontendReq::GET_VRING_BASE
        | FrontendReq::SET_VRING_KICK
        | FrontendReq::SET_VRING_CALL
        | FrontendReq::SET_VRING_ERR
        | FrontendReq::SET_VRING_ENABLE
        | FrontendReq::GET_PROTOCOL_FEATURES
        | FrontendReq::SET_PROTOCOL_FEATURES => Protocol::empty(),
        FrontendReq::GET_QUEUE_NUM => Protocol::MQ,
        FrontendReq::SEND_RARP => Protocol::RARP,
        FrontendReq::NET_SET_MTU => Protocol::MTU,
        FrontendReq::SET_BACKEND_REQ_FD => Protocol::BACKEND_REQ,
        FrontendReq::GET_CONFIG | FrontendReq::SET_CONFIG => Protocol::CONFIG,
        FrontendReq::RESET_DEVICE => Protocol::RESET_DEVICE,
        FrontendReq::GET_MAX_MEM_SLOTS | FrontendReq::ADD_MEM_REG | FrontendReq::REM_MEM_REG => {
            Protocol::CONFIGURE_MEM_SLOTS
        }
        FrontendReq::SET_STATUS | FrontendReq::GET_STATUS => Protocol::STATUS,
        FrontendReq::SET_LOG_BASE => Protocol::LOG_SHMFD,
        FrontendReq::GET_INFLIGHT_FD | FrontendReq::SET_INFLIGHT_FD => Protocol::INFLIGHT_SHMFD,
        FrontendReq::SET_DEVICE_STATE_FD | FrontendReq::CHECK_DEVICE_STATE => Protocol::DEVICE_STATE,
        _ => return None,
    })
}

/// How many descriptors belong to a request.
fn descriptors(request: FrontendReq) -> RangeInclusive<usize> {
    match request {
        FrontendReq::SET_MEM_TABLE => 1..=8,
        FrontendReq::SET_VRING_KICK | FrontendReq::SET_VRING_CALL | FrontendReq::SET_VRING_ERR => 0..=1,
        FrontendReq::REM_MEM_REG => 0..=1,
        FrontendReq::ADD_MEM_REG
        | FrontendReq::SET_BACKEND_REQ_FD
        | FrontendReq::SET_LOG_BASE
        | FrontendReq::SET_LOG_FD
        | FrontendReq::SET_INFLIGHT_FD
        | FrontendReq::SET_DEVICE_STATE_FD => 1..=1,
        _ => 0..=0,
    }
}

/// The answer to a question that has no body.
fn told(value: u64, body: &[u8]) -> Verdict {
    if body.is_empty() {
        Ok(Done::With(value.to_ne_bytes().to_vec()))
    } else {
        Err(format!("it has {} bytes, and asks for nothing", body.len()))
    }
}
