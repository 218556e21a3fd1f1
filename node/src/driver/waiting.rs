//! Askers at the control socket, and what each waits for.

use std::collections::BTreeMap;

use kith_common::id::{MessageId, Name};
use kith_runtime::control::server::Reply;

/// What a message was sent for
#[derive(Debug)]
pub(super) enum Asked {
    Send,
    Ping,
    Trace,
}

/// Somebody who waits for a fate
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) reply: Reply,
    pub(super) asked: Asked,
}

/// Somebody who waits for a result
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) reply: Reply,
    pub(super) function: String,
}

/// All askers
///
/// Those who have hung up are forgotten whenever another one comes, so there are never more than control connections and
/// requests under way.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    fates: BTreeMap<MessageId, Asker>,
    calls: BTreeMap<MessageId, Caller>,
    look_ups: Vec<(Name, Reply)>,
    /// By the number of the question
    lists: BTreeMap<u64, Reply>,
    logouts: Vec<Reply>,
}

impl Waiting {
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
