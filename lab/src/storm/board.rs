//! Who of a storm is in, since when, and after how many tries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Light peers write to it, and the storm reads it
pub(super) struct Board(Mutex<Round>);

/// What has happened since all were out, or since the first of those that were in went out
struct Round {
    began: Instant,
    lights: Vec<Light>,
    refusals: u64,
}

#[derive(Clone, Debug, Default)]
struct Light {
    /// How long after the round's beginning it came in; none while it is out
    in_after: Option<Duration>,
    /// Dials in this round
    tries: u64,
    home: Option<String>,
}

/// A round at one look
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) lights: usize,
    /// How many are in
    pub(super) present: usize,
    pub(super) since: Duration,
    /// When 99 of a hundred had come in, if they have
    pub(super) most_after: Option<Duration>,
    /// When the last one had come in, if all have
    pub(super) all_after: Option<Duration>,
    pub(super) tries: u64,
    pub(super) refusals: u64,
    /// How many are at home where
    pub(super) homes: BTreeMap<String, usize>,
}

impl Board {
    pub(super) fn new(lights: usize) -> Self {
        Self(Mutex::new(Round { began: Instant::now(), lights: vec![Light::default(); lights], refusals: 0 }))
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A round begins now
    pub(super) fn begin(&self) {
        let mut round = self.round();
        (round.began, round.refusals) = (Instant::now(), 0);
        round.lights.fill(Light::default());
    }

    pub(super) fn tried(&self, place: usize) {
        if let Some(light) = self.round().lights.get_mut(place) {
            light.tries += 1;
        }
    }

    pub(super) fn refused(&self, _place: usize) {
        self.round().refusals += 1;
    }

    pub(super) fn came_in(&self, place: usize, home: Option<String>) {
        let mut round = self.round();
        let after = round.began.elapsed();
        if let Some(light) = round.lights.get_mut(place) {
            (light.in_after, light.home) = (Some(after), home);
        }
    }

    /// Where all were in, the next round begins with it: those that stay were in from its beginning
    pub(super) fn went_out(&self, place: usize) {
        let mut round = self.round();
        if round.lights.iter().all(|light| light.in_after.is_some()) {
            (round.began, round.refusals) = (Instant::now(), 0);
            for light in &mut round.lights {
                (light.in_after, light.tries) = (Some(Duration::ZERO), 0);
            }
        }
        if let Some(light) = round.lights.get_mut(place) {
            (light.in_after, light.home) = (None, None);
        }
    }

    pub(super) fn look(&self) -> Look {
        let round = self.round();
        let lights = round.lights.len();
        let mut after: Vec<Duration> = round.lights.iter().filter_map(|light| light.in_after).collect();
        after.sort_unstable();
        let most = lights.saturating_sub(lights / 100);
        let mut homes = BTreeMap::new();
        for home in round.lights.iter().filter_map(|light| light.home.clone()) {
            *homes.entry(home).or_default() += 1;
        }
        Look {
            lights,
            present: after.len(),
            since: round.began.elapsed(),
            most_after: most.checked_sub(1).and_then(|last| after.get(last).copied()),
            all_after: lights.checked_sub(1).and_then(|last| after.get(last).copied()),
            tries: round.lights.iter().map(|light| light.tries).sum(),
            refusals: round.refusals,
            homes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_is_over_when_all_are_in_and_the_next_begins_with_the_first_that_goes_out() {
        let board = Board::new(3);
        board.begin();
        board.tried(0);
        for place in 0..3 {
            board.tried(place);
            board.came_in(place, Some("here".into()));
        }
        let look = board.look();
        assert!(look.all_after.is_some() && look.most_after == look.all_after, "{look:?}");
        assert_eq!((look.present, look.tries, look.homes.get("here")), (3, 4, Some(&3)));
        board.went_out(1);
        board.refused(1);
        let look = board.look();
        assert_eq!((look.present, look.all_after, look.tries, look.refusals), (2, None, 0, 1));
        board.tried(1);
        board.came_in(1, None);
        let look = board.look();
        assert!(look.all_after.is_some());
        assert_eq!((look.tries, look.refusals), (1, 1));
    }

    #[test]
    fn ninety_nine_of_a_hundred_are_most() {
        let board = Board::new(100);
        (0..98).for_each(|place| board.came_in(place, None));
        assert_eq!(board.look().most_after, None);
        board.came_in(98, None);
        let look = board.look();
        assert!(look.most_after.is_some() && look.all_after.is_none());
    }
}
