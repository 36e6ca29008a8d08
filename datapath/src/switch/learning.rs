//! Behind which port an address was last seen as a source, in each VLAN on its own. Of a fixed size, with a share for each
//! port, so a guest that invents addresses neither makes it grow nor pushes out the others'.

use std::hash::{BuildHasher, RandomState};

use super::frame::Station;
use crate::worker::orders::FunctionId;

/// Seconds after which an address not seen again is forgotten (IEEE 802.1Q §8.8.3).
pub const AGEING: u32 = 300;
/// Addresses that one guest may have in the table.
pub const SHARE: u32 = 1024;
/// Those behind an uplink: a whole network.
pub const SHARE_OF_UPLINK: u32 = 32 * 1024;
/// Twice the 64 K addresses that are to be held. An address may lie in either of two sets, so that few find both full.
const SETS: usize = 32 * 1024;
const WAYS: usize = 4;

/// Free while `key` is zero, which is no station's.
#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    port: FunctionId,
    seen: u32,
}

const FREE: Entry = Entry { key: 0, port: 0, seen: 0 };

/// A set of entries shares a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

struct Share {
    used: u32,
    most: u32,
}

pub struct Learning {
    sets: Vec<Set>,
    shares: Vec<Share>,
    guests: usize,
    seed: u64,
    swept: u32,
}

impl Learning {
    /// For ports 0..`guests`, and `uplinks` after them.
    pub fn new(guests: usize, uplinks: usize) -> Learning {
        // A seed of its own, so that a guest cannot aim at one set.
        let seed = RandomState::new().hash_one(0) | 1;
        let most = |port| if port < guests { SHARE } else { SHARE_OF_UPLINK };
        let shares = (0..guests + uplinks).map(|port| Share { used: 0, most: most(port) }).collect();
        Learning { sets: vec![Set([FREE; WAYS]); SETS], shares, guests, seed, swept: 0 }
    }

    /// A frame from `station` came out of a port. `now` is in seconds. What a guest sends from is not moved to an uplink
    /// while it is fresh: such a frame has come back in a loop, or pretends.
    #[inline]
    pub fn learn(&mut self, station: Station, port: FunctionId, now: u32) {
        if !station.is_one() {
            return;
        }
        match self.entry(station) {
            Some(entry) if entry.port == port => entry.seen = now,
            Some(entry) => {
                let former = (entry.port, entry.seen);
                self.relocate(station, port, former, now);
            }
            None => self.insert(station, port, now),
        }
    }

    /// The port behind which an address is, if that was learned lately.
    #[inline]
    pub fn find(&self, station: Station, now: u32) -> Option<FunctionId> {
        let key = station.key();
        let found = |index: usize| self.sets[index].0.iter().find(|entry| entry.key == key && key != 0);
        let [first, second] = self.places(key);
        let entry = found(first).or_else(|| found(second))?;
        (now.wrapping_sub(entry.seen) < AGEING).then_some(entry.port)
    }

    /// Nothing is behind this port any more.
    pub fn forget(&mut self, port: FunctionId) {
        if self.shares.get(port as usize).is_some_and(|share| share.used > 0) {
            self.remove(|entry| entry.port == port);
        }
    }

    #[inline(always)]
    fn entry(&mut self, station: Station) -> Option<&mut Entry> {
        let key = station.key();
        let [first, second] = self.places(key);
        let within = |set: &Set| set.0.iter().position(|entry| entry.key == key);
        let (index, way) = match within(&self.sets[first]) {
            Some(way) => (first, way),
            None => (second, within(&self.sets[second])?),
        };
        Some(&mut self.sets[index].0[way])
    }

    #[cold]
    fn relocate(&mut self, station: Station, port: FunctionId, former: (FunctionId, u32), now: u32) {
        let (from, seen) = former;
        let back = port as usize >= self.guests && (from as usize) < self.guests;
        if back && now.wrapping_sub(seen) < AGEING || !self.has_share(port, now) {
            return;
        }
        // Sweeping for the share may have taken the entry, so it is looked for again.
        let Some(entry) = self.entry(station) else { return self.insert(station, port, now) };
        *entry = Entry { key: station.key(), port, seen: now };
        self.shares[from as usize].used -= 1;
        self.shares[port as usize].used += 1;
    }

    /// Into a free place of its two sets, else into that of whoever was not heard for longest.
    #[cold]
    fn insert(&mut self, station: Station, port: FunctionId, now: u32) {
        if !self.has_share(port, now) {
            return;
        }
        let [first, second] = self.places(station.key());
        let free = |set: &Set| set.0.iter().filter(|entry| entry.key == 0).count();
        let roomier = if free(&self.sets[first]) >= free(&self.sets[second]) { first } else { second };
        let oldest = self.sets[roomier].0.iter_mut().max_by_key(|entry| match entry.key {
            0 => u64::MAX,
            _ => u64::from(now.wrapping_sub(entry.seen)),
        });
        if let Some(entry) = oldest {
            if entry.key != 0 {
                self.shares[entry.port as usize].used -= 1;
            }
            *entry = Entry { key: station.key(), port, seen: now };
            self.shares[port as usize].used += 1;
        }
    }

    /// Whether the port may have one more; addresses that aged are swept out first, at most once a second.
    fn has_share(&mut self, port: FunctionId, now: u32) -> bool {
        let full = |shares: &[Share]| shares[port as usize].used >= shares[port as usize].most;
        if full(&self.shares) && self.swept != now {
            self.swept = now;
            self.remove(|entry| now.wrapping_sub(entry.seen) >= AGEING);
        }
        !full(&self.shares)
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if entry.key != 0 && which(entry) {
                self.shares[entry.port as usize].used -= 1;
                *entry = FREE;
            }
        }
    }

    /// The two sets that a key may be in.
    #[inline(always)]
    fn places(&self, key: u64) -> [usize; 2] {
        let once = (key ^ self.seed >> 7).wrapping_mul(self.seed);
        let hash = (once ^ once >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = hash ^ hash >> 29;
        [(hash >> 49) as usize % SETS, (hash >> 34) as usize % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Mac;
    use super::*;

    const UPLINK: FunctionId = 4;

    fn table() -> Learning {
        Learning::new(4, 2)
    }

    fn tagged(n: u32, vlan: u16) -> Station {
        let [a, b, c, d] = n.to_be_bytes();
        Station::new(Mac::new([2, 0, a, b, c, d]), vlan)
    }

    fn station(n: u32) -> Station {
        tagged(n, 0)
    }

    #[test]
    fn an_address_is_found_where_it_was_last_seen() {
        let mut table = table();
        table.learn(station(1), 2, 0);
        assert_eq!(table.find(station(1), 1), Some(2));
        table.learn(station(1), 3, 2);
        assert_eq!(table.find(station(1), 3), Some(3));
        assert_eq!((table.shares[2].used, table.shares[3].used), (0, 1));
    }

    #[test]
    fn an_address_is_another_one_in_another_vlan() {
        let mut table = table();
        table.learn(tagged(1, 0), 1, 0);
        table.learn(tagged(1, 100), 2, 0);
        assert_eq!(table.find(tagged(1, 0), 0), Some(1));
        assert_eq!(table.find(tagged(1, 100), 0), Some(2));
        assert_eq!(table.find(tagged(1, 101), 0), None);
    }

    #[test]
    fn an_address_is_forgotten_after_the_ageing_time() {
        let mut table = table();
        table.learn(station(1), 2, 10);
        assert_eq!(table.find(station(1), 10 + AGEING - 1), Some(2));
        assert_eq!(table.find(station(1), 10 + AGEING), None);
    }

    #[test]
    fn group_and_zero_addresses_are_not_learned() {
        let mut table = table();
        for bytes in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            for vlan in [0, 5] {
                table.learn(Station::new(Mac::new(bytes), vlan), 2, 0);
                assert_eq!(table.find(Station::new(Mac::new(bytes), vlan), 0), None);
            }
        }
    }

    #[test]
    fn a_guest_that_invents_addresses_fills_its_own_share_only() {
        let mut table = table();
        table.learn(station(0), 1, 0);
        (1..100_000).for_each(|n| table.learn(station(n), 2, 0));
        assert_eq!(table.shares[2].used, SHARE);
        table.learn(station(200_000), 1, 0);
        assert_eq!(table.find(station(200_000), 0), Some(1));
        assert_eq!(table.find(station(0), 0), Some(1));
        table.learn(station(300_000), 2, AGEING);
        assert_eq!(table.find(station(300_000), AGEING), Some(2));
    }

    #[test]
    fn sixty_four_thousand_addresses_are_all_found() {
        let mut table = table();
        (0..65_536).for_each(|n| table.learn(station(n), UPLINK + n % 2, 0));
        let found = (0..65_536).filter(|n| table.find(station(*n), 0) == Some(UPLINK + n % 2)).count();
        assert!(found > 65_500, "only {found}: some may have met two full sets, but very few");
    }

    #[test]
    fn what_a_guest_sends_from_does_not_move_to_an_uplink_while_it_is_fresh() {
        let mut table = table();
        table.learn(station(1), 2, 0);
        table.learn(station(1), UPLINK, 1);
        assert_eq!(table.find(station(1), 1), Some(2));
        table.learn(station(1), UPLINK, AGEING);
        assert_eq!(table.find(station(1), AGEING), Some(UPLINK));
        table.learn(station(1), 3, AGEING);
        assert_eq!(table.find(station(1), AGEING), Some(3), "a guest may take over what was outside");
    }

    #[test]
    fn a_port_that_left_is_forgotten() {
        let mut table = table();
        table.learn(station(1), 2, 0);
        table.forget(2);
        assert_eq!((table.find(station(1), 0), table.shares[2].used), (None, 0));
    }
}
