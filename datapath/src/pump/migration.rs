//! DEVICE_FEATURE and migration data: what a VMM asks that moves its device (linux/vfio.h, the migration protocol v2). What
//! has been written into the guest is known here; everything else the function decides.

use rustix::io::Errno;

use super::access::Job;
use super::function::{Function, Peer, Verdict};
use super::wire::{Fields, Header};
use super::world::World;
use crate::control::messages::MigrateVerb;

/// Features, by number.
mod feature {
    pub const MIGRATION: u32 = 1;
    pub const MIG_DEVICE_STATE: u32 = 2;
    pub const DMA_LOGGING_START: u32 = 6;
    pub const DMA_LOGGING_STOP: u32 = 7;
    pub const DMA_LOGGING_REPORT: u32 = 8;
    pub const MIG_DATA_SIZE: u32 = 9;
}

const FEATURE: u32 = 0xffff;
const GET: u32 = 1 << 16;
const SET: u32 = 1 << 17;
const PROBE: u32 = 1 << 18;

/// What can be done with each feature.
const SUPPORTED: [(u32, u32); 6] = [
    (feature::MIGRATION, GET),
    (feature::MIG_DEVICE_STATE, GET | SET),
    (feature::DMA_LOGGING_START, SET),
    (feature::DMA_LOGGING_STOP, SET),
    (feature::DMA_LOGGING_REPORT, GET),
    (feature::MIG_DATA_SIZE, GET),
];

/// The states that there are beside RUNNING and ERROR: STOP_COPY, P2P and PRE_COPY.
const STATES: u64 = 1 << 0 | 1 << 1 | 1 << 2;

/// Bytes before the data: of a feature, and of migration data.
pub const HEAD: usize = 8;

/// A device state: itself, and a descriptor that is not used here.
const STATE: usize = 8;
const NO_DESCRIPTOR: u32 = u32::MAX;

/// DEVICE_FEATURE, as far as it is the same for all features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Most bytes that the reply may have.
    room: usize,
    flags: u32,
}

/// How an answer of the function becomes the body of a reply.
#[derive(Debug)]
pub enum Shape {
    /// The request's body once more.
    Echo(Vec<u8>),
    State(Asked),
    Size(Asked),
    /// Migration data, at most so many bytes.
    Data(usize),
}

impl Asked {
    /// EINVAL for what cannot be done, whatever the reason, as libvfio-user has it.
    fn parse(body: &[u8]) -> Result<(Self, &[u8]), Errno> {
        let mut fields = Fields(body);
        let (room, flags) = (fields.u32()? as usize, fields.u32()?);
        let (feature, wanted) = (flags & FEATURE, flags & !FEATURE);
        let possible = SUPPORTED.iter().find(|(number, _)| *number == feature).map_or(0, |(_, possible)| *possible);
        let one = matches!(wanted, GET | SET) || wanted & PROBE != 0;
        if possible == 0 || wanted & !(possible | PROBE) != 0 || !one {
            return Err(Errno::INVAL);
        }
        Ok((Self { room, flags }, fields.rest()))
    }

    fn feature(self) -> u32 {
        self.flags & FEATURE
    }

    fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether a reply with so many bytes of data has room.
    pub fn fits(self, len: usize) -> Result<(), Errno> {
        if self.room < HEAD + len { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// The reply to a SET: the request with this data.
    pub fn echo(self, data: &[u8]) -> Vec<u8> {
        [&(self.room as u32).to_le_bytes()[..], &self.flags.to_le_bytes(), data].concat()
    }

    /// The reply to a GET.
    pub fn reply(self, data: &[u8]) -> Vec<u8> {
        [&((HEAD + data.len()) as u32).to_le_bytes()[..], &self.flags.to_le_bytes(), data].concat()
    }
}

impl Shape {
    /// None: such an answer does not belong to the question.
    pub fn reply(self, answer: &[u8]) -> Option<Vec<u8>> {
        match self {
            Shape::Echo(body) => answer.is_empty().then_some(body),
            Shape::State(asked) => {
                (answer.len() == 4).then(|| asked.reply(&[answer, &NO_DESCRIPTOR.to_le_bytes()].concat()))
            }
            Shape::Size(asked) => (answer.len() == 8).then(|| asked.reply(answer)),
            Shape::Data(most) => (answer.len() <= most).then(|| {
                let numbers = [HEAD + answer.len(), answer.len()].map(|number| (number as u32).to_le_bytes());
                [&numbers.concat(), answer].concat()
            }),
        }
    }
}

impl Function {
    pub fn device_feature(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let (asked, data) = Asked::parse(body)?;
        if !asked.has(GET) || asked.has(PROBE) {
            asked.fits(data.len())?; // the reply repeats the request
        }
        if asked.has(PROBE) {
            return Ok(Some(body.to_vec()));
        }
        match asked.feature() {
            feature::MIGRATION => asked.fits(8).map(|()| Some(asked.reply(&STATES.to_le_bytes()))).map_err(Into::into),
            feature::MIG_DEVICE_STATE if asked.has(GET) => {
                asked.fits(STATE)?;
                Ok(self.ask_about_migration(header, Shape::State(asked), MigrateVerb::GetState, 0, &[], world))
            }
            feature::MIG_DEVICE_STATE => {
                let state = Fields(data).u32()?;
                Fields(data).take::<STATE>()?;
                let echo = Shape::Echo(body.to_vec());
                Ok(self.ask_about_migration(header, echo, MigrateVerb::SetState, state, &[], world))
            }
            feature::MIG_DATA_SIZE => {
                asked.fits(8)?;
                Ok(self.ask_about_migration(header, Shape::Size(asked), MigrateVerb::DataSize, 0, &[], world))
            }
            feature::DMA_LOGGING_START => Ok(Some(self.start_logging(asked, data, world)?)),
            feature::DMA_LOGGING_STOP => {
                self.stop_logging(world);
                Ok(Some(body.to_vec()))
            }
            _ => Ok(Some(self.report_writes(asked, data)?)),
        }
    }

    /// MIG_DATA_READ: the next bytes of the device's state.
    pub fn migration_read(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let (size, _) = self.migration_data(body)?;
        Ok(self.ask_about_migration(header, Shape::Data(size), MigrateVerb::Read, size as u32, &[], world))
    }

    /// MIG_DATA_WRITE: the next bytes of the state of a device that is to become this one.
    pub fn migration_write(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let (size, data) = self.migration_data(body)?;
        if data.len() != size {
            return Err(Errno::INVAL.into());
        }
        Ok(self.ask_about_migration(header, Shape::Echo(Vec::new()), MigrateVerb::Write, 0, data, world))
    }

    fn migration_data<'b>(&self, body: &'b [u8]) -> Result<(usize, &'b [u8]), Errno> {
        let mut fields = Fields(body);
        let (room, size) = (fields.u32()? as usize, fields.u32()? as usize);
        let most = match &self.peer {
            Peer::Here(connection) => connection.transfer as usize,
            Peer::Absent | Peer::Leaving => 0,
        };
        if size > most || room < HEAD + size { Err(Errno::INVAL) } else { Ok((size, fields.rest())) }
    }

    /// The number is of a state, or of bytes.
    fn ask_about_migration(
        &mut self,
        header: Header,
        shape: Shape,
        verb: MigrateVerb,
        number: u32,
        data: &[u8],
        world: &mut World,
    ) -> Option<Vec<u8>> {
        self.wait_for(Job::Migrate { header, shape });
        let request = self.requests.migrate(verb, number, data);
        self.submit_until(request, world);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: u32) -> Result<Asked, Errno> {
        let body = [100, flags].into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        Asked::parse(&body).map(|(asked, _)| asked)
    }

    #[test]
    fn only_what_there_is_can_be_asked_for() {
        for flags in [GET | 1, GET | 2, SET | 2, SET | 6, SET | 7, GET | 8, GET | 9, PROBE | GET | SET | 2, PROBE | 6] {
            assert_eq!(parse(flags), Ok(Asked { room: 100, flags }), "{flags:#x}");
        }
        for flags in
            [1, GET, GET | 3, PROBE | 10, SET | 1, GET | SET | 2, PROBE | SET | 1, GET | 6, SET | 8, 1 << 19 | GET | 1]
        {
            assert_eq!(parse(flags), Err(Errno::INVAL), "{flags:#x}");
        }
        assert_eq!(Asked::parse(&[0; 7]).err(), Some(Errno::INVAL));
    }

    #[test]
    fn an_answer_becomes_a_reply_of_its_shape() {
        let asked = Asked { room: 16, flags: GET | 2 };
        let state = Shape::State(asked).reply(&[6, 0, 0, 0]).unwrap();
        assert_eq!(state, [16, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Shape::Data(3).reply(b"ab").unwrap(), [10, 0, 0, 0, 2, 0, 0, 0, b'a', b'b']);
        assert_eq!(Shape::Data(1).reply(b"ab"), None);
        assert_eq!(Shape::Size(asked).reply(&[1]), None);
    }

    #[test]
    fn a_reply_must_have_room() {
        let asked = Asked { room: 16, flags: GET | 2 };
        assert_eq!((asked.fits(8), asked.fits(9)), (Ok(()), Err(Errno::INVAL)));
    }
}
