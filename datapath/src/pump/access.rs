//! Register accesses: doorbells, the ISR and pending bits are answered here, everything else by the function.

use std::collections::VecDeque;

use rustix::io::Errno;

use super::function::{Function, Verdict};
use super::migration::Shape;
use super::outside::{Outside, Register};
use super::wire::{Fields, Header, MAX_TRANSFER};
use super::world::World;
use crate::counters::{QUEUES, Queue};

/// Bytes of one write of REGION_WRITE_MULTI: a place, and 8 bytes for the data.
const ONE_OF_MULTI: usize = 24;

/// Bytes of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: u32,
    pub offset: u64,
    pub count: u32,
}

/// A command of the VMM that waits for an answer of the controller.
#[derive(Debug)]
pub enum Job {
    Read { header: Header, place: Place },
    Writes(Writes),
    Reset { header: Header },
    Migrate { header: Header, shape: Shape },
}

/// Writes that are carried out one after the other, and the body of the reply once all are done.
#[derive(Debug)]
pub struct Writes {
    header: Header,
    left: VecDeque<(Place, Vec<u8>)>,
    reply: Vec<u8>,
}

impl Place {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Errno> {
        Ok(Self { offset: fields.u64()?, region: fields.u32()?, count: fields.u32()? })
    }

    fn check(self, outside: &Outside) -> Result<Self, Errno> {
        let fits = self.count <= MAX_TRANSFER && outside.contains(self.region, self.offset, self.count);
        if fits { Ok(self) } else { Err(Errno::INVAL) }
    }

    fn reply(self, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(16 + data.len());
        body.extend(self.offset.to_le_bytes());
        body.extend(self.region.to_le_bytes());
        body.extend(self.count.to_le_bytes());
        body.extend(data);
        body
    }
}

impl Function {
    pub fn region_read(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let place = Place::parse(&mut Fields(body))?.check(&self.outside)?;
        match self.outside.read(place.region, place.offset, place.count) {
            Register::Isr => Ok(Some(place.reply(&[self.lines.take_isr()]))),
            Register::Pending(start) => {
                let mut bits = vec![0; place.count as usize];
                self.lines.read_pending(start, &mut bits);
                Ok(Some(place.reply(&bits)))
            }
            _ => {
                self.ask(Job::Read { header, place }, place, None, world);
                Ok(None)
            }
        }
    }

    pub fn region_write(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let mut fields = Fields(body);
        let place = Place::parse(&mut fields)?.check(&self.outside)?;
        let data = fields.rest();
        if data.len() != place.count as usize {
            return Err(Errno::INVAL.into());
        }
        let reply = place.reply(&[]);
        if self.rang(place, data, world) {
            return Ok(Some(reply));
        }
        let left = VecDeque::from([(place, data.to_vec())]);
        Ok(self.go_on(Writes { header, left, reply }, world))
    }

    /// Several writes of up to 8 bytes in one message. All are checked before the first is done.
    pub fn region_write_multi(&mut self, header: Header, body: &[u8], world: &mut World) -> Verdict {
        let (count, writes) = body.split_first_chunk::<8>().ok_or(Errno::INVAL)?;
        if u64::from_le_bytes(*count).checked_mul(ONE_OF_MULTI as u64) != Some(writes.len() as u64) {
            return Err(Errno::INVAL.into());
        }
        let writes = writes.chunks_exact(ONE_OF_MULTI);
        let left = writes.map(|write| self.one_of_multi(write)).collect::<Result<_, _>>()?;
        Ok(self.go_on(Writes { header, left, reply: count.to_vec() }, world))
    }

    fn one_of_multi(&self, write: &[u8]) -> Result<(Place, Vec<u8>), Errno> {
        let mut fields = Fields(write);
        let place = Place::parse(&mut fields)?.check(&self.outside)?;
        let data = fields.rest().get(..place.count as usize).ok_or(Errno::INVAL)?;
        Ok((place, data.to_vec()))
    }

    /// Writes until one needs the function. Returns the body of the reply when all are done.
    fn go_on(&mut self, mut writes: Writes, world: &mut World) -> Option<Vec<u8>> {
        while let Some((place, data)) = writes.left.pop_front() {
            if !self.rang(place, &data, world) {
                self.ask(Job::Writes(writes), place, Some(&data), world);
                return None;
            }
        }
        Some(writes.reply)
    }

    /// Rings if the write is to a doorbell.
    fn rang(&self, place: Place, data: &[u8], world: &mut World) -> bool {
        let Register::Doorbell(queue) = self.outside.write(place.region, place.offset, data) else { return false };
        self.count_doorbell(queue);
        world.doorbell(self.id, queue);
        true
    }

    pub fn count_doorbell(&self, queue: u16) {
        if usize::from(queue) < QUEUES {
            self.counters.queue(queue).add(Queue::Doorbells, 1);
        }
    }

    fn ask(&mut self, job: Job, place: Place, written: Option<&[u8]>, world: &mut World) {
        self.wait_for(job);
        let request = self.requests.access(place, written, self.lines.isr());
        self.submit_until(request, world);
    }

    /// The function has answered what the VMM waits for.
    pub fn finish(&mut self, job: Job, errno: u64, data: &[u8], world: &mut World) {
        let (header, done) = match job {
            Job::Reset { header } => (header, Ok(Some(Vec::new()))),
            Job::Read { header, place } if data.len() == place.count as usize => (header, Ok(Some(place.reply(data)))),
            Job::Read { header, place } => {
                if errno == 0 {
                    log::error!(
                        "function {}: the controller answered a read of {place:?} with {} bytes",
                        self.id,
                        data.len()
                    );
                }
                (header, Err(Errno::IO))
            }
            Job::Migrate { header, shape } => match shape.reply(data) {
                Some(body) => (header, Ok(Some(body))),
                None => {
                    if errno == 0 {
                        log::error!(
                            "function {}: the controller answered a migration with {} bytes",
                            self.id,
                            data.len()
                        );
                    }
                    (header, Err(Errno::IO))
                }
            },
            Job::Writes(writes) => (writes.header, Ok(if errno == 0 { self.go_on(writes, world) } else { None })),
        };
        match (errno, done) {
            (0, Ok(Some(body))) => self.reply(header, header.reply(&body), world),
            (0, Ok(None)) => {} // the next write waits
            (0, Err(refused)) => self.reply(header, header.refusal(refused), world),
            (errno, _) => {
                self.reply(header, header.refusal(Errno::from_raw_os_error(errno.clamp(1, 4095) as i32)), world)
            }
        }
    }
}
