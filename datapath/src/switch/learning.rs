//! Behind which function an address was last seen as a source. Bounded, and each function has a share of its own, so a
//! guest that invents addresses does not push out the others'.

use std::hash::{BuildHasher, RandomState};

use super::frame::Mac;
use crate::worker::orders::FunctionId;

/// Seconds after which an address not seen again is forgotten (IEEE 802.1Q §8.8.3).
pub const AGEING: u32 = 300;
/// Addresses that one function may have in the table.
pub const SHARE: u16 = 1024;
const SETS: usize = 4096;
const WAYS: usize = 4;

/// Free while `mac` is zero, which is no station's address.
#[derive(Clone, Copy)]
struct Entry {
    mac: u64,
    function: FunctionId,
    seen: u32,
}

const FREE: Entry = Entry { mac: 0, function: 0, seen: 0 };

/// A set of entries shares a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

pub struct Learning {
    sets: Vec<Set>,
    shares: Vec<u16>,
    seed: u64,
    swept: u32,
}

impl Learning {
    pub fn new(functions: usize) -> Learning {
        // A seed of its own, so that a guest cannot aim at one set.
        let seed = RandomState::new().hash_one(0) | 1;
        Learning { sets: vec![Set([FREE; WAYS]); SETS], shares: vec![0; functions], seed, swept: 0 }
    }

    /// A frame from `mac` came out of a function. `now` is in seconds.
    #[inline]
    pub fn learn(&mut self, mac: Mac, function: FunctionId, now: u32) {
        if !mac.is_station() {
            return;
        }
        let index = self.index(mac);
        match self.sets[index].0.iter_mut().find(|entry| entry.mac == mac.value()) {
            Some(entry) if entry.function == function => entry.seen = now,
            Some(_) => self.relocate(index, mac, function, now),
            None => self.insert(index, mac, function, now),
        }
    }

    /// The function behind which an address is, if that was learned lately.
    #[inline]
    pub fn find(&self, mac: Mac, now: u32) -> Option<FunctionId> {
        let set = &self.sets[self.index(mac)];
        let entry = set.0.iter().find(|entry| entry.mac == mac.value() && entry.mac != 0)?;
        (now.wrapping_sub(entry.seen) < AGEING).then_some(entry.function)
    }

    /// Nothing is behind this function any more.
    pub fn forget(&mut self, function: FunctionId) {
        if self.shares.get(function as usize).is_some_and(|share| *share > 0) {
            self.remove(|entry| entry.function == function);
        }
    }

    #[cold]
    fn relocate(&mut self, index: usize, mac: Mac, function: FunctionId, now: u32) {
        if self.has_share(function, now) {
            if let Some(entry) = self.sets[index].0.iter_mut().find(|entry| entry.mac == mac.value()) {
                self.shares[entry.function as usize] -= 1;
                self.shares[function as usize] += 1;
                *entry = Entry { mac: mac.value(), function, seen: now };
            }
        }
    }

    #[cold]
    fn insert(&mut self, index: usize, mac: Mac, function: FunctionId, now: u32) {
        if !self.has_share(function, now) {
            return;
        }
        let oldest = self.sets[index].0.iter_mut().min_by_key(|entry| if entry.mac == 0 { 0 } else { entry.seen + 1 });
        if let Some(entry) = oldest {
            if entry.mac != 0 {
                self.shares[entry.function as usize] -= 1;
            }
            self.shares[function as usize] += 1;
            *entry = Entry { mac: mac.value(), function, seen: now };
        }
    }

    /// Whether the function may have one more; addresses that aged are swept out first, at most once a second.
    fn has_share(&mut self, function: FunctionId, now: u32) -> bool {
        if self.shares[function as usize] >= SHARE && self.swept != now {
            self.swept = now;
            self.remove(|entry| now.wrapping_sub(entry.seen) >= AGEING);
        }
        self.shares[function as usize] < SHARE
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if entry.mac != 0 && which(entry) {
                self.shares[entry.function as usize] -= 1;
                *entry = FREE;
            }
        }
    }

    #[inline(always)]
    fn index(&self, mac: Mac) -> usize {
        (mac.value().wrapping_mul(self.seed) >> 40) as usize % SETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac::new([2, 0, a, b, c, d])
    }

    #[test]
    fn an_address_is_found_where_it_was_last_seen() {
        let mut table = Learning::new(4);
        table.learn(mac(1), 2, 0);
        assert_eq!(table.find(mac(1), 1), Some(2));
        table.learn(mac(1), 3, 2);
        assert_eq!(table.find(mac(1), 3), Some(3));
    }

    #[test]
    fn an_address_is_forgotten_after_the_ageing_time() {
        let mut table = Learning::new(4);
        table.learn(mac(1), 2, 10);
        assert_eq!(table.find(mac(1), 10 + AGEING - 1), Some(2));
        assert_eq!(table.find(mac(1), 10 + AGEING), None);
    }

    #[test]
    fn group_and_zero_addresses_are_not_learned() {
        let mut table = Learning::new(4);
        for bytes in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            table.learn(Mac::new(bytes), 2, 0);
            assert_eq!(table.find(Mac::new(bytes), 0), None);
        }
    }

    #[test]
    fn a_guest_that_invents_addresses_fills_its_own_share_only() {
        let mut table = Learning::new(4);
        table.learn(mac(0), 1, 0);
        (1..100_000).for_each(|n| table.learn(mac(n), 2, 0));
        assert_eq!(table.shares[2], SHARE);
        table.learn(mac(200_000), 1, 0);
        assert_eq!(table.find(mac(200_000), 0), Some(1));
        table.learn(mac(300_000), 2, AGEING);
        assert_eq!(table.find(mac(300_000), AGEING), Some(2));
    }

    #[test]
    fn a_function_that_left_is_forgotten() {
        let mut table = Learning::new(4);
        table.learn(mac(1), 2, 0);
        table.forget(2);
        assert_eq!((table.find(mac(1), 0), table.shares[2]), (None, 0));
    }
}
