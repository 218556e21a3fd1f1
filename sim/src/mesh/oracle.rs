//! Judges of a run: what an oracle is shown, and when it may object. The oracles themselves are in `oracles`.

use kith_common::time::Instant;

use super::faults::Fault;
use super::node::NodeId;
use super::watch::Observation;
use super::world::World;

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
