//! The connections that have not said hello: who gets a place, and who is put out for it.
//!
//! A connection costs whoever makes it nothing, so a crowd of silent ones must not keep anybody out. When there is no
//! place left, the oldest silent one of the most crowded network makes room. Who has sent a first byte keeps the place:
//! the handshake is under way then, and to end it would waste what it cost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::crowd::{Crowd, Household};
use super::limits::{Limits, Refusal, counted};
use crate::time::Instant;

/// A place in the lobby, numbered; a number is never used twice
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LobbyId(pub u64);

/// Who says nothing for so long is put out once half of the places are taken; before, it may be slow for as long as a
/// handshake may take, since a dialler that is short of processor needs its time
pub const FIRST_BYTE: Duration = Duration::from_secs(1);

/// A connection at its place
#[derive(Debug)]
struct Waiting {
    household: Household,
    /// Loopback is many households at once, so it has no share
    is_counted: bool,
    is_known: bool,
    is_silent: bool,
    since: Instant,
}

/// Who is at a place and has sent nothing, by household and then by age
#[derive(Debug, Default)]
struct Silent {
    crowd: Crowd,
    places: BTreeSet<(Household, LobbyId)>,
}

impl Silent {
    fn oldest_of_most_crowded(&self, within: RangeInclusive<u128>) -> Option<LobbyId> {
        let household = self.crowd.most_crowded(within)?;
        let mut places = self.places.range((household, LobbyId(0))..=(household, LobbyId(u64::MAX)));
        places.next().map(|(_, place)| *place)
    }
}

/// All places, and those who have one
#[derive(Debug)]
pub(super) struct Lobby {
    limits: Limits,
    count: u64,
    /// At most [`Limits::pending_max`]
    taken: BTreeMap<LobbyId, Waiting>,
    /// Of these, those that strangers have
    strangers: usize,
    crowd: Crowd,
    silent_strangers: Silent,
    silent_known: Silent,
    /// Where sessions came from, at most [`Limits::links_max`]; the one that was not heard of for longest goes first
    known: BTreeMap<Household, u64>,
    heard: BTreeMap<u64, Household>,
    put_out: VecDeque<LobbyId>,
}

impl Lobby {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            count: 0,
            taken: BTreeMap::new(),
            strangers: 0,
            crowd: Crowd::default(),
            silent_strangers: Silent::default(),
            silent_known: Silent::default(),
            known: BTreeMap::new(),
            heard: BTreeMap::new(),
            put_out: VecDeque::new(),
        }
    }

    /// A connection came
    pub(super) fn begin(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<LobbyId, Refusal> {
        let household = Household::of(ip);
        let is_known = self.known.contains_key(&household);
        let is_counted = counted(ip).is_some();
        if self.taken.len() * 2 >= self.limits.pending_max {
            self.put_out_overdue(now);
        }
        if is_counted && let Some(network) = self.crowd.full_network(household, self.limits.pending_per_ip_max) {
            let oldest = self.silent_strangers.oldest_of_most_crowded(network.clone());
            let oldest = oldest.or_else(|| self.silent_known.oldest_of_most_crowded(network));
            self.put_out(oldest.ok_or(Refusal::PendingOfIp)?);
        }
        if !self.has_room(is_known) {
            let all = 0..=u128::MAX;
            let oldest = self.silent_strangers.oldest_of_most_crowded(all.clone());
            // A stranger never takes the place of somebody known.
            let oldest = oldest.or_else(|| is_known.then(|| self.silent_known.oldest_of_most_crowded(all)).flatten());
            self.put_out(oldest.ok_or(Refusal::Pending)?);
            if !self.has_room(is_known) {
                return Err(Refusal::Pending);
            }
        }
        self.count += 1;
        let id = LobbyId(self.count);
        if is_counted {
            self.crowd.add(household);
        }
        self.strangers += usize::from(!is_known);
        let silent = self.silent(is_known);
        silent.crowd.add(household);
        silent.places.insert((household, id));
        self.taken.insert(id, Waiting { household, is_counted, is_known, is_silent: true, since: now });
        Ok(id)
    }

    /// How many places are taken
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Its first byte came
    pub(super) fn on_first_byte(&mut self, id: LobbyId) {
        let Some(place) = self.taken.get_mut(&id).filter(|place| place.is_silent) else { return };
        place.is_silent = false;
        let (household, is_known) = (place.household, place.is_known);
        self.end_silence(id, household, is_known);
    }

    /// It has said hello, or is gone; one that was put out has no place any more
    pub(super) fn end(&mut self, id: LobbyId) {
        let Some(place) = self.taken.remove(&id) else { return };
        if place.is_counted {
            self.crowd.remove(place.household);
        }
        self.strangers -= usize::from(!place.is_known);
        if place.is_silent {
            self.end_silence(id, place.household, place.is_known);
        }
    }

    /// Somebody there has a session
    pub(super) fn remember(&mut self, ip: Option<IpAddr>) {
        let household = Household::of(ip);
        self.count += 1;
        if let Some(before) = self.known.insert(household, self.count) {
            self.heard.remove(&before);
        }
        self.heard.insert(self.count, household);
        if self.known.len() > self.limits.links_max
            && let Some((_, longest_ago)) = self.heard.pop_first()
        {
            self.known.remove(&longest_ago);
        }
    }

    /// Who must go; drain after every [`Lobby::begin`]
    pub(super) fn poll_put_out(&mut self) -> Option<LobbyId> {
        self.put_out.pop_front()
    }

    fn has_room(&self, is_known: bool) -> bool {
        let for_strangers = self.limits.pending_max.saturating_sub(self.limits.pending_reserved);
        self.taken.len() < self.limits.pending_max && (is_known || self.strangers < for_strangers)
    }

    fn put_out_overdue(&mut self, now: Instant) {
        // The oldest places have the smallest numbers, so the first that has time left ends the walk.
        let old = self.taken.iter().take_while(|(_, place)| place.since + FIRST_BYTE <= now);
        let overdue: Vec<LobbyId> = old.filter(|(_, place)| place.is_silent).map(|(id, _)| *id).collect();
        overdue.into_iter().for_each(|id| self.put_out(id));
    }

    fn put_out(&mut self, id: LobbyId) {
        self.end(id);
        self.put_out.push_back(id);
    }

    fn end_silence(&mut self, id: LobbyId, household: Household, is_known: bool) {
        let silent = self.silent(is_known);
        silent.crowd.remove(household);
        silent.places.remove(&(household, id));
    }

    const fn silent(&mut self, is_known: bool) -> &mut Silent {
        if is_known { &mut self.silent_known } else { &mut self.silent_strangers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    const LOOPBACK: &str = "127.0.0.1";

    fn limits() -> Limits {
        Limits { pending_max: 8, pending_reserved: 2, pending_per_ip_max: 2, links_max: 3, ..Limits::default() }
    }

    struct Room(Lobby);

    impl Room {
        fn new() -> Self {
            Self(Lobby::new(limits()))
        }

        fn come(&mut self, ms: u64, ip: &str) -> Result<LobbyId, Refusal> {
            self.0.begin(at_ms(ms), Some(ip.parse().unwrap()))
        }

        fn speaks(&mut self, ip: &str) {
            let place = self.come(0, ip).unwrap();
            self.0.on_first_byte(place);
        }

        fn put_out(&mut self) -> Vec<LobbyId> {
            std::iter::from_fn(|| self.0.poll_put_out()).collect()
        }
    }

    #[test]
    fn silent_crowd_makes_room_for_whoever_comes_the_oldest_first() {
        let mut room = Room::new();
        let crowd: Vec<LobbyId> = (0..6).map(|_| room.come(0, LOOPBACK).unwrap()).collect();
        let honest = room.come(1, "192.0.2.1").unwrap();
        assert_eq!(room.put_out(), [crowd[0]]);
        assert!(room.come(2, "192.0.2.2").is_ok());
        assert_eq!(room.put_out(), [crowd[1]], "the crowd goes, and not who came alone");
        room.0.on_first_byte(honest);
        assert_eq!(room.0.taken.len(), 6);
    }

    #[test]
    fn who_has_sent_a_byte_is_never_put_out() {
        let mut room = Room::new();
        for i in 0..6 {
            room.speaks(&format!("192.0.{i}.1"));
        }
        assert_eq!(room.come(5_000, "198.51.100.1"), Err(Refusal::Pending));
        assert!(room.put_out().is_empty());
    }

    #[test]
    fn household_that_is_full_puts_out_its_own() {
        let mut room = Room::new();
        let first = room.come(0, "2001:db8::1").unwrap();
        room.come(0, "2001:db8::2").unwrap();
        room.come(0, "192.0.2.1").unwrap();
        assert!(room.come(0, "2001:db8::3").is_ok());
        assert_eq!(room.put_out(), [first]);
        let mut room = Room::new();
        room.speaks("2001:db8::1");
        room.speaks("2001:db8::2");
        assert_eq!(room.come(0, "2001:db8::3"), Err(Refusal::PendingOfIp));
        assert!(room.come(0, "2001:db8:1::3").is_ok());
    }

    #[test]
    fn reserve_is_for_those_who_had_a_session() {
        let mut room = Room::new();
        room.0.remember(Some("203.0.113.1".parse().unwrap()));
        for i in 0..6 {
            room.speaks(&format!("192.0.{i}.1"));
        }
        assert_eq!(room.come(0, "198.51.100.1"), Err(Refusal::Pending));
        assert!(room.come(0, "203.0.113.1").is_ok());
        assert!(room.come(0, "203.0.113.1").is_ok());
        assert!(room.put_out().is_empty());
    }

    #[test]
    fn stranger_never_puts_out_who_had_a_session() {
        let mut room = Room::new();
        room.0.remember(Some(LOOPBACK.parse().unwrap()));
        for _ in 0..8 {
            room.come(0, LOOPBACK).unwrap();
        }
        assert_eq!(room.come(0, "192.0.2.1"), Err(Refusal::Pending));
        assert!(room.come(0, LOOPBACK).is_ok(), "who had one may");
        assert_eq!(room.put_out().len(), 1);
    }

    #[test]
    fn silent_ones_have_a_second_once_half_of_the_places_are_taken() {
        let mut room = Room::new();
        let slow: Vec<LobbyId> = (0..3).map(|_| room.come(0, LOOPBACK).unwrap()).collect();
        room.speaks(LOOPBACK);
        assert!(room.put_out().is_empty(), "there is room for the slow");
        room.come(999, LOOPBACK).unwrap();
        assert!(room.put_out().is_empty());
        room.come(1_000, LOOPBACK).unwrap();
        assert_eq!(room.put_out(), slow);
    }

    #[test]
    fn places_that_end_leave_nothing_and_known_ones_are_bounded() {
        let mut room = Room::new();
        let places: Vec<LobbyId> = (0..4).map(|i| room.come(0, &format!("192.0.{i}.1")).unwrap()).collect();
        room.0.on_first_byte(places[0]);
        places.iter().for_each(|place| room.0.end(*place));
        room.0.end(places[0]);
        let Lobby { taken, strangers, crowd, silent_strangers, .. } = &room.0;
        assert!(taken.is_empty() && *strangers == 0 && crowd.is_empty());
        assert!(silent_strangers.crowd.is_empty() && silent_strangers.places.is_empty());
        let ip = |i: u8| Some(IpAddr::from([192, 0, 2, i]));
        (0..3).for_each(|i| room.0.remember(ip(i)));
        room.0.remember(ip(0));
        room.0.remember(ip(9));
        let known: Vec<bool> = [0, 1, 2, 9].map(|i| room.0.known.contains_key(&Household::of(ip(i)))).into();
        assert_eq!(known, [true, false, true, true], "the one not heard of for longest is forgotten");
        assert_eq!(room.0.heard.len(), 3);
    }
}
