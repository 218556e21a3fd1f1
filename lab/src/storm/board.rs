//! Who of a storm is in, since when, and after how many tries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Light peers write to it, and the storm reads it
pub(super) struct Board {
    began: Instant,
    round: Mutex<Round>,
    /// Answers that came in time and are sure, by the second since the board was made
    answers: Mutex<Vec<u32>>,
}

/// What has happened since all were out, or since the first of those that were in went out
struct Round {
    began: Instant,
    lights: Vec<Light>,
    refusals: u64,
    /// How often anybody went out, in all rounds
    losses: u64,
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
pub(crate) struct Look {
    pub(crate) lights: usize,
    /// How many are in
    pub(crate) present: usize,
    pub(crate) since: Duration,
    /// When 99 of a hundred had come in, if they have
    pub(crate) most_after: Option<Duration>,
    /// When the last one had come in, if all have
    pub(crate) all_after: Option<Duration>,
    pub(crate) tries: u64,
    pub(crate) refusals: u64,
    /// How often anybody lost a session's link, in all rounds
    pub(crate) losses: u64,
    /// How many are at home where
    pub(crate) homes: BTreeMap<String, usize>,
}

impl Board {
    pub(super) fn new(lights: usize) -> Self {
        let began = Instant::now();
        let round = Round { began, lights: vec![Light::default(); lights], refusals: 0, losses: 0 };
        Self { began, round: Mutex::new(round), answers: Mutex::default() }
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer has come in time
    pub(super) fn answered(&self) {
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() <= second {
            answers.resize(second.saturating_add(1), 0);
        }
        if let Some(count) = answers.get_mut(second) {
            *count += 1;
        }
    }

    /// Answers in each whole second between these times
    pub(super) fn answers(&self, from: Instant, until: Instant) -> Vec<u32> {
        let second = |at: Instant| at.saturating_duration_since(self.began).as_secs_f64();
        let (first, end) = (second(from).ceil() as usize, second(until).floor() as usize);
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        (first..end).map(|second| answers.get(second).copied().unwrap_or_default()).collect()
    }

    /// A round begins now, with all out
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
        round.losses += 1;
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
            losses: round.losses,
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
        assert_eq!((look.tries, look.refusals, look.losses), (1, 1, 1));
    }

    #[test]
    fn answers_are_counted_by_whole_seconds() {
        let board = Board::new(1);
        (0..3).for_each(|_| board.answered());
        let at = |seconds| board.began + Duration::from_secs(seconds);
        assert_eq!(board.answers(at(0), at(3)), [3, 0, 0]);
        assert_eq!(board.answers(at(0) + Duration::from_millis(1), at(2)), [0]);
        assert!(board.answers(at(2), at(1)).is_empty());
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
