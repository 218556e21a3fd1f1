//! Judges of a run: what an oracle is shown, and when it may object. The oracles themselves are in `oracles`.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use kith_common::time::Instant;
use serde::Serialize;

use super::faults::Fault;
use super::node::NodeId;
use super::watch::Observation;
use super::world::World;

/// What was done with the directory, as far as an oracle has held each against what must be so
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Names that were taken
    pub registered: u64,
    /// Sessions that were granted: begun or taken up again
    pub logged_in: u64,
    pub logged_out: u64,
    /// Names that were given free, by an operator or as a newcomer took them
    pub released: u64,
    /// Look-ups with an answer that is said to be sure
    pub looked_up: u64,
}

impl Operations {
    /// All together
    pub const fn total(&self) -> u64 {
        self.registered + self.logged_in + self.logged_out + self.released + self.looked_up
    }
}

impl AddAssign for Operations {
    fn add_assign(&mut self, other: Self) {
        self.registered += other.registered;
        self.logged_in += other.logged_in;
        self.logged_out += other.logged_out;
        self.released += other.released;
        self.looked_up += other.looked_up;
    }
}

impl Sum for Operations {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registered, logged_in, logged_out, released, looked_up } = self;
        write!(
            f,
            "operations judged: {}: {registered} names taken, {released} given free, {logged_in} logins, {logged_out} logouts, \
             {looked_up} look-ups",
            self.total()
        )
    }
}

/// Somebody who knows one thing that must hold
pub trait Oracle {
    /// What it is called in reports
    fn name(&self) -> &'static str;

    /// Something was seen
    ///
    /// # Errors
    /// In words, if it must not be.
    fn see(&mut self, _now: Instant, _node: NodeId, _seen: &Observation<'_>) -> Result<(), String> {
        Ok(())
    }

    /// A fault happens, which may excuse something
    fn fault(&mut self, _now: Instant, _fault: &Fault) {}

    /// What it has judged so far, of what people do with the directory
    fn judged(&self) -> Operations {
        Operations::default()
    }

    /// Time to look at everything
    ///
    /// # Errors
    /// In words, if something must not be as it is.
    fn step(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }

    /// Everything has been whole for one lease and 15 s, and nobody is being tried again: by now the mesh must have healed
    ///
    /// # Errors
    /// In words, if something must not be as it is.
    fn whole(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }

    /// Whatever was sent last has had its time
    ///
    /// # Errors
    /// In words, if something must not be as it is.
    fn end(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
}
