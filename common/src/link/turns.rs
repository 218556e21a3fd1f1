//! Handshakes that wait to be computed.
//!
//! A handshake costs a thousand times what an answer on a link costs. A process that is short of processor and computes
//! each at once answers too late on the links that it has; these end, are dialled again, and cost more handshakes. So a
//! handshake has its turn when nothing else is to be done, one at a time. The newest is first, as its dialler has most of
//! its patience left: with the oldest first, who has too many to do would do all of them for diallers that gave up. One
//! whose dialler has left is dropped before it is computed.

use crate::mutant::{self, Mutant};

/// Handshakes that wait for their turn, own dials among them
///
/// As many wait as [`Limits`](super::limits::Limits) let in and out: who waits keeps its place there, and goes with it.
#[derive(Debug)]
pub struct Turns<T> {
    /// The newest is the last
    waiting: Vec<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<T> Turns<T> {
    /// One more is to be computed
    pub fn wait(&mut self, handshake: T) {
        self.waiting.push(handshake);
    }

    /// The one whose turn it is now: the newest. Call it when nothing else is to be done
    pub fn take(&mut self) -> Option<T> {
        if mutant::is(Mutant::OldestHandshakeFirst) && !self.waiting.is_empty() {
            return Some(self.waiting.remove(0));
        }
        self.waiting.pop()
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
        self.waiting.drain(..)
    }
}

impl<T: PartialEq> Turns<T> {
    /// One that waits has had its time, and goes
    pub fn withdraw(&mut self, handshake: &T) {
        self.waiting.retain(|waiting| waiting != handshake);
    }
}

/// Whether a handshake whose turn it is is computed: not if the other side `has_left`, as it would be for nobody
pub fn is_computed(has_left: bool) -> bool {
    !has_left || mutant::is(Mutant::LeftDiallerComputed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_handshake_has_the_first_turn() {
        let mut turns = Turns::default();
        (1..=4).for_each(|number| turns.wait(number));
        turns.withdraw(&3);
        assert_eq!([turns.take(), turns.take()], [Some(4), Some(2)]);
        turns.wait(5);
        assert_eq!((turns.drain().collect::<Vec<_>>(), turns.is_empty(), turns.take()), (vec![1, 5], true, None));
    }

    #[test]
    fn nothing_is_computed_for_a_dialler_that_has_left() {
        assert!(is_computed(false) && !is_computed(true));
    }
}
