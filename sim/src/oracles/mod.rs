//! What must hold, said once more from outside the cores: each oracle shares no code with what it judges.
//!
//! | oracle | what it says | when |
//! |---|---|---|
//! | [`isolation`] | who is logged in has a live neighbour, or knows that it has none | each step |
//! | [`stale_links`] | a link whose other end is gone is noticed in time | each step |
//! | [`component`] | in a whole network live peers are connected | each step |
//! | [`degree`] | tables and links are bounded, and as many as the degree says | each step |
//! | [`epochs`] | epochs only grow | each event |
//! | [`make_before_break`] | an old link stays until each new one is up or has failed | each event |
//! | [`forwarding`] | no packet goes forward to who had it, nor beyond its hops; its way is true | each event |
//! | [`holders`] | a place has one peer, a session one holder, a name one owner | each step, each log entry |
//! | [`fates`] | each send has one fate, in time, and it is true | each event, each step |
//! | [`bounds`] | queues, tables and caches stay within their bounds | each step |
//! | [`tables`] | at the end all tables are what the definition says, and all links are up | at the end |
//! | [`delivery`] | at the end everybody reaches everybody | at the end |

pub mod bounds;
pub mod component;
pub mod degree;
pub mod delivery;
pub mod epochs;
pub mod fates;
pub mod forwarding;
pub mod holders;
pub mod isolation;
pub mod make_before_break;
pub mod stale_links;
pub mod tables;
mod truth;

use kith_common::time::Instant;

use crate::mesh::config::Config;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::watch::Observation;
use crate::mesh::world::World;

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

    /// Everything has been whole for long enough
    ///
    /// # Errors
    /// In words, if something must not be as it is.
    fn end(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
}

/// All oracles, for a run like this
pub fn all(config: &Config) -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(epochs::Epochs::default()),
        Box::new(forwarding::Forwarding::default()),
        Box::new(make_before_break::MakeBeforeBreak::default()),
        Box::new(fates::Fates::new(config)),
        Box::new(holders::Holders::default()),
        Box::new(stale_links::StaleLinks::default()),
        Box::new(isolation::Isolation::default()),
        Box::new(component::Component::default()),
        Box::new(degree::Degree),
        Box::new(bounds::Bounds),
        Box::new(tables::Tables),
        Box::new(delivery::Delivery),
    ]
}
