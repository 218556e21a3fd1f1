//! A call is evaluated once by one process, however often it is asked.
//!
//! Source: who is asked again under an id answers with the result that there is, or will be (docs/protocol.md, "Calls"). A
//! process remembers far more results, and for longer, than a run has calls; one that starts again remembers none.

use std::collections::BTreeSet;

use kith_common::id::{Key, MessageId};
use kith_common::time::Instant;

use super::per_node::PerNode;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::Observation;

/// What each process has evaluated, by its callers' keys, and for itself
#[derive(Debug, Default)]
pub(crate) struct Evaluations(PerNode<BTreeSet<(Option<Key>, MessageId)>>);

impl Oracle for Evaluations {
    fn name(&self) -> &'static str {
        "evaluations"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Started | Observation::Killed => self.0.of(node).clear(),
            Observation::Evaluating { id, from, .. } if !self.0.of(node).insert((from.map(|grant| grant.key), *id)) => {
                let from = from.map_or_else(|| name_of(node.0), |grant| grant.name.clone());
                return Err(format!("evaluates call {id} of {from} for the second time"));
            }
            _ => {}
        }
        Ok(())
    }
}
