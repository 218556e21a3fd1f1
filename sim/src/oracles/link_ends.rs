//! What must end a link ends it at once.
//!
//! Source: which frames may come when. A good-bye, a second hello and the third frame that does not decode are a link's
//! last.

use std::collections::BTreeMap;

use kith_common::link::open::DECODE_ERRORS_MAX;
use kith_common::time::Instant;
use kith_common::wire::Frame;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Links that are to end now, each with the reason
#[derive(Debug, Default)]
pub(crate) struct LinkEnds {
    over: BTreeMap<(NodeId, u64), (Instant, &'static str)>,
}

impl Oracle for LinkEnds {
    fn name(&self) -> &'static str {
        "link ends"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Killed => self.over.retain(|(at, _), _| *at != node),
            Observation::Closed { link, .. } => drop(self.over.remove(&(node, *link))),
            Observation::Received { link, frame: Frame::Bye(_) } => {
                self.over.insert((node, *link), (now, "a good-bye"));
            }
            Observation::Received { link, frame: Frame::Hello(_) } => {
                self.over.insert((node, *link), (now, "a second hello"));
            }
            Observation::Undecodable { link, errors } if *errors >= DECODE_ERRORS_MAX => {
                self.over.insert((node, *link), (now, "too many frames that do not decode"));
            }
            _ => {}
        }
        let late = self.over.iter().find(|(_, (since, _))| *since < now);
        late.map_or(Ok(()), |((at, link), (_, what))| Err(format!("{at:?}'s link {link} goes on after {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_that_goes_on_after_its_last_frame_is_seen_and_one_that_ends_is_not() {
        let [before, after] = [Instant::from_micros(1), Instant::from_micros(2)];
        let undecodable = Observation::Undecodable { link: 3, errors: DECODE_ERRORS_MAX };
        let mut oracle = LinkEnds::default();
        oracle.see(before, NodeId(1), &undecodable).unwrap();
        assert!(oracle.see(after, NodeId(2), &Observation::Started).is_err());
        let mut oracle = LinkEnds::default();
        oracle.see(before, NodeId(1), &undecodable).unwrap();
        let reason = kith_common::link::reason::CloseReason::Internal;
        oracle.see(before, NodeId(1), &Observation::Closed { link: 3, reason: &reason }).unwrap();
        assert_eq!(oracle.see(after, NodeId(2), &Observation::Started), Ok(()));
    }
}
