//! Chance that can be had again: everything drawn comes from a seed.

use kith_common::crypto::sha256;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of numbers that is the same for the same seed and purpose, on every machine
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// A stream for one purpose, independent of the streams for others
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(ChaCha8Rng::from_seed(sha256(&[b"kith-sim", &seed.to_le_bytes(), purpose.as_bytes()])))
    }

    /// The next number, uniform
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is no 0; the bias is below 2^-32 for every bound in use
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.number()) * bound as u128) >> 64) as usize
    }

    /// In (0, 1]
    pub fn unit(&mut self) -> f64 {
        ((self.number() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// So many bytes
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// `count` different numbers below `bound`, in a random order
    pub fn choose(&mut self, count: usize, bound: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..bound as u32).collect();
        let count = count.min(bound);
        for i in 0..count {
            let other = i + self.below(bound - i);
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
    fn same_seed_and_purpose_give_the_same_and_others_give_others() {
        let numbers = |seed, purpose| {
            let mut chance = Chance::new(seed, purpose);
            [chance.number(), chance.number()]
        };
        assert_eq!(numbers(1, "a"), numbers(1, "a"));
        assert_ne!(numbers(1, "a"), numbers(2, "a"));
        assert_ne!(numbers(1, "a"), numbers(1, "b"));
    }

    #[test]
    fn chosen_numbers_are_different_and_below_the_bound() {
        let mut chosen = Chance::new(1, "test").choose(50, 60);
        chosen.sort_unstable();
        chosen.dedup();
        assert!(chosen.len() == 50 && chosen.iter().all(|number| *number < 60));
        assert_eq!(Chance::new(1, "test").choose(9, 3).len(), 3);
    }
}
