//! Handshakes that wait to be computed.
//!
//! A handshake costs a thousand times what an answer on a link costs. A process that is short of processor and computes
//! each at once answers too late on the links that it has; these end, are dialled again, and cost more handshakes. So a
//! handshake has its turn when nothing else is to be done, one at a time. What has begun is finished before another one
//! begins, or what it has cost might be lost. Of several the newest is first, as its dialler has most of its patience left:
//! with the oldest first, who has too many to do would do all of them for diallers that gave up. One whose dialler has left
//! is dropped before it is computed.
//!
//! A peer that is kept waiting for a processor rests before it lets in the next one; a supernode does not, as the links
//! that it lets in are those on which all else hangs, and the peers rest.

use std::time::Duration;

use super::rest::Rest;
use crate::mutant::{self, Mutant};
use crate::time::Instant;

/// How many times as long as it was kept waiting a peer rests before it lets in another neighbour
const RESTS_PER_WAIT: u32 = 5;

/// The longest time from one that is let in to the next: of the five seconds that a dialler waits most are left
const REST_MAX: Duration = Duration::from_secs(1);

/// How far a handshake is that waits for its turn, and whose it is: those that are named later come first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Somebody has dialled this node, and nothing is computed yet
    Arrived,
    /// It was dialled here, or has begun
    Begun,
    /// It is this peer's with its supernode, on which its session hangs
    Home,
}

/// Handshakes that wait for their turn
///
/// As many wait as [`Limits`](super::limits::Limits) let in and out: who waits keeps its place there, and goes with it.
#[derive(Debug)]
pub struct Turns<T> {
    /// The newest is the last
    waiting: Vec<(Stage, T)>,
    /// `None`: this node never rests
    rest: Option<Rest>,
}

impl<T> Turns<T> {
    /// A peer's
    pub const fn of_peer() -> Self {
        Self { waiting: Vec::new(), rest: Some(Rest::new(REST_MAX)) }
    }

    /// A supernode's
    pub const fn of_supernode() -> Self {
        Self { waiting: Vec::new(), rest: None }
    }

    /// One more is to be computed
    pub fn wait(&mut self, stage: Stage, handshake: T) {
        self.waiting.push((stage, handshake));
    }

    /// This process was kept waiting for a processor for so long since it said so last; say it before each [`Self::take`]
    pub fn handle_kept_waiting(&mut self, now: Instant, by: Duration) {
        if let Some(rest) = &mut self.rest {
            rest.handle_kept_waiting(now, by);
        }
    }

    /// The one whose turn it is now: the newest of the last stage, unless this process rests and all of them have only
    /// arrived. Call it when nothing else is to be done
    pub fn take(&mut self, now: Instant) -> Option<T> {
        let stage = self.next_stage(now)?;
        let mut of_stage = (0..self.waiting.len()).filter(|at| self.waiting.get(*at).is_some_and(|of| of.0 == stage));
        let at = if mutant::is(Mutant::OldestHandshakeFirst) { of_stage.next() } else { of_stage.next_back() };
        at.map(|at| self.waiting.remove(at).1)
    }

    /// One that had arrived and was taken is not dropped, but computed
    pub fn handle_begun(&mut self, now: Instant) {
        if let Some(rest) = &mut self.rest {
            rest.begin(now, Duration::ZERO, RESTS_PER_WAIT);
        }
    }

    fn next_stage(&self, now: Instant) -> Option<Stage> {
        let stage = self.waiting.iter().map(|(stage, _)| *stage).max()?;
        (stage > Stage::Arrived || self.rested_at(now).is_none()).then_some(stage)
    }

    fn rested_at(&self, now: Instant) -> Option<Instant> {
        self.rest.as_ref().and_then(|rest| rest.until(now))
    }

    /// Whether one of them may have its turn now
    pub fn is_ready(&self, now: Instant) -> bool {
        self.next_stage(now).is_some()
    }

    /// When the rest is over that all wait for; `None`: they do not wait for that
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_empty() || self.is_ready(now) { None } else { self.rested_at(now) }
    }

    /// How many wait
    pub const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes all out, the oldest first, as this process is stopped
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..).map(|(_, handshake)| handshake)
    }
}

impl<T: PartialEq> Turns<T> {
    /// One that waits has had its time, and goes
    pub fn withdraw(&mut self, handshake: &T) {
        self.waiting.retain(|(_, waiting)| waiting != handshake);
    }
}

/// Whether a handshake whose turn it is is computed: not if the other side `has_left`, as it would be for nobody
pub fn is_computed(has_left: bool) -> bool {
    !has_left || mutant::is(Mutant::LeftDiallerComputed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    #[test]
    fn newest_handshake_has_the_first_turn() {
        let mut turns = Turns::of_peer();
        (1..=4).for_each(|number| turns.wait(Stage::Arrived, number));
        turns.withdraw(&3);
        assert_eq!([at_ms(0); 2].map(|now| turns.take(now)), [Some(4), Some(2)]);
        turns.wait(Stage::Arrived, 5);
        assert_eq!(
            (turns.drain().collect::<Vec<_>>(), turns.is_empty(), turns.take(at_ms(0))),
            (vec![1, 5], true, None)
        );
    }

    #[test]
    fn home_links_come_first_and_what_has_begun_is_finished_before_another_one_begins() {
        let mut turns = Turns::of_peer();
        let stages = [Stage::Begun, Stage::Arrived, Stage::Home, Stage::Begun, Stage::Home, Stage::Arrived];
        (1..).zip(stages).for_each(|(number, stage)| turns.wait(stage, number));
        let order: Vec<u32> = std::iter::from_fn(|| turns.take(at_ms(0))).collect();
        assert_eq!(order, [5, 3, 4, 1, 6, 2]);
    }

    #[test]
    fn peer_that_is_kept_waiting_lets_nobody_in_while_it_rests_and_a_supernode_does_not_rest() {
        let kept_waiting = |mut turns: Turns<u32>| {
            turns.wait(Stage::Arrived, 1);
            turns.wait(Stage::Arrived, 2);
            assert_eq!(turns.take(at_ms(0)), Some(2));
            turns.handle_begun(at_ms(0));
            turns.handle_kept_waiting(at_ms(30), Duration::from_millis(20));
            turns
        };
        let mut peer = kept_waiting(Turns::of_peer());
        assert_eq!((peer.take(at_ms(129)), peer.next_timeout(at_ms(129))), (None, Some(at_ms(130))));
        peer.wait(Stage::Begun, 3);
        assert_eq!((peer.is_ready(at_ms(129)), peer.next_timeout(at_ms(129))), (true, None));
        assert_eq!([129, 129, 130].map(|ms| peer.take(at_ms(ms))), [Some(3), None, Some(1)]);
        assert_eq!(kept_waiting(Turns::of_supernode()).take(at_ms(30)), Some(1));
    }

    #[test]
    fn nothing_is_computed_for_a_dialler_that_has_left() {
        assert!(is_computed(false) && !is_computed(true));
    }
}
