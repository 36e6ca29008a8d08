//! Behind which port an address was last seen as a source, in each VLAN on its own. Of a fixed size, with a share for each
//! port, so a guest that invents addresses neither makes it grow nor pushes out the others'.
//!
//! All workers read it without a lock. Who changes more than the second in which an address was seen has the books. A
//! reader may meet an entry that is just becoming another's, so it looks at the key before and after; who writes takes the
//! key away first.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Free while `key` is zero, which is no station's. `place` is the port and, above it, when the address was last seen.
#[derive(Default)]
struct Entry {
    key: AtomicU64,
    place: AtomicU64,
}

/// What an entry says of its address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    port: FunctionId,
    seen: u32,
}

/// A set of entries shares a cache line.
#[derive(Default)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

struct Share {
    used: u32,
    most: u32,
}

/// What each port has in the table, and when it was last swept.
struct Books {
    shares: Vec<Share>,
    swept: u32,
}

pub struct Learning {
    sets: Vec<Set>,
    books: Mutex<Books>,
    guests: usize,
    seed: u64,
}

impl Place {
    #[inline(always)]
    fn packed(self) -> u64 {
        u64::from(self.seen) << 32 | u64::from(self.port)
    }

    #[inline(always)]
    fn unpacked(word: u64) -> Place {
        Place { port: word as FunctionId, seen: (word >> 32) as u32 }
    }
}

impl Entry {
    /// Where the address of this key is, if the entry is that address's.
    #[inline(always)]
    fn of(&self, key: u64) -> Option<Place> {
        if self.key.load(Acquire) != key {
            return None;
        }
        // A place written for another key comes after that key was taken away (`give`): then this is seen here.
        let place = self.place.load(Acquire);
        (self.key.load(Relaxed) == key).then(|| Place::unpacked(place))
    }

    /// It is another key's from now on, or the same one's at another place.
    fn give(&self, key: u64, place: Place) {
        self.key.store(0, Relaxed);
        fence(Release);
        self.place.store(place.packed(), Relaxed);
        self.key.store(key, Release);
    }

    fn taken(&self) -> Option<Place> {
        (self.key.load(Relaxed) != 0).then(|| Place::unpacked(self.place.load(Relaxed)))
    }
}

impl Learning {
    /// For ports 0..`guests`, and `uplinks` after them.
    pub fn new(guests: usize, uplinks: usize) -> Learning {
        // A seed of its own, so that a guest cannot aim at one set.
        let seed = RandomState::new().hash_one(0) | 1;
        let most = |port| if port < guests { SHARE } else { SHARE_OF_UPLINK };
        let shares = (0..guests + uplinks).map(|port| Share { used: 0, most: most(port) }).collect();
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Learning { sets, books: Mutex::new(Books { shares, swept: 0 }), guests, seed }
    }

    /// A frame from `station` came out of a port. `now` is in seconds. What a guest sends from is not moved to an uplink
    /// while it is fresh: such a frame has come back in a loop, or pretends.
    #[inline]
    pub fn learn(&self, station: Station, port: FunctionId, now: u32) {
        if !station.is_one() {
            return;
        }
        match self.entry(station) {
            Some((_, place)) if place == (Place { port, seen: now }) => {}
            Some((entry, place)) if place.port == port => {
                // In vain if the entry has become another's meanwhile.
                let fresh = Place { port, seen: now };
                let _ = entry.place.compare_exchange(place.packed(), fresh.packed(), Relaxed, Relaxed);
            }
            _ => self.note(station, port, now),
        }
    }

    /// The port behind which an address is, if that was learned lately.
    #[inline]
    pub fn find(&self, station: Station, now: u32) -> Option<FunctionId> {
        let (_, place) = self.entry(station).filter(|_| station.key() != 0)?;
        (now.wrapping_sub(place.seen) < AGEING).then_some(place.port)
    }

    /// Nothing is behind this port any more.
    pub fn forget(&self, port: FunctionId) {
        let mut books = self.books();
        if books.shares.get(port as usize).is_some_and(|share| share.used > 0) {
            self.remove(&mut books, |place| place.port == port);
        }
    }

    #[inline(always)]
    fn entry(&self, station: Station) -> Option<(&Entry, Place)> {
        let key = station.key();
        let [first, second] = self.places(key);
        let within = |index: usize| self.sets[index].0.iter().find_map(|entry| Some((entry, entry.of(key)?)));
        within(first).or_else(|| within(second))
    }

    /// The address is new, or has moved.
    #[cold]
    fn note(&self, station: Station, port: FunctionId, now: u32) {
        let mut books = self.books();
        match self.entry(station) {
            Some((_, place)) => self.relocate(&mut books, station, port, place, now),
            None => self.insert(&mut books, station, port, now),
        }
    }

    fn relocate(&self, books: &mut Books, station: Station, port: FunctionId, former: Place, now: u32) {
        let back = port as usize >= self.guests && (former.port as usize) < self.guests;
        if back && now.wrapping_sub(former.seen) < AGEING || !self.has_share(books, port, now) {
            return;
        }
        // Sweeping for the share may have taken the entry, so it is looked for again.
        let Some((entry, former)) = self.entry(station) else { return self.insert(books, station, port, now) };
        entry.give(station.key(), Place { port, seen: now });
        books.shares[former.port as usize].used -= 1;
        books.shares[port as usize].used += 1;
    }

    /// Into a free place of its two sets, else into that of whoever was not heard for longest.
    fn insert(&self, books: &mut Books, station: Station, port: FunctionId, now: u32) {
        if !self.has_share(books, port, now) {
            return;
        }
        let [first, second] = self.places(station.key());
        let free = |set: &Set| set.0.iter().filter(|entry| entry.taken().is_none()).count();
        let roomier = if free(&self.sets[first]) >= free(&self.sets[second]) { first } else { second };
        let silent = |entry: &&Entry| entry.taken().map_or(u64::MAX, |place| now.wrapping_sub(place.seen).into());
        if let Some(entry) = self.sets[roomier].0.iter().max_by_key(silent) {
            if let Some(former) = entry.taken() {
                books.shares[former.port as usize].used -= 1;
            }
            entry.give(station.key(), Place { port, seen: now });
            books.shares[port as usize].used += 1;
        }
    }

    /// Whether the port may have one more; addresses that aged are swept out first, at most once a second.
    fn has_share(&self, books: &mut Books, port: FunctionId, now: u32) -> bool {
        let full = |books: &Books| books.shares[port as usize].used >= books.shares[port as usize].most;
        if full(books) && books.swept != now {
            books.swept = now;
            self.remove(books, |place| now.wrapping_sub(place.seen) >= AGEING);
        }
        !full(books)
    }

    fn remove(&self, books: &mut Books, which: impl Fn(Place) -> bool) {
        for entry in self.sets.iter().flat_map(|set| &set.0) {
            if let Some(place) = entry.taken().filter(|place| which(*place)) {
                books.shares[place.port as usize].used -= 1;
                entry.key.store(0, Relaxed);
            }
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn used(table: &Learning, port: usize) -> u32 {
        table.books().shares[port].used
    }

    fn station(n: u32) -> Station {
        tagged(n, 0)
    }

    #[test]
    fn an_address_is_found_where_it_was_last_seen() {
        let table = table();
        table.learn(station(1), 2, 0);
        assert_eq!(table.find(station(1), 1), Some(2));
        table.learn(station(1), 3, 2);
        assert_eq!(table.find(station(1), 3), Some(3));
        assert_eq!((used(&table, 2), used(&table, 3)), (0, 1));
    }

    #[test]
    fn an_address_is_another_one_in_another_vlan() {
        let table = table();
        table.learn(tagged(1, 0), 1, 0);
        table.learn(tagged(1, 100), 2, 0);
        assert_eq!(table.find(tagged(1, 0), 0), Some(1));
        assert_eq!(table.find(tagged(1, 100), 0), Some(2));
        assert_eq!(table.find(tagged(1, 101), 0), None);
    }

    #[test]
    fn an_address_is_forgotten_after_the_ageing_time() {
        let table = table();
        table.learn(station(1), 2, 10);
        assert_eq!(table.find(station(1), 10 + AGEING - 1), Some(2));
        assert_eq!(table.find(station(1), 10 + AGEING), None);
    }

    #[test]
    fn group_and_zero_addresses_are_not_learned() {
        let table = table();
        for bytes in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            for vlan in [0, 5] {
                table.learn(Station::new(Mac::new(bytes), vlan), 2, 0);
                assert_eq!(table.find(Station::new(Mac::new(bytes), vlan), 0), None);
            }
        }
    }

    #[test]
    fn a_guest_that_invents_addresses_fills_its_own_share_only() {
        let table = table();
        table.learn(station(0), 1, 0);
        (1..100_000).for_each(|n| table.learn(station(n), 2, 0));
        assert_eq!(used(&table, 2), SHARE);
        table.learn(station(200_000), 1, 0);
        assert_eq!(table.find(station(200_000), 0), Some(1));
        assert_eq!(table.find(station(0), 0), Some(1));
        table.learn(station(300_000), 2, AGEING);
        assert_eq!(table.find(station(300_000), AGEING), Some(2));
    }

    #[test]
    fn sixty_four_thousand_addresses_are_all_found() {
        let table = table();
        (0..65_536).for_each(|n| table.learn(station(n), UPLINK + n % 2, 0));
        let found = (0..65_536).filter(|n| table.find(station(*n), 0) == Some(UPLINK + n % 2)).count();
        assert!(found > 65_500, "only {found}: some may have met two full sets, but very few");
    }

    #[test]
    fn what_a_guest_sends_from_does_not_move_to_an_uplink_while_it_is_fresh() {
        let table = table();
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
        let table = table();
        table.learn(station(1), 2, 0);
        table.forget(2);
        assert_eq!((table.find(station(1), 0), used(&table, 2)), (None, 0));
    }

    /// Two writers put addresses into the same few sets, over and over, each address always behind the same port.
    #[test]
    fn a_reader_never_finds_an_address_behind_another_ones_port() {
        let table = Learning::new(4, 2);
        let behind = |n: u32| n % 4;
        let [set, _] = table.places(station(0).key());
        let near: Vec<u32> = (0..400_000).filter(|n| table.places(station(*n).key()).contains(&set)).collect();
        assert!(near.len() > 2 * WAYS, "as many as do not fit");
        std::thread::scope(|scope| {
            for half in 0..2 {
                let (table, near) = (&table, &near);
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let n = near[(turn * 2 + half) % near.len()];
                        table.learn(station(n), behind(n), (turn / 1000) as u32);
                    }
                });
            }
            for turn in 0..200_000 {
                let n = near[turn % near.len()];
                assert!(table.find(station(n), 20).is_none_or(|port| port == behind(n)), "{n}");
            }
        });
        let all: u32 = (0..4).map(|port| used(&table, port)).sum();
        let there = table.sets.iter().flat_map(|set| &set.0).filter(|entry| entry.taken().is_some()).count();
        assert_eq!(all as usize, there);
    }
}
