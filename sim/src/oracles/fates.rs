//! Every send and every call has exactly one fate, in time, and the fate is true.
//!
//! Source: the out-box's table of fates, and what each status means to people:
//!
//! | fate | what must be so |
//! |---|---|
//! | 200 | the receiver's in-box has it (data) |
//! | 404, 410, 503 | no in-box has it, nor ever will; 408 is for what may have arrived |
//! | 404 | the directory did not know the name at some time since the send |
//! | 410 | its owner had no session, or was a suspect, at some time since the send |
//! | any | it is the only one; an in-box takes a message once |
//!
//! Once everything is whole, and whoever found no supernode for long has had the minute after which it tries again, sends
//! between logged-in peers must end with 200, or with 429 if the out-box or the in-box was full.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, MessageId, Name};
use kith_common::mail::{Fate, IN_FLIGHT_MAX, Outcome, SEND_TIMEOUT};
use kith_common::peer::PeerOutput;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::Content;
use kith_transport::Called;

use super::under_way::UnderWay;
use crate::mesh::config::MeshConfig;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::name_of;
use crate::mesh::watch::{Observation, carries};
use crate::mesh::world::World;

/// The out-box's 10 s, the naming of those on the path, and what a slow clock and a step add
const IN_TIME: Duration = Duration::from_secs(SEND_TIMEOUT.as_secs() + 9);
/// After it nobody sends a packet of a message any more
const FORGOTTEN: Duration = Duration::from_secs(120);
/// How old an answer may be that a supernode gave: what was true a moment ago, when it was asked or told
const OLD_NEWS: Duration = Duration::from_secs(12);

#[derive(Debug)]
struct Send {
    node: NodeId,
    to: Name,
    is_data: bool,
    source: Address,
    asked: Instant,
    /// When its process was last seen not to run, or to be paused
    held: Instant,
    fate: Option<Status>,
    /// What people were told of it
    reason: String,
    is_kept: bool,
    /// A packet of it was doubled on the way, which nobody can know: one copy may come back and the other arrive
    is_doubled: bool,
    /// The out-box was full when it was asked for, or the in-box when it came: 429 is true
    is_too_many: bool,
}

impl Send {
    fn new(node: NodeId, to: &Name, source: Address) -> Self {
        Self {
            node,
            to: to.clone(),
            is_data: false,
            source,
            asked: Instant::ZERO,
            held: Instant::ZERO,
            fate: None,
            reason: String::new(),
            is_kept: false,
            is_doubled: false,
            is_too_many: false,
        }
    }
}

/// A fate, as people are told of it
#[derive(Debug)]
struct Told<'a> {
    id: &'a MessageId,
    to: &'a Name,
    status: Status,
    reason: String,
}

/// What is known of every send, and of every name
#[derive(Debug, Default)]
pub(crate) struct Fates {
    sends: BTreeMap<MessageId, Send>,
    under_way: UnderWay,
    /// When each name was last unknown, and when its owner was last absent
    unknown: BTreeMap<Name, Instant>,
    absent: BTreeMap<Name, Instant>,
    known: BTreeSet<Name>,
    present: BTreeSet<Name>,
    /// The peers that lost their disks, and what was on them
    lost: BTreeMap<Name, Instant>,
    core: u32,
}

impl Fates {
    /// Nothing is known yet
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { core: config.core(), ..Self::default() }
    }

    fn begin(&mut self, now: Instant, id: MessageId, send: Send) -> Result<(), String> {
        let send = Send { asked: now, held: now, ..send };
        if self.sends.insert(id, send).is_some() {
            return Err("two messages with one id".into());
        }
        Ok(())
    }

    fn judge(&mut self, now: Instant, node: NodeId, told: &Told<'_>) -> Result<(), String> {
        let Told { id, to, status, reason } = told;
        let is_excused = self.is_excused(now, id);
        let Some(send) = self.sends.get_mut(id) else {
            return Err(format!("a fate for a message that nobody sent: {told:?}"));
        };
        if send.node != node || send.to != **to {
            return Err(format!("a fate for somebody else's message: {told:?}"));
        }
        if let Some(before) = send.fate.replace(*status) {
            return Err(format!("two fates of one message to {to}: {before}, then {status}"));
        }
        send.reason.clone_from(reason);
        let since = Instant::from_micros(send.asked.as_micros().saturating_sub(OLD_NEWS.as_micros() as u64));
        let was = |when: &BTreeMap<Name, Instant>, is_so_now: bool| {
            is_so_now || when.get(*to).is_some_and(|last| *last >= since)
        };
        match status {
            Status::Delivered if send.is_data && !send.is_kept => {
                Err(format!("{} was told that {to} has a message which is in no in-box", name_of(node.0)))
            }
            Status::NotFound if !was(&self.unknown, !self.known.contains(*to)) => {
                Err(format!("404 for {to}, which the directory has known since before the send"))
            }
            Status::Gone if !was(&self.absent, !self.present.contains(*to)) => {
                Err(format!("410 for {to}, which has been logged in since before the send"))
            }
            Status::NotFound | Status::Gone | Status::Unavailable if send.is_kept && !is_excused => {
                Err(format!("{status} for a message to {to} which is in its in-box: {told:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What was true of it is forgotten, or cannot be known
    fn is_excused(&self, now: Instant, id: &MessageId) -> bool {
        self.sends.get(id).is_none_or(|send| send.is_doubled || now - send.asked > FORGOTTEN)
    }

    fn keep(&mut self, now: Instant, node: NodeId, id: &MessageId, is_new: bool, status: Status) -> Result<(), String> {
        let is_excused = self.is_excused(now, id);
        let Some(send) = self.sends.get_mut(id) else { return Ok(()) };
        if send.to != name_of(node.0) {
            return Err(format!("a message for {} is in the in-box of {}", send.to, name_of(node.0)));
        }
        send.is_too_many |= status == Status::SlowDown;
        if status != Status::Delivered {
            return Ok(());
        }
        let has_lost = self.lost.get(&send.to).is_some_and(|at| *at >= send.asked);
        if is_new && send.is_kept && !has_lost {
            return Err(format!("a message of {} is in the in-box twice", name_of(send.node.0)));
        }
        send.is_kept = true;
        match send.fate {
            Some(status @ (Status::NotFound | Status::Gone | Status::Unavailable)) if !is_excused => {
                Err(format!("the message arrived after its sender, {}, was told {status}", name_of(send.node.0)))
            }
            _ => Ok(()),
        }
    }
}

impl Oracle for Fates {
    fn name(&self) -> &'static str {
        "fates"
    }

    fn fault(&mut self, now: Instant, fault: &Fault) {
        if let Fault::PowerCut(node, _, false) = fault {
            self.lost.insert(name_of(node.0), now);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        self.under_way.see(node, seen);
        match seen {
            Observation::Asked { id, to, content, source } => {
                let is_too_many = self.under_way.of(node) > IN_FLIGHT_MAX;
                let is_data = matches!(content, Content::Data(_));
                return self.begin(now, *id, Send { is_data, is_too_many, ..Send::new(node, to, *source) });
            }
            Observation::Calling { id, to, source, .. } => {
                return self.begin(now, *id, Send::new(node, to, *source));
            }
            Observation::Peer(PeerOutput::Done(Outcome { fate, .. })) => {
                let Fate { id, to, status, .. } = fate;
                return self.judge(now, node, &Told { id, to, status: *status, reason: fate.why() });
            }
            Observation::Called(called) => {
                let Called { id, to, status, .. } = called;
                return self.judge(now, node, &Told { id, to, status: *status, reason: called.why() });
            }
            Observation::Kept { id, status, is_new } => return self.keep(now, node, id, *is_new, *status),
            Observation::Duplicated { packet } => {
                let source = packet.header().source;
                let mut sends = self.sends.iter_mut().filter(|(_, send)| send.source == source);
                if let Some((_, send)) = sends.find(|(id, _)| carries(packet, id)) {
                    send.is_doubled = true;
                }
            }
            Observation::Agreed(directory) => {
                let known: BTreeSet<Name> = directory.accounts().map(|(name, _)| name.clone()).collect();
                let here = directory.sessions().filter(|session| session.suspect.is_none());
                let present: BTreeSet<Name> = here.map(|session| session.name.clone()).collect();
                for (before, after, when) in
                    [(&self.known, &known, &mut self.unknown), (&self.present, &present, &mut self.absent)]
                {
                    for name in before.symmetric_difference(after) {
                        when.insert(name.clone(), now);
                    }
                }
                (self.known, self.present) = (known, present);
            }
            // A dead process's sends are over, and its in-box may be new when it is back.
            Observation::Killed => self.sends.retain(|_, send| send.node != node),
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let now = world.now();
        for send in self.sends.values_mut().filter(|send| send.fate.is_none()) {
            if !world.node(send.node).runs() {
                send.held = now;
            }
            if now - send.held > IN_TIME {
                return Err(format!(
                    "{} has waited too long for a fate of its message to {}",
                    name_of(send.node.0),
                    send.to
                ));
            }
        }
        self.sends.retain(|_, send| send.fate.is_none() || now - send.asked < FORGOTTEN);
        Ok(())
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        let Some(settled) = world.settled else { return Ok(()) };
        let names: BTreeSet<Name> = (world.config.supernodes..self.core).map(name_of).collect();
        let late = self.sends.values().filter(|send| send.asked >= settled && names.contains(&send.to));
        for send in late.filter(|send| send.node.0 < self.core && world.node(send.node).wants_session) {
            let is_true = |status| status == Status::Delivered || status == Status::SlowDown && send.is_too_many;
            if let Some(status) = send.fate.filter(|status| !is_true(*status)) {
                let from = name_of(send.node.0);
                let reason = &send.reason;
                return Err(format!("{from} sent to {} in a whole mesh, and was told {status}: {reason}", send.to));
            }
        }
        Ok(())
    }
}
