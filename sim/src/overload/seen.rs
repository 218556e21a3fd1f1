//! What is seen of a crowd at a supernode's door: who asks, who is let in, who is put off and comes again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kith_common::peer::PeerOutput;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_common::wire::session::{Purpose, Refused};

use crate::crowd::Question;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::watch::Observation;

/// Whoever is put off is told so within this, if it is told at once
const AT_ONCE: Duration = Duration::from_secs(1);
/// A peer's clock may be faster by so many in ten thousand
const CLOCK: u32 = 2;

/// Counts, from when they were last set to zero
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Dials of supernodes
    pub(super) dials: u64,
    /// Grants that came to peers that waited for them
    pub(super) granted: u64,
    /// Logins that were put off …
    pub(super) put_off: u64,
    /// … which their peers heard later than at once
    pub(super) told_late: u64,
    /// … and that came again, to the same supernode, earlier than they were told to
    pub(super) too_early: u64,
    /// Logins that their peers have given up without an answer
    pub(super) given_up: u64,
    /// The longest time that a renewal or a look-up waited for its answer
    pub(super) longest_answer: Duration,
    /// When each peer sent its login
    asked: BTreeMap<NodeId, Instant>,
    /// What each peer in a session has asked, and when
    waiting: BTreeMap<(NodeId, Question), Instant>,
    /// When each peer that was put off may come again, by which supernode
    again: BTreeMap<(NodeId, NodeId), Instant>,
    /// When each peer last dialled, and whom it reached then
    dialled: BTreeMap<NodeId, Instant>,
    reached: BTreeMap<NodeId, NodeId>,
}

impl Seen {
    /// Counts anew; whoever has asked still waits
    pub(super) fn begin(&mut self) {
        *self = Self {
            asked: std::mem::take(&mut self.asked),
            waiting: std::mem::take(&mut self.waiting),
            again: std::mem::take(&mut self.again),
            dialled: std::mem::take(&mut self.dialled),
            reached: std::mem::take(&mut self.reached),
            ..Self::default()
        };
    }

    fn forget(&mut self, node: NodeId) {
        self.asked.remove(&node);
        self.waiting.retain(|(of, _), _| *of != node);
    }

    fn on_refused(&mut self, now: Instant, node: NodeId, refused: &Refused) {
        let asked = self.asked.remove(&node);
        let is_put_off = matches!(refused.status, Status::SlowDown | Status::Unavailable);
        if !is_put_off || refused.retry_after_ms == 0 {
            return;
        }
        self.put_off += 1;
        self.told_late += u64::from(asked.is_some_and(|asked| now - asked > AT_ONCE));
        let wait = Duration::from_millis(refused.retry_after_ms.into());
        if let Some(supernode) = self.reached.get(&node) {
            self.again.insert((node, *supernode), now + (wait - wait * CLOCK / 10_000));
        }
    }

    /// A peer has reached a supernode, which another may have put it off
    fn on_reached(&mut self, node: NodeId, supernode: NodeId) {
        self.reached.insert(node, supernode);
        let again = self.again.remove(&(node, supernode));
        let dialled = self.dialled.remove(&node);
        self.too_early += u64::from(dialled.zip(again).is_some_and(|(dialled, again)| dialled < again));
    }

    /// It need not wait: it was told to ask now, or its process was not told anything
    fn need_not_wait(&mut self, node: NodeId) {
        self.again.retain(|(of, _), _| *of != node);
    }

    fn on_answer(&mut self, now: Instant, node: NodeId, question: Question) {
        if let Some(asked) = self.waiting.remove(&(node, question)) {
            self.longest_answer = self.longest_answer.max(now - asked);
        }
    }

    fn on_sent(&mut self, now: Instant, node: NodeId, frame: &Frame) {
        match frame {
            Frame::Login(_) => drop(self.asked.insert(node, now)),
            frame => self.waiting.extend(Question::asked_by(frame).map(|question| ((node, question), now))),
        }
    }

    fn on_received(&mut self, now: Instant, node: NodeId, frame: &Frame) {
        match frame {
            Frame::Granted(_) => {
                self.asked.remove(&node);
                self.granted += 1;
            }
            Frame::Refused(refused) => self.on_refused(now, node, refused),
            frame => {
                if let Some(question) = Question::answered_by(frame) {
                    self.on_answer(now, node, question);
                }
            }
        }
    }
}

/// Counts; it objects to nothing
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) seen: Rc<RefCell<Seen>>,
    pub(super) supernodes: u32,
}

impl Oracle for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        let mut counted = self.seen.borrow_mut();
        match seen {
            Observation::Peer(PeerOutput::Dial(dial)) if dial.purpose == Purpose::Home => {
                counted.dials += 1;
                counted.given_up += u64::from(counted.asked.remove(&node).is_some());
                counted.dialled.insert(node, now);
            }
            Observation::Opened { other, .. } if node.0 >= self.supernodes && other.0 < self.supernodes => {
                counted.on_reached(node, *other);
            }
            Observation::Sent { frame, .. } => counted.on_sent(now, node, frame),
            Observation::Received { frame, .. } => counted.on_received(now, node, frame),
            Observation::Killed => {
                counted.forget(node);
                counted.need_not_wait(node);
            }
            Observation::Wants(false) => counted.forget(node),
            Observation::Wants(true) => counted.need_not_wait(node),
            _ => {}
        }
        Ok(())
    }
}
