//! What is seen at the doors of supernodes: who dials, who is let in, whose reply is late, and who answers those inside.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::Purpose;

use super::LATE;
use crate::crowd::Question;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Counts, from when they were last set to zero
#[derive(Debug)]
pub(super) struct Seen {
    supernodes: u32,
    /// Dials of supernodes
    pub(super) dials: u64,
    /// Grants that came to peers
    pub(super) granted: u64,
    /// Supernodes that have answered a login late since this was last taken out
    pub(super) late: BTreeSet<NodeId>,
    /// When each peer dialled for a login that is not answered
    dialled: BTreeMap<NodeId, Instant>,
    /// The machine at the other end of each link
    others: BTreeMap<(NodeId, u64), NodeId>,
    /// What each peer has asked over a link, and when
    asked: BTreeMap<(NodeId, u64, Question), Instant>,
    /// The longest time that each supernode took for an answer
    answers: BTreeMap<NodeId, Duration>,
}

impl Seen {
    /// Nobody has asked for anything
    pub(super) fn new(supernodes: u32) -> Self {
        Self {
            supernodes,
            dials: 0,
            granted: 0,
            late: BTreeSet::new(),
            dialled: BTreeMap::new(),
            others: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Counts anew; whoever has asked still waits
    pub(super) fn begin(&mut self) {
        (self.dials, self.granted) = (0, 0);
        self.late.clear();
        self.answers.clear();
    }

    /// The longest time that this supernode has taken for an answer, or has let somebody wait for one by now
    pub(super) fn longest_answer(&self, now: Instant, supernode: NodeId) -> Duration {
        let is_its = |(node, link, _): &(NodeId, u64, Question)| self.others.get(&(*node, *link)) == Some(&supernode);
        let waiting = self.asked.iter().filter(|(question, _)| is_its(question)).map(|(_, asked)| now - *asked);
        waiting.chain(self.answers.get(&supernode).copied()).max().unwrap_or_default()
    }

    fn on_answer(&mut self, now: Instant, node: NodeId, link: u64, question: Question) {
        let asked = self.asked.remove(&(node, link, question));
        if let (Some(asked), Some(supernode)) = (asked, self.others.get(&(node, link))) {
            let longest = self.answers.entry(*supernode).or_default();
            *longest = (now - asked).max(*longest);
        }
    }

    /// A supernode says yes or no
    fn on_reply(&mut self, now: Instant, node: NodeId, link: u64) {
        let dialled = self.others.get(&(node, link)).and_then(|peer| self.dialled.remove(peer));
        if dialled.is_some_and(|dialled| now - dialled > LATE) {
            self.late.insert(node);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) {
        let is_supernode = node.0 < self.supernodes;
        match seen {
            Observation::Opened { opened, other, .. } if is_supernode || other.0 < self.supernodes => {
                self.others.insert((node, opened.link.0), *other);
            }
            Observation::Closed { link, .. } => {
                self.others.remove(&(node, *link));
                self.asked.retain(|(of, on, _), _| (*of, *on) != (node, *link));
            }
            Observation::Killed => {
                self.dialled.remove(&node);
                self.others.retain(|(of, _), _| *of != node);
                self.asked.retain(|(of, ..), _| *of != node);
            }
            Observation::Peer(PeerOutput::Dial(dial)) if dial.purpose == Purpose::Home => {
                self.dials += 1;
                self.dialled.insert(node, now);
            }
            Observation::Sent { link, frame: Frame::Granted(_) | Frame::Refused(_) } if is_supernode => {
                self.on_reply(now, node, *link);
            }
            Observation::Sent { link, frame } if self.others.contains_key(&(node, *link)) => {
                self.asked.extend(Question::asked_by(frame).map(|question| ((node, *link, question), now)));
            }
            Observation::Received { frame: Frame::Granted(_), .. } => self.granted += 1,
            Observation::Received { link, frame } => {
                if let Some(question) = Question::answered_by(frame) {
                    self.on_answer(now, node, *link, question);
                }
            }
            _ => {}
        }
    }
}

/// Counts; it objects to nothing
#[derive(Debug)]
pub(super) struct Counter(pub(super) Rc<RefCell<Seen>>);

impl Oracle for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        self.0.borrow_mut().see(now, node, seen);
        Ok(())
    }
}
