//! Carries out what the function, in the controller, asked for: orders to the worker, changes to the interrupt lines.

use std::time::Duration;

use super::function::{Function, Peer};
use super::requests::Purpose;
use super::world::World;
use crate::control::messages::{self, AnyEffect};
use crate::offload::Offloads;
use crate::ring::{Hold, Pace};
use crate::worker::orders::{Filter, FunctionId, Hash, Order, QueueSetup, Role};

impl Function {
    /// In order. An effect that makes no sense is a mistake of the controller's: it is logged and left out.
    pub fn apply(&mut self, effects: Vec<AnyEffect>, world: &mut World) {
        for effect in effects {
            log::trace!("function {}: {effect:?}", self.id);
            if let Err(why) = self.apply_one(effect, world) {
                log::error!("function {}: the controller asked for what cannot be done: {why}", self.id);
            }
        }
    }

    fn apply_one(&mut self, effect: AnyEffect, world: &mut World) -> Result<(), String> {
        match effect {
            AnyEffect::StartQueue(start) => self.start_queue(&start, world)?,
            AnyEffect::StopQueue(stop) => self.stop_queue(number(stop.queue)?, world),
            AnyEffect::Reset(_) => self.reset(world),
            AnyEffect::SetConfigVector(set) => self.lines.set_config_vector(number(set.vector)?),
            AnyEffect::SetInterrupts(set) => self.lines.set_interrupts(set.msix, set.intx_disabled),
            AnyEffect::RaiseConfig(_) => _ = self.lines.signal_config(),
            AnyEffect::SetPending(set) => self.set_pending(&set)?,
            AnyEffect::AcknowledgeIsr(ack) => self.lines.acknowledge(number(ack.bits)?),
            AnyEffect::Freeze(freeze) => {
                world.settle(|done| Order::Freeze { function: self.id, on: freeze.on, done });
            }
            AnyEffect::Kick(kick) => self.kick(number(kick.queue)?, world),
            effect => world.worker.send(order(self.id, effect)?),
        }
        Ok(())
    }

    /// In its turn, unlike a doorbell: the queue may have been started by the effect before.
    fn kick(&self, queue: u16, world: &World) {
        self.count_doorbell(queue);
        world.worker.send(Order::Kick { function: self.id, queue });
    }

    fn start_queue(&mut self, start: &messages::StartQueue, world: &World) -> Result<(), String> {
        let setup = setup(start)?;
        match self.peer {
            Peer::Here(_) => {
                self.log_ring(start, world);
                world.worker.send(Order::StartQueue { function: self.id, setup });
            }
            // The answer to a VMM that has left meanwhile: there is no memory that the queue could lie in.
            Peer::Absent | Peer::Leaving => {
                log::debug!("function {}: queue {} is not started: no VMM", self.id, setup.queue)
            }
        }
        Ok(())
    }

    fn set_pending(&self, set: &messages::SetPending) -> Result<(), String> {
        let vectors = set.vectors.iter().map(|vector| number(*vector)).collect::<Result<Vec<u16>, _>>()?;
        self.lines.set_pending(number(set.isr)?, &vectors);
        Ok(())
    }

    fn stop_queue(&mut self, queue: u16, world: &mut World) {
        world.settle(|done| Order::StopQueue { function: self.id, queue, done });
        world.forget_notices(self.id, Some(queue));
        self.requests.cancel(|purpose| matches!(purpose, Purpose::Chain { queue: of, .. } if of == queue));
    }

    pub fn reset(&mut self, world: &mut World) {
        self.stop_all(world);
        self.lines.reset();
        world.worker.send(Order::SetPairs { function: self.id, pairs: 1 });
        world.worker.send(Order::SetOffloads { function: self.id, offloads: Offloads::default() });
    }

    /// After this no worker touches a queue, and nothing that one had to say comes up any more.
    pub fn stop_all(&mut self, world: &mut World) {
        world.settle(|done| Order::StopAll { function: self.id, done });
        self.rings.clear();
        if self.logging.is_some() {
            self.log_writes(world);
        }
        world.forget_notices(self.id, None);
        self.requests.cancel(|purpose| matches!(purpose, Purpose::Chain { .. }));
    }
}

/// What is only passed on to the worker.
pub fn order(function: FunctionId, effect: AnyEffect) -> Result<Order, String> {
    Ok(match effect {
        AnyEffect::SetVector(set) => {
            Order::SetVector { function, queue: number(set.queue)?, vector: number(set.vector)? }
        }
        AnyEffect::SetFilter(set) => Order::SetFilter { function, filter: filter(set)? },
        AnyEffect::SetPairs(set) => Order::SetPairs { function, pairs: number(set.pairs)? },
        AnyEffect::SetHash(set) => Order::SetHash { function, hash: hash(set)? },
        AnyEffect::SetCoalescing(set) => Order::SetCoalescing {
            function,
            queue: number(set.queue)?,
            hold: Hold {
                packets: number(set.packets)?,
                period: Duration::from_micros(set.microseconds),
                pace: match set.pace {
                    None => Pace::First,
                    Some(messages::Pace::Event) => Pace::Interrupt,
                    Some(messages::Pace::Cqe) => Pace::Last,
                    Some(messages::Pace::Adaptive) => Pace::Adaptive,
                },
            },
        },
        AnyEffect::SetLink(set) => Order::SetLink { function, up: set.up },
        AnyEffect::SetFabric(set) => Order::SetFabric { function, on: set.on },
        AnyEffect::SetUplink(set) => Order::Assign { function, uplink: number(set.uplink)? },
        AnyEffect::SetFrameLimit(set) => Order::SetFrameLimit { function, octets: number(set.octets)? },
        AnyEffect::Announce(announce) => Order::Announce { function, address: mac(&announce.address)? },
        AnyEffect::SetOffloads(set) => Order::SetOffloads { function, offloads: Offloads(set.features) },
        other => return Err(format!("{other:?} is not for the worker")),
    })
}

fn setup(start: &messages::StartQueue) -> Result<QueueSetup, String> {
    Ok(QueueSetup {
        queue: number(start.queue)?,
        role: match start.role {
            messages::Role::Receive => Role::Receive,
            messages::Role::Transmit => Role::Transmit,
            messages::Role::Control => Role::Control,
        },
        size: number(start.size)?,
        descriptor: start.descriptor,
        driver: start.driver,
        device: start.device,
        header: number(start.header)?,
        mergeable: start.mergeable,
        event_index: start.event_index,
        indirect: start.indirect,
        packed: start.packed,
        in_order: start.in_order,
        vector: number(start.vector)?,
        position: number(start.position)?,
        record: None,
        resume: start.resume,
        answer: start.answer.as_ref().map(|answer| answer.to_vec()),
    })
}

fn filter(set: messages::SetFilter) -> Result<Filter, String> {
    let bitmap = |bytes: &[u8]| <[u8; 512]>::try_from(bytes).map(Box::new).map_err(|_| "a VLAN table has 512 bytes");
    Ok(Filter {
        promiscuous: set.promiscuous,
        all_multicast: set.all_multicast,
        all_unicast: set.all_unicast,
        no_multicast: set.no_multicast,
        no_unicast: set.no_unicast,
        no_broadcast: set.no_broadcast,
        addresses: set.addresses.iter().map(|bytes| mac(bytes)).collect::<Result<_, _>>()?,
        vlans: set.vlans.map(|bytes| bitmap(&bytes)).transpose()?,
    })
}

fn mac(bytes: &[u8]) -> Result<[u8; 6], String> {
    bytes.try_into().map_err(|_| "a MAC address has 6 bytes".into())
}

fn hash(set: messages::SetHash) -> Result<Hash, String> {
    if set.steer && !set.table.len().is_power_of_two() {
        return Err(format!("a table of {} queues cannot be masked", set.table.len()));
    }
    Ok(Hash {
        steer: set.steer,
        types: number(set.types)?,
        key: set.key.into_vec(),
        table: set.table.into_iter().map(number).collect::<Result<_, _>>()?,
        unclassified: number(set.unclassified)?,
    })
}

pub fn number<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    number.try_into().map_err(|_| format!("{number} is out of range"))
}
