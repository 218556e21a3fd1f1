//! Every message, every ping and every call has exactly one fate, in time, and the fate is true.
//!
//! Source: the out-boxes' tables of fates, and what each status means to people:
//!
//! | fate | what must be so |
//! |---|---|
//! | 200 | the receiver's in-box has it (a message) |
//! | any but 200 and 408 | no in-box has it, nor ever will |
//! | 404 | the directory did not know the name at some time since the send |
//! | 410 | its owner had no session, or was a suspect, at some time since the send |
//! | 421, 403 | one end has found the other's name with another key than it had pinned, and its user has not said since that it is the right one |
//! | 410, 429, 503, 408, of a message that is kept | its time is over; or the out-box was full, or it was taken back |
//! | any | it is the only one, unless a crash has brought a message back; an in-box takes a message once |
//!
//! A message that had its fate may be on disk a moment longer, and come back after a crash: it is sent again, so that whoever
//! was told that it did not arrive may be told that it did. Whoever was told that it did is told so again, or that nobody
//! knows, as its receiver may be away by then.
//!
//! Once everything is whole, and whoever found no supernode for long has had the minute after which it tries again, sends
//! between logged-in peers must end with 200, or with 429 if the out-box or the in-box was full, or with 421 where that is true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Address, Key, MessageId, Name};
use kith_common::mail::{Fate, IN_FLIGHT_MAX, OVERHEAD_BYTES, Outcome, SEND_TIMEOUT};
use kith_common::peer::PeerOutput;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_transport::Called;
use kith_transport::stack::{MessageFate, Restored, Why};

use super::under_way::UnderWay;
use crate::mesh::config::MeshConfig;
use crate::mesh::disk::OUTBOX_BYTES_MAX;
use crate::mesh::faults::Fault;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::{machine_of, name_of};
use crate::mesh::watch::{Observation, carries};
use crate::mesh::world::World;

/// The 10 s of what may not wait, the naming of those on the path, and what a slow clock and a step add
const IN_TIME: Duration = Duration::from_secs(SEND_TIMEOUT.as_secs() + 9);
/// What a disk, a clock that stood and a step add to the time of a message that may wait
const LATE: Duration = Duration::from_secs(9);
/// Clocks may run a fiftieth fast or slow
const CLOCK: u32 = 45;
/// After it nobody sends a packet of a ping or a call any more
const FORGOTTEN: Duration = Duration::from_secs(120);
/// How old an answer may be that a supernode gave: what was true a moment ago, when it was asked or told
const OLD_NEWS: Duration = Duration::from_secs(12);
/// A sender that was told that an in-box is full tries again so much later: 30 s, and a slow clock
const REST: Duration = Duration::from_secs(40);
/// What was sent so shortly before the end may be under way
const UNDER_WAY: Duration = Duration::from_secs(15);

/// What was sent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Ping,
    Call,
    /// … which says so many bytes, and may wait for so long
    Message(u64, Option<Duration>),
}

#[derive(Debug)]
struct Send {
    node: NodeId,
    to: Name,
    what: What,
    source: Address,
    asked: Instant,
    /// When its process was last seen not to run, or to be paused
    held: Instant,
    /// By how much its process's clock has jumped since
    jumped: Duration,
    fate: Option<Status>,
    /// The one that it had before a crash that has brought it back
    before: Option<Status>,
    /// What people were told of it
    reason: String,
    /// Its sender's disk has it
    is_stored: bool,
    /// Its receiver's in-box has it
    is_kept: bool,
    /// A packet of it was doubled on the way, which nobody can know: one copy may come back and the other arrive
    is_doubled: bool,
    /// The out-box was full when it was asked for, or the in-box when it came: 429 is true
    is_too_many: bool,
    /// No in-box has so much room: 413 is true
    is_too_large: bool,
    /// Its user has taken it back
    is_taken_back: bool,
}

impl Send {
    fn new(now: Instant, node: NodeId, to: &Name, what: What, source: Address) -> Self {
        Self {
            node,
            to: to.clone(),
            what,
            source,
            asked: now,
            held: now,
            jumped: Duration::ZERO,
            fate: None,
            before: None,
            reason: String::new(),
            is_stored: false,
            is_kept: false,
            is_doubled: false,
            is_too_many: false,
            is_too_large: false,
            is_taken_back: false,
        }
    }

    const fn is_message(&self) -> bool {
        matches!(self.what, What::Message(..))
    }

    /// For how long it may wait, if it may
    const fn keep(&self) -> Option<Duration> {
        match self.what {
            What::Message(_, keep) => keep,
            What::Ping | What::Call => None,
        }
    }

    /// Whether its time, if it may wait, may be over by its process's clock
    fn may_be_over(&self, now: Instant) -> bool {
        self.keep().is_none_or(|keep| now - self.asked + self.jumped >= keep - keep / CLOCK)
    }

    fn is_late(&self, now: Instant) -> bool {
        match self.keep() {
            None => now - self.held > IN_TIME,
            Some(keep) => now - self.held.max(self.asked + keep + keep / CLOCK) > LATE,
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
    /// Why a message has it
    why: Option<&'a Why>,
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
    /// When each in-box last had no room for something of each sender
    full: BTreeMap<(NodeId, Name), Instant>,
    /// Who has refused a name for which key, and when its user has said that it is the right one
    distrust: BTreeMap<(NodeId, Name), (Key, Option<Instant>)>,
    core: u32,
}

impl Fates {
    /// Nothing is known yet
    pub(crate) fn new(config: &MeshConfig) -> Self {
        Self { core: config.core(), ..Self::default() }
    }

    fn begin(&mut self, id: MessageId, send: Send) -> Result<(), String> {
        if self.sends.insert(id, send).is_some() {
            return Err("two messages with one id".into());
        }
        Ok(())
    }

    /// A call that is repeated has another end, whatever was said of it before
    fn forget_repeated(&mut self, node: NodeId, id: &MessageId, to: &Name) {
        let is_same = |send: &Send| send.what == What::Call && send.node == node && send.to == *to;
        if self.sends.get(id).is_some_and(is_same) {
            self.sends.remove(id);
        }
    }

    fn judge(&mut self, now: Instant, node: NodeId, told: &Told<'_>) -> Result<(), String> {
        let Told { id, to, status, reason, .. } = told;
        let is_excused = self.is_excused(now, id);
        let was_full = self.was_full(now, node, to);
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
        send.is_too_many |= was_full;
        let Some(send) = self.sends.get(*id) else { return Ok(()) };
        let (was_unknown, was_absent) = (self.was_unknown(send), self.was_absent(send));
        let has_lost = self.lost.get(*to).is_some_and(|at| *at >= send.asked);
        match status {
            Status::Delivered if send.is_message() && !send.is_kept => {
                Err(format!("{} was told that {to} has a message which is in no in-box", name_of(node.0)))
            }
            Status::AnotherKey if !self.was_distrusted(send) => {
                Err(format!("421 for {to}, and neither has refused the other: {reason}"))
            }
            Status::NotFound if !was_unknown => {
                Err(format!("404 for {to}, which the directory has known since before the send"))
            }
            Status::Gone if !was_absent => {
                let (what, age) = (send.what, now - send.asked);
                Err(format!("410 for {what:?} of {age:?} to {to}, which has been logged in since before it: {reason}"))
            }
            Status::Delivered | Status::TimedOut => Ok(()),
            _ if send.before == Some(Status::Delivered) && !has_lost => {
                Err(format!("200 for a message to {to}, and after a restart {status}: {reason}"))
            }
            _ if send.is_message() && send.is_kept && !has_lost => {
                Err(format!("{status} for a message to {to} which is in its in-box: {told:?}"))
            }
            Status::NotFound | Status::Gone | Status::Unavailable if send.is_kept && !is_excused => {
                Err(format!("{status} for a message to {to} which is in its in-box: {told:?}"))
            }
            _ => Ok(()),
        }?;
        self.judge_patience(now, told)
    }

    /// Whether the directory did not know the name at some time since the send
    fn was_unknown(&self, send: &Send) -> bool {
        !self.known.contains(&send.to) || self.unknown.get(&send.to).is_some_and(|last| *last + OLD_NEWS >= send.asked)
    }

    /// Whether its owner had no session then, or was a suspect
    fn was_absent(&self, send: &Send) -> bool {
        !self.present.contains(&send.to) || self.absent.get(&send.to).is_some_and(|last| *last + OLD_NEWS >= send.asked)
    }

    /// A message that may wait does so
    fn judge_patience(&self, now: Instant, told: &Told<'_>) -> Result<(), String> {
        let Told { id, to, status, reason, why } = told;
        let Some(send) = self.sends.get(id) else { return Ok(()) };
        match (status, why) {
            (_, None | Some(Why::TakenBack | Why::Removed)) => Ok(()),
            (_, Some(Why::OutboxFull)) => self.judge_room(send),
            // Nobody has the name, and it may have arrived before.
            (Status::TimedOut, Some(Why::LookUp)) if self.was_unknown(send) => Ok(()),
            (Status::Gone | Status::Unavailable | Status::SlowDown | Status::TimedOut | Status::NotLoggedIn, _)
                if !send.may_be_over(now) =>
            {
                let age = now - send.asked;
                Err(format!(
                    "a message to {to} that may wait for {:?} was given up after {age:?}: {reason}",
                    send.keep()
                ))
            }
            _ => Ok(()),
        }
    }

    /// An out-box that is said to be full is
    fn judge_room(&self, one: &Send) -> Result<(), String> {
        let waiting = self.sends.values().filter(|send| send.node == one.node && send.fate.is_none());
        let bytes = |send: &Send| match send.what {
            What::Message(bytes, _) => bytes + OVERHEAD_BYTES,
            What::Ping | What::Call => 0,
        };
        let all = waiting.map(bytes).sum::<u64>() + bytes(one);
        if all <= OUTBOX_BYTES_MAX {
            return Err(format!("an out-box of {all} bytes is said to be full"));
        }
        Ok(())
    }

    /// What was true of it is forgotten, or cannot be known
    fn is_excused(&self, now: Instant, id: &MessageId) -> bool {
        let is_excused = |send: &Send| send.is_doubled || now - send.asked > FORGOTTEN;
        self.sends.get(id).is_none_or(|send| !send.is_message() && is_excused(send))
    }

    /// Whether one end refuses the other for its key, or did so at some time since the send
    fn was_distrusted(&self, send: &Send) -> bool {
        let other = machine_of(&send.to).map(|to| (to, name_of(send.node.0)));
        let ends = std::iter::once((send.node, send.to.clone())).chain(other);
        let mut refused = ends.filter_map(|end| self.distrust.get(&end));
        refused.any(|(_, trusted)| trusted.is_none_or(|at| at + OLD_NEWS >= send.asked))
    }

    /// Whether an in-box has told this sender not long ago that it is full
    fn was_full(&self, now: Instant, node: NodeId, to: &Name) -> bool {
        self.full.get(&(node, to.clone())).is_some_and(|at| now - *at < REST)
    }

    fn keep(&mut self, now: Instant, node: NodeId, id: &MessageId, is_new: bool, status: Status) -> Result<(), String> {
        let Some(send) = self.sends.get_mut(id) else { return Ok(()) };
        if send.to != name_of(node.0) {
            return Err(format!("a message for {} is in the in-box of {}", send.to, name_of(node.0)));
        }
        send.is_too_many |= status == Status::SlowDown;
        send.is_too_large |= status == Status::TooLarge;
        if status == Status::SlowDown {
            self.full.insert((send.node, send.to.clone()), now);
        }
        if status != Status::Delivered {
            return Ok(());
        }
        let has_lost = self.lost.get(&send.to).is_some_and(|at| *at >= send.asked);
        if is_new && send.is_kept && !has_lost {
            return Err(format!("a message of {} is in the in-box twice", name_of(send.node.0)));
        }
        send.is_kept = true;
        match send.fate {
            Some(Status::Delivered | Status::TimedOut) | None => Ok(()),
            Some(status) => {
                Err(format!("the message arrived after its sender, {}, was told {status}", name_of(send.node.0)))
            }
        }
    }

    /// What a process finds in its out-box has no fate, whatever was said before; and nothing else is left of what it sent
    fn restore(&mut self, now: Instant, node: NodeId, restored: &[Restored]) -> Result<(), String> {
        let found: BTreeSet<MessageId> = restored.iter().map(|one| one.id).collect();
        for one in restored {
            if let Some(send) = self.sends.get_mut(&one.id) {
                (send.before, send.held) = (send.fate.take(), now);
            }
        }
        let of_node = |send: &Send| send.node == node && send.is_message();
        let waiting = self.sends.iter().filter(|(_, send)| of_node(send) && send.fate.is_none());
        if let Some((_, send)) = waiting.into_iter().find(|(id, _)| !found.contains(*id)) {
            return Err(format!("a message to {} that was in the out-box is not there after a restart", send.to));
        }
        Ok(())
    }

    /// The process on a machine is dead: of what it sent its disk has what was stored, and its in-box may be new when it is back
    fn kill(&mut self, node: NodeId) {
        self.sends.retain(|_, send| send.node != node || send.is_stored || send.fate.is_some() && send.is_message());
    }

    fn agree(&mut self, now: Instant, known: BTreeSet<Name>, present: BTreeSet<Name>) {
        for (before, after, when) in
            [(&self.known, &known, &mut self.unknown), (&self.present, &present, &mut self.absent)]
        {
            for name in before.symmetric_difference(after) {
                when.insert(name.clone(), now);
            }
        }
        (self.known, self.present) = (known, present);
    }
}

impl Oracle for Fates {
    fn name(&self) -> &'static str {
        "fates"
    }

    fn fault(&mut self, _: Instant, fault: &Fault) {
        if let Fault::Jump(node, by) = fault {
            let sends = self.sends.values_mut().filter(|send| send.node == *node && send.fate.is_none());
            sends.for_each(|send| send.jumped += *by);
        }
    }

    fn see(&mut self, now: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        self.under_way.see(node, seen);
        match seen {
            Observation::Sending { id, to, bytes, keep, source } => {
                let what = What::Message(bytes.len() as u64, *keep);
                return self.begin(*id, Send::new(now, node, to, what, *source));
            }
            Observation::Asked { id, to, source } => {
                let is_too_many = self.under_way.of(node) > IN_FLIGHT_MAX;
                return self.begin(*id, Send { is_too_many, ..Send::new(now, node, to, What::Ping, *source) });
            }
            Observation::Calling { id, to, source, .. } | Observation::Opening { id, to, source, .. } => {
                self.forget_repeated(node, id, to);
                return self.begin(*id, Send::new(now, node, to, What::Call, *source));
            }
            Observation::Stored { id, is_stored } => {
                if let Some(send) = self.sends.get_mut(id) {
                    send.is_stored = *is_stored;
                    if let (false, What::Message(bytes, _)) = (is_stored, send.what) {
                        (send.what, send.held) = (What::Message(bytes, None), now);
                    }
                }
            }
            Observation::Ended(fate) => {
                let MessageFate { id, to, status, reason, .. } = fate;
                if let Some(send) = self.sends.get_mut(id) {
                    send.is_too_many |= *reason == Why::OutboxFull;
                    send.is_taken_back = *reason == Why::TakenBack;
                }
                let told = Told { id, to, status: *status, reason: fate.why(), why: Some(reason) };
                return self.judge(now, node, &told);
            }
            Observation::Peer(PeerOutput::Done(Outcome { fate, .. })) => {
                let Fate { id, to, status, .. } = fate;
                return self.judge(now, node, &Told { id, to, status: *status, reason: fate.why(), why: None });
            }
            Observation::Called(called) => {
                let Called { id, to, status, .. } = called;
                return self.judge(now, node, &Told { id, to, status: *status, reason: called.why(), why: None });
            }
            Observation::Kept { id, status, is_new } => return self.keep(now, node, id, *is_new, *status),
            Observation::Duplicated { packet } => {
                let source = packet.header().source;
                // A message is in no packet that anybody can read.
                let is_seen = |send: &Send| send.source == source && !send.is_message();
                let mut sends = self.sends.iter_mut().filter(|(_, send)| is_seen(send));
                if let Some((_, send)) = sends.find(|(id, _)| carries(packet, id)) {
                    send.is_doubled = true;
                }
            }
            Observation::Agreed(directory) => {
                let known = directory.accounts().map(|(name, _)| name.clone()).collect();
                let here = directory.sessions().filter(|session| session.suspect.is_none());
                self.agree(now, known, here.map(|session| session.name.clone()).collect());
            }
            Observation::KeyRefused { name, key } => _ = self.distrust.insert((node, (*name).clone()), (*key, None)),
            Observation::Trusts { name, key } => {
                let refused = self.distrust.get_mut(&(node, (*name).clone())).filter(|(refused, _)| refused == key);
                refused.into_iter().for_each(|(_, trusted)| *trusted = Some(now));
            }
            Observation::Killed => self.kill(node),
            Observation::Restored(restored) => return self.restore(now, node, restored),
            Observation::DiskLost => {
                self.lost.insert(name_of(node.0), now);
                self.distrust.retain(|(refuser, _), _| *refuser != node);
                self.sends.retain(|_, send| send.node != node);
            }
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
            if send.is_late(now) {
                let (from, what) = (name_of(send.node.0), send.what);
                return Err(format!("{from} has waited too long for a fate of its {what:?} to {}", send.to));
            }
        }
        self.sends.retain(|_, send| send.is_message() || send.fate.is_none() || now - send.asked < FORGOTTEN);
        Ok(())
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        let (now, Some(settled)) = (world.now(), world.settled) else { return Ok(()) };
        let names: BTreeSet<Name> = (world.config.supernodes..self.core).map(name_of).collect();
        let of_core = self.sends.values().filter(|send| send.node.0 < self.core && names.contains(&send.to));
        for send in of_core.filter(|send| world.node(send.node).wants_session) {
            let from = name_of(send.node.0);
            let was_full = self.was_full(now, send.node, &send.to);
            let may_wait = was_full || self.was_distrusted(send);
            let is_true = |status| match status {
                Status::Delivered => true,
                // What finds no room holds up those behind it.
                Status::SlowDown => send.is_too_many || was_full,
                Status::TooLarge => send.is_too_large,
                Status::AnotherKey | Status::NotAllowed => self.was_distrusted(send),
                // A pipe leads to another peer.
                Status::Conflict => send.to == name_of(send.node.0),
                // Of what was out once nobody knows for sure that it was refused.
                Status::TimedOut => send.is_taken_back || send.is_too_many || may_wait,
                _ => false,
            };
            match send.fate {
                Some(status) if send.asked >= settled && !is_true(status) => {
                    let reason = &send.reason;
                    return Err(format!("{from} sent to {} in a whole mesh, and was told {status}: {reason}", send.to));
                }
                None if send.is_message() && now - send.asked > UNDER_WAY && !may_wait => {
                    return Err(format!("a message of {from} to {} waits in a whole mesh", send.to));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
