//! Which stations were lately heard from a function's representor: what the guest sends to them goes there, and is not
//! flooded to all guests. The table is small, since what it does not hold is flooded; guests cannot write to it. The worker
//! that reads the representor writes here, while others look: so the key is taken away before its place is another's.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use super::frame::Station;
use super::learning::AGEING;

const PLACES: usize = 64;

#[derive(Default)]
pub struct Behind {
    /// None before the first.
    places: OnceLock<Box<[Place; PLACES]>>,
}

struct Place {
    /// A station's, or zero.
    key: AtomicU64,
    /// When it was heard, in seconds.
    seen: AtomicU32,
}

impl Behind {
    /// A frame from `station` came out of the representor.
    #[inline]
    pub fn heard(&self, station: Station, now: u32) {
        if !station.is_one() {
            return;
        }
        let places = self.places.get_or_init(|| Box::new([const { Place::free() }; PLACES]));
        let (place, key) = (&places[place(station)], station.key());
        if place.key.load(Relaxed) == key {
            return place.seen.store(now, Relaxed);
        }
        place.key.store(0, Relaxed);
        fence(Release);
        place.seen.store(now, Relaxed);
        place.key.store(key, Release);
    }

    #[inline]
    pub fn knows(&self, station: Station, now: u32) -> bool {
        let seen = |places: &[Place; PLACES]| places[place(station)].seen(station.key());
        let seen = self.places.get().and_then(|places| seen(places)).filter(|_| station.is_one());
        seen.is_some_and(|seen| now.wrapping_sub(seen) < AGEING)
    }
}

impl Place {
    const fn free() -> Place {
        Place { key: AtomicU64::new(0), seen: AtomicU32::new(0) }
    }

    #[inline]
    fn seen(&self, key: u64) -> Option<u32> {
        if self.key.load(Acquire) != key {
            return None;
        }
        let seen = self.seen.load(Acquire);
        (self.key.load(Relaxed) == key).then_some(seen)
    }
}

fn place(station: Station) -> usize {
    // The multiplier is 2^64 over the golden ratio: it spreads neighbouring addresses.
    let spread = station.key().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (u64::BITS - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::frame::Mac;

    fn station(last: u8, vlan: u16) -> Station {
        Station::new(Mac::new([2, 0, 0, 0, 0, last]), vlan)
    }

    #[test]
    fn a_station_is_known_in_its_vlan_until_it_ages() {
        let behind = Behind::default();
        assert!(!behind.knows(station(1, 0), 10));
        behind.heard(station(1, 0), 10);
        assert!(behind.knows(station(1, 0), 10 + AGEING - 1));
        assert!(!behind.knows(station(1, 7), 10));
        assert!(!behind.knows(station(1, 0), 10 + AGEING));
    }

    #[test]
    fn what_is_no_station_is_not_known() {
        let (behind, nobody) = (Behind::default(), Station::new(Mac::new([0; 6]), 0));
        let group = Station::new(Mac::new([0xff; 6]), 0);
        behind.heard(station(1, 0), 0);
        [nobody, group].into_iter().for_each(|station| behind.heard(station, 0));
        assert!(!behind.knows(nobody, 0) && !behind.knows(group, 0));
    }
}
