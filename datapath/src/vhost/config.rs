//! The device configuration, and the channel on which the front end hears of its changes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::message::{BackendReq, VhostUserConfig};
use vm_memory::ByteValued;

use super::session::{Done, Port, Session, Verdict};
use super::wire::{beginning, kind, request};
use crate::control::socket;

/// What the protocol foresees; zeros follow what there is.
const LONGEST: usize = 256;
const MAC_BYTES: usize = 6;

impl Session {
    /// The bytes asked for; none when they are out of range (which is how a refusal is told).
    pub fn get_config(&self, port: &Port, body: &[u8]) -> Verdict {
        let (asked, payload): (VhostUserConfig, _) = beginning(body)?;
        let (offset, size) = (asked.offset as usize, asked.size as usize);
        if payload.len() != size || offset + size > LONGEST {
            let refused = VhostUserConfig { size: 0, ..asked };
            return Ok(Done::With(refused.as_slice().to_vec()));
        }
        let mut config = port.offer.config.clone();
        config.resize(LONGEST, 0);
        Ok(Done::With([asked.as_slice(), &config[offset..offset + size]].concat()))
    }

    /// Only the address can be written (virtio 1.3 §5.1.4.3).
    pub fn set_config(&mut self, port: &mut Port, body: &[u8]) -> Verdict {
        let (asked, bytes): (VhostUserConfig, _) = beginning(body)?;
        let (offset, size) = (asked.offset as usize, asked.size as usize);
        if bytes.len() != size {
            return Err(format!("it has {} bytes for a configuration of {size}", bytes.len()));
        }
        match port.offer.config.get_mut(offset..offset + size) {
            Some(place) if offset + size <= MAC_BYTES => place.copy_from_slice(bytes),
            _ => return Ok(Done::Refused(format!("bytes {offset}.. of the configuration cannot be written"))),
        }
        Ok(Done::Quietly)
    }

    pub fn set_channel(&mut self, mut fds: Vec<OwnedFd>) -> Verdict {
        let fd = fds.pop().filter(|fd| kind(fd) == Some(FileType::Socket));
        let fd = fd.ok_or("its descriptor is not a socket")?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| format!("its socket cannot be used: {error}"))?;
        self.channel = Some(fd);
        Ok(Done::Quietly)
    }

    /// Nobody waits for a front end that does not listen: it can read the configuration whenever it likes.
    pub fn tell_config_changed(&mut self) {
        let Some(channel) = self.channel.as_ref().filter(|_| self.protocol.contains(Protocol::CONFIG)) else { return };
        let message = request(BackendReq::CONFIG_CHANGE_MSG.into());
        match socket::send(channel.as_fd(), &message, None) {
            Ok(sent) if sent == message.len() => {}
            Err(error) if socket::would_block(&error) => log::debug!("a front end does not read what it is told"),
            _ => self.channel = None, // it has closed it, or would read the rest as a beginning
        }
    }
}
