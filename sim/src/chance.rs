//! Chance that can be had again: everything drawn comes from a seed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What is drawn: each kind of draws has a stream of its own, so that one more draw here changes nothing there
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    /// How fast each machine's clock is
    Clocks = 1,
    /// Where machines are, and what becomes of frames under way
    Network = 2,
    /// What processes draw, and how long disks take
    Processes = 3,
    /// What users do
    Users = 4,
    /// The faults, and their times
    Faults = 5,
    /// The members that join and leave a ring
    Members = 6,
    /// How long members stay
    Sessions = 7,
    /// The peers that die
    Dead = 8,
    /// The sources and destinations of packets
    Packets = 9,
    /// The joins and leaves that are counted
    Changes = 10,
    /// What is timed
    Timing = 11,
    /// Who comes to the door of a network of invites
    Door = 12,
    /// How long functions take, and which calls are repeated
    Calls = 13,
}

/// A stream of numbers that is the same for the same seed and draws, on every machine
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// A stream of numbers at its beginning
    pub fn new(seed: u64, draws: Draws) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(draws as u64);
        Self(rng)
    }

    /// The next number, uniform
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Uniform below `bound`; 0 if that is 0. The bias is below 2^-32 for every bound below 2^32
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// An index of so many things, as [`Chance::below`]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Uniform from 0, to 1 but not 1
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability; where that is 0 nothing is drawn
    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Exponentially distributed, with a mean of 1
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Exponentially distributed
    pub fn wait(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.exponential())
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// `count` different numbers below `bound`, in a random order
    pub fn choose(&mut self, count: usize, bound: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..bound as u32).collect();
        let count = count.min(bound);
        for i in 0..count {
            let other = i + self.index(bound - i);
            all.swap(i, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_and_draws_give_the_same_and_others_give_others() {
        let numbers = |seed, draws| {
            let mut chance = Chance::new(seed, draws);
            [chance.number(), chance.number()]
        };
        assert_eq!(numbers(1, Draws::Users), numbers(1, Draws::Users));
        assert_ne!(numbers(1, Draws::Users), numbers(2, Draws::Users));
        assert_ne!(numbers(1, Draws::Users), numbers(1, Draws::Faults));
    }

    #[test]
    fn chosen_numbers_are_different_and_below_the_bound() {
        let mut chance = Chance::new(1, Draws::Dead);
        let mut chosen = chance.choose(50, 60);
        chosen.sort_unstable();
        chosen.dedup();
        assert!(chosen.len() == 50 && chosen.iter().all(|number| *number < 60));
        assert_eq!(chance.choose(9, 3).len(), 3);
    }

    #[test]
    fn what_never_happens_draws_nothing_and_what_is_certain_happens() {
        let (mut one, mut other) = (Chance::new(1, Draws::Network), Chance::new(1, Draws::Network));
        assert!(!one.happens(0.0) && one.number() == other.number());
        assert!((0..100).all(|_| one.happens(1.0)));
        assert_eq!((one.below(0), one.pick::<u8>(&[])), (0, None));
    }

    #[test]
    fn waits_have_their_mean() {
        let mut chance = Chance::new(1, Draws::Users);
        let sum: Duration = (0..10_000).map(|_| chance.wait(Duration::from_secs(1))).sum();
        assert!((9_700..10_300).contains(&sum.as_secs()), "{sum:?}");
    }
}
