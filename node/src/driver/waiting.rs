//! Askers at the control socket, and what each waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::{Instant, earliest};
use kith_runtime::control::peer::SendAnswer;
use kith_runtime::control::server::Reply;
use kith_transport::stack::Trouble;

use super::pings::Pinger;

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

/// What a call is for
#[derive(Debug)]
pub(super) enum CalledFor {
    /// What a function comes to
    Result { function: String },
    /// Whoever listens on a channel is to take a pipe
    Pipe { channel: String },
}

/// Somebody who waits for a result, or for a pipe
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) reply: Reply,
    pub(super) called_for: CalledFor,
}

/// All askers
///
/// Those who have hung up are forgotten whenever another one comes, so there are never more than control connections and
/// requests under way.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: BTreeMap<MessageId, Sender>,
    /// As many as fates that are being written
    written: BTreeMap<MessageId, Told>,
    fates: BTreeMap<MessageId, Asker>,
    calls: BTreeMap<MessageId, Caller>,
    pings: BTreeMap<MessageId, Pinger>,
    look_ups: Vec<(Name, Reply)>,
    /// By the number of the question
    lists: BTreeMap<u64, Reply>,
    logouts: Vec<Reply>,
}

impl Waiting {
    pub(super) fn for_message(&mut self, id: MessageId, sender: Sender) {
        self.forget_gone();
        self.messages.insert(id, sender);
    }

    pub(super) fn note_stored(&mut self, id: &MessageId) {
        if let Some(sender) = self.messages.get_mut(id) {
            sender.is_stored = true;
        }
    }

    pub(super) fn note_trouble(&mut self, to: &Name, trouble: &Trouble) {
        for sender in self.messages.values_mut().filter(|sender| sender.to == *to) {
            sender.trouble = Some(trouble.clone());
        }
    }

    /// Those whose messages are in the out-box, and who have waited long enough
    pub(super) fn take_waited(&mut self, now: Instant) -> Vec<(MessageId, Sender)> {
        let is_over = |sender: &Sender| sender.is_stored && (sender.until <= now || sender.is_vain());
        let waited: Vec<_> = self.messages.iter().filter(|(_, sender)| is_over(sender)).map(|(id, _)| *id).collect();
        waited.into_iter().filter_map(|id| Some((id, self.take_message(&id)?))).collect()
    }

    /// When [`Self::take_waited`] has somebody
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let stored = self.messages.values().filter(|sender| sender.is_stored);
        stored.map(|sender| sender.until).fold(None, |first, until| earliest(first, Some(until)))
    }

    pub(super) fn take_message(&mut self, id: &MessageId) -> Option<Sender> {
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
        self.messages.values_mut().for_each(|sender| sender.until = sender.until.min(now));
    }

    pub(super) fn for_fate(&mut self, id: MessageId, asker: Asker) {
        self.forget_gone();
        self.fates.insert(id, asker);
    }

    pub(super) fn for_call(&mut self, id: MessageId, caller: Caller) {
        self.calls.insert(id, caller);
    }

    /// Calls whose askers have hung up, who are forgotten
    pub(super) fn take_gone_calls(&mut self) -> Vec<MessageId> {
        let gone = self.calls.iter().filter(|(_, caller)| caller.reply.is_gone());
        let gone: Vec<MessageId> = gone.map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| _ = self.calls.remove(id));
        gone
    }

    pub(super) fn for_pings(&mut self, id: MessageId, pinger: Pinger) {
        self.pings.insert(id, pinger);
    }

    /// Series of pings whose askers have hung up, who are forgotten
    pub(super) fn take_gone_pings(&mut self) -> Vec<MessageId> {
        let gone: Vec<MessageId> =
            self.pings.iter().filter(|(_, pinger)| pinger.is_gone()).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| _ = self.pings.remove(id));
        gone
    }

    pub(super) fn pinger(&self, id: &MessageId) -> Option<&Pinger> {
        self.pings.get(id)
    }

    pub(super) fn take_pings(&mut self, id: &MessageId) -> Option<Pinger> {
        self.pings.remove(id)
    }

    pub(super) fn for_look_up(&mut self, name: Name, reply: Reply) {
        self.forget_gone();
        self.look_ups.push((name, reply));
    }

    pub(super) fn for_list(&mut self, query: u64, reply: Reply) {
        self.forget_gone();
        self.lists.insert(query, reply);
    }

    pub(super) fn for_logout(&mut self, reply: Reply) {
        self.forget_gone();
        self.logouts.push(reply);
    }

    fn forget_gone(&mut self) {
        self.messages.retain(|_, sender| !sender.reply.is_gone());
        self.fates.retain(|_, asker| !asker.reply.is_gone());
        self.look_ups.retain(|(_, reply)| !reply.is_gone());
        self.lists.retain(|_, reply| !reply.is_gone());
        self.logouts.retain(|reply| !reply.is_gone());
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
