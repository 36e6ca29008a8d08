//! Which stations were lately heard from a function's representor: what the guest sends to them goes there, and is not
//! flooded to all guests. The table is small, since what it does not hold is flooded; guests cannot write to it.

use super::frame::Station;
use super::learning::AGEING;

const PLACES: usize = 64;

#[derive(Default)]
pub struct Behind {
    /// A station's key and when it was heard, in seconds; none before the first.
    places: Vec<(u64, u32)>,
}

impl Behind {
    /// A frame from `station` came out of the representor.
    #[inline]
    pub fn heard(&mut self, station: Station, now: u32) {
        if !station.is_one() {
            return;
        }
        if self.places.is_empty() {
            self.places = vec![(0, 0); PLACES];
        }
        self.places[place(station)] = (station.key(), now);
    }

    #[inline]
    pub fn knows(&self, station: Station, now: u32) -> bool {
        let fresh = |(key, seen): &(u64, u32)| *key == station.key() && now.wrapping_sub(*seen) < AGEING;
        station.is_one() && self.places.get(place(station)).is_some_and(fresh)
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
        let mut behind = Behind::default();
        assert!(!behind.knows(station(1, 0), 10));
        behind.heard(station(1, 0), 10);
        assert!(behind.knows(station(1, 0), 10 + AGEING - 1));
        assert!(!behind.knows(station(1, 7), 10));
        assert!(!behind.knows(station(1, 0), 10 + AGEING));
    }

    #[test]
    fn what_is_no_station_is_not_known() {
        let (mut behind, nobody) = (Behind::default(), Station::new(Mac::new([0; 6]), 0));
        let group = Station::new(Mac::new([0xff; 6]), 0);
        behind.heard(station(1, 0), 0);
        [nobody, group].into_iter().for_each(|station| behind.heard(station, 0));
        assert!(!behind.knows(nobody, 0) && !behind.knows(group, 0));
    }
}
