//! Chance that can be had again: keys, salts and choices drawn from a seed.

use kith_common::crypto::sha256;

/// A stream of numbers that is the same for the same seed and purpose, on every machine
#[derive(Clone, Debug)]
pub struct Draw {
    seed: u64,
    purpose: &'static str,
    count: u64,
}

impl Draw {
    /// A stream for one purpose, independent of the streams for others
    pub fn new(seed: u64, purpose: &'static str) -> Self {
        Self { seed, purpose, count: 0 }
    }

    /// A stream that is the own of the process `name` in the lab of `seed`
    pub fn of(seed: u64, name: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[&seed.to_be_bytes(), b"own", name.as_bytes()]);
        Self::new(u64::from_be_bytes([a, b, c, d, e, f, g, h]), "own")
    }

    /// The next number, uniform
    pub fn number(&mut self) -> u64 {
        self.count += 1;
        let hash = sha256(&[&self.seed.to_be_bytes(), self.purpose.as_bytes(), &self.count.to_be_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = hash;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// A number below `bound`; 0 for a bound of 0. The bias of the remainder is below 2^-32 for every bound in use.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % (bound.max(1) as u64)) as usize
    }

    /// Brings `items` into a random order (Fisher–Yates)
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_be_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The secret half of the key of the process `name` in the lab of `seed`
pub fn key(seed: u64, name: &str) -> [u8; 32] {
    sha256(&[&seed.to_be_bytes(), name.as_bytes()])
}

/// A seed that nobody chose
///
/// # Errors
/// The system has no randomness to give; nothing was changed.
pub fn seed() -> Result<u64, std::io::Error> {
    // Seven digits are enough to tell labs apart and few enough to type again.
    getrandom::u64().map(|number| number % 10_000_000).map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_draws_the_same_and_another_purpose_draws_others() {
        let draw = |purpose| {
            let mut draw = Draw::new(7, purpose);
            (0..4).map(|_| draw.number()).collect::<Vec<_>>()
        };
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..28).collect();
        Draw::new(1, "test").shuffle(&mut items);
        assert_ne!(items, (0..28).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..28).collect::<Vec<_>>());
    }

    #[test]
    fn keys_differ_by_seed_and_by_name() {
        assert_ne!(key(1, "alice"), key(2, "alice"));
        assert_ne!(key(1, "alice"), key(1, "bob"));
        assert_eq!(key(1, "alice"), key(1, "alice"));
    }
}
