//! Askers at the control socket, and what each waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::{Instant, Timers, earliest};
use kith_runtime::control::peer::SendAnswer;
use kith_runtime::control::server::Reply;
use kith_transport::stack::Trouble;
use tokio::sync::oneshot;

use super::pings::Pinger;
use crate::piping::Opened;

/// Who has hung up is noticed so soon, by a look at all that wait: one at each request made a thousand requests under way cost a
/// million looks
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a signal was sent for
#[derive(Debug)]
pub(super) enum Asked {
    Ping,
    Trace,
}

/// Somebody who waits for the receipt of a message
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) reply: Reply,
    pub(super) to: Name,
    pub(super) begun: Instant,
    /// From when on it is enough that the message is in the out-box
    pub(super) until: Instant,
    pub(super) keep: Option<Duration>,
    /// Whether it is in the out-box by now
    pub(super) is_stored: bool,
    pub(super) trouble: Option<Trouble>,
}

/// What is told to somebody once the disk has it
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reply: Reply,
    pub(super) status: Status,
    pub(super) answer: SendAnswer,
}

impl Sender {
    /// When it has waited long enough, as its message is in the out-box
    fn enough(&self) -> Instant {
        if self.is_vain() { Instant::ZERO } else { self.until }
    }

    /// Whether there is nothing to wait for: its receiver is not here, or a user has to say whose a name is first
    fn is_vain(&self) -> bool {
        let is_so = |status| matches!(status, Status::Gone | Status::AnotherKey | Status::NotAllowed);
        self.trouble.as_ref().is_some_and(|trouble| is_so(trouble.status))
    }
}

/// Somebody who waits for a fate
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) reply: Reply,
    pub(super) asked: Asked,
}

/// Somebody who waits for the end of a call, or of the question for a pipe
#[derive(Debug)]
pub(super) enum Caller {
    /// For what a function comes to
    Result { reply: Reply, function: String },
    /// For whoever listens on a channel, or for where it leads
    Pipe { reply: Reply, channel: String },
    /// A program that has come by a tunnel, and where that leads
    Tunnel { tunnel: u64, leads_to: String, answer: oneshot::Sender<Opened> },
}

impl Caller {
    fn is_gone(&self) -> bool {
        match self {
            Self::Result { reply, .. } | Self::Pipe { reply, .. } => reply.is_gone(),
            Self::Tunnel { answer, .. } => answer.is_closed(),
        }
    }
}

/// All askers
///
/// Those who have hung up are forgotten within [`LOOK_EVERY`], so there are never more than control connections and requests under way,
/// and those that have come and gone meanwhile.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: BTreeMap<MessageId, Sender>,
    /// When those have waited long enough whose messages are in the out-box
    enough: Timers<MessageId>,
    /// As many as fates that are being written
    written: BTreeMap<MessageId, Told>,
    fates: BTreeMap<MessageId, Asker>,
    calls: BTreeMap<MessageId, Caller>,
    pings: BTreeMap<MessageId, Pinger>,
    look_ups: Vec<(Name, Reply)>,
    /// By the number of the question
    lists: BTreeMap<u64, Reply>,
    logouts: Vec<Reply>,
    /// Not before then anybody is looked for who has hung up
    next_look: Instant,
}

/// Those who have hung up, and what goes on for them elsewhere
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) calls: Vec<MessageId>,
    pub(super) pings: Vec<MessageId>,
}

impl Waiting {
    pub(super) fn for_message(&mut self, id: MessageId, sender: Sender) {
        self.messages.insert(id, sender);
    }

    pub(super) fn note_stored(&mut self, id: &MessageId) {
        if let Some(sender) = self.messages.get_mut(id) {
            sender.is_stored = true;
            self.enough.set(sender.enough(), *id);
        }
    }

    pub(super) fn note_trouble(&mut self, to: &Name, trouble: &Trouble) {
        for (id, sender) in self.messages.iter_mut().filter(|(_, sender)| sender.to == *to) {
            sender.trouble = Some(trouble.clone());
            if sender.is_stored {
                self.enough.set(sender.enough(), *id);
            }
        }
    }

    /// The next of those whose messages are in the out-box, and who have waited long enough
    pub(super) fn take_waited(&mut self, now: Instant) -> Option<(MessageId, Sender)> {
        let id = self.enough.take_due(now)?;
        Some((id, self.messages.remove(&id)?))
    }

    /// When [`Self::take_waited`] has somebody, or [`Self::take_gone`] may
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let look = (!self.is_empty()).then_some(self.next_look);
        earliest(self.enough.next_timeout(), look)
    }

    fn is_empty(&self) -> bool {
        let Self { messages, fates, calls, pings, look_ups, lists, logouts, .. } = self;
        let by_id = messages.is_empty() && fates.is_empty() && calls.is_empty() && pings.is_empty();
        by_id && look_ups.is_empty() && lists.is_empty() && logouts.is_empty()
    }

    pub(super) fn take_message(&mut self, id: &MessageId) -> Option<Sender> {
        self.enough.stop(id);
        self.messages.remove(id)
    }

    pub(super) fn for_written(&mut self, id: MessageId, told: Told) {
        self.written.insert(id, told);
    }

    pub(super) fn take_written(&mut self, id: &MessageId) -> Option<Told> {
        self.written.remove(id)
    }

    /// Nobody waits any longer than until his message is in the out-box
    pub(super) fn hurry(&mut self, now: Instant) {
        for (id, sender) in &mut self.messages {
            sender.until = sender.until.min(now);
            if sender.is_stored {
                self.enough.set(sender.until, *id);
            }
        }
    }

    pub(super) fn for_fate(&mut self, id: MessageId, asker: Asker) {
        self.fates.insert(id, asker);
    }

    pub(super) fn for_call(&mut self, id: MessageId, caller: Caller) {
        self.calls.insert(id, caller);
    }

    pub(super) fn for_pings(&mut self, id: MessageId, pinger: Pinger) {
        self.pings.insert(id, pinger);
    }

    pub(super) fn pinger(&self, id: &MessageId) -> Option<&Pinger> {
        self.pings.get(id)
    }

    /// Whose series of pings are under way
    pub(super) fn pingers(&self) -> usize {
        self.pings.len()
    }

    pub(super) fn take_pings(&mut self, id: &MessageId) -> Option<Pinger> {
        self.pings.remove(id)
    }

    pub(super) fn for_look_up(&mut self, name: Name, reply: Reply) {
        self.look_ups.push((name, reply));
    }

    pub(super) fn for_list(&mut self, query: u64, reply: Reply) {
        self.lists.insert(query, reply);
    }

    pub(super) fn for_logout(&mut self, reply: Reply) {
        self.logouts.push(reply);
    }

    /// Those who have hung up are looked for at the next time: what they hold is wanted by somebody else
    pub(super) fn look_now(&mut self) {
        self.next_look = Instant::ZERO;
    }

    /// Forgets those who have hung up, if it is time to look
    pub(super) fn take_gone(&mut self, now: Instant) -> Gone {
        if now < self.next_look || self.is_empty() {
            return Gone::default();
        }
        self.next_look = now + LOOK_EVERY;
        for id in take_if(&mut self.messages, |sender| sender.reply.is_gone()) {
            self.enough.stop(&id);
        }
        self.fates.retain(|_, asker| !asker.reply.is_gone());
        self.look_ups.retain(|(_, reply)| !reply.is_gone());
        self.lists.retain(|_, reply| !reply.is_gone());
        self.logouts.retain(|reply| !reply.is_gone());
        let calls = take_if(&mut self.calls, Caller::is_gone);
        let pings = take_if(&mut self.pings, Pinger::is_gone);
        Gone { calls, pings }
    }

    pub(super) fn take_fate(&mut self, id: &MessageId) -> Option<Asker> {
        self.fates.remove(id)
    }

    pub(super) fn take_call(&mut self, id: &MessageId) -> Option<Caller> {
        self.calls.remove(id)
    }

    pub(super) fn take_look_ups(&mut self, name: &Name) -> Vec<Reply> {
        self.look_ups.extract_if(.., |(asked, _)| asked == name).map(|(_, reply)| reply).collect()
    }

    pub(super) fn take_list(&mut self, query: u64) -> Option<Reply> {
        self.lists.remove(&query)
    }

    pub(super) fn take_logouts(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.logouts)
    }
}

/// Takes out those of which it holds, and returns whose they were
fn take_if<T>(all: &mut BTreeMap<MessageId, T>, holds: impl Fn(&T) -> bool) -> Vec<MessageId> {
    let taken: Vec<MessageId> = all.iter().filter(|(_, one)| holds(one)).map(|(id, _)| *id).collect();
    taken.iter().for_each(|id| _ = all.remove(id));
    taken
}
