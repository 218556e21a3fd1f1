//! Askers at the control socket, and what each waits for.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::id::{Address, MessageId, Name, ShortId};
use kith_common::messages::outbox::Fate;
use kith_common::time::Instant;
use kith_common::wire::content::{Choice, Hop};
use kith_common::wire::packet::ENTRIES_MAX;

use crate::control::server::Reply;

/// What a message was sent for
#[derive(Debug)]
pub(super) enum Asked {
    Send,
    Ping,
    Trace(Trace),
    Call { function: String },
}

/// What a traced message's packets met
#[derive(Debug, Default)]
pub(super) struct Trace {
    attempts: Vec<Attempt>,
}

/// One packet of a traced message
#[derive(Debug)]
pub(super) struct Attempt {
    packet: u64,
    sent: Instant,
    pub(super) first: Address,
    pub(super) choice: Choice,
    /// Reports by their index, each with its round trip in microseconds
    pub(super) hops: BTreeMap<u8, (Hop, u64)>,
}

impl Trace {
    /// The attempt that got farthest, the last of equals
    pub(super) fn best(&self) -> Option<&Attempt> {
        self.attempts.iter().max_by_key(|attempt| attempt.hops.len())
    }
}

/// Somebody who waits for a fate
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) reply: Reply,
    pub(super) asked: Asked,
}

/// A fate that is known but for the names of those on its path
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) asker: Asker,
    pub(super) fate: Fate,
    missing: BTreeSet<ShortId>,
}

/// All askers
///
/// Those who have hung up are forgotten whenever another one comes, so there are never more than control connections and
/// requests under way.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    fates: BTreeMap<MessageId, Asker>,
    unnamed: Vec<Unnamed>,
    look_ups: Vec<(Name, Reply)>,
    logouts: Vec<Reply>,
}

impl Waiting {
    pub(super) fn for_fate(&mut self, id: MessageId, asker: Asker) {
        self.forget_gone();
        self.fates.insert(id, asker);
    }

    pub(super) fn for_look_up(&mut self, name: Name, reply: Reply) {
        self.forget_gone();
        self.look_ups.push((name, reply));
    }

    pub(super) fn for_logout(&mut self, reply: Reply) {
        self.forget_gone();
        self.logouts.push(reply);
    }

    fn forget_gone(&mut self) {
        self.fates.retain(|_, asker| !asker.reply.is_gone());
        self.unnamed.retain(|unnamed| !unnamed.asker.reply.is_gone());
        self.look_ups.retain(|(_, reply)| !reply.is_gone());
        self.logouts.retain(|reply| !reply.is_gone());
    }

    pub(super) fn for_names(&mut self, asker: Asker, fate: Fate, missing: BTreeSet<ShortId>) {
        self.unnamed.push(Unnamed { asker, fate, missing });
    }

    pub(super) fn take_fate(&mut self, id: &MessageId) -> Option<Asker> {
        self.fates.remove(id)
    }

    pub(super) fn take_look_ups(&mut self, name: &Name) -> Vec<Reply> {
        self.look_ups.extract_if(.., |(asked, _)| asked == name).map(|(_, reply)| reply).collect()
    }

    pub(super) fn take_logouts(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.logouts)
    }

    /// `short` is found, or will not be; returns the fates that wait for nothing else
    pub(super) fn take_named(&mut self, short: ShortId, name: Option<&Name>) -> Vec<Unnamed> {
        for unnamed in &mut self.unnamed {
            if !unnamed.missing.remove(&short) {
                continue;
            }
            for hop in unnamed.fate.path.iter_mut().filter(|hop| hop.short == short) {
                hop.name = hop.name.take().or_else(|| name.cloned());
            }
        }
        self.unnamed.extract_if(.., |unnamed| unnamed.missing.is_empty()).collect()
    }

    /// Whether forwarders are to report on this message's packets
    pub(super) fn is_traced(&self, id: &MessageId) -> bool {
        self.fates.get(id).is_some_and(|asker| matches!(asker.asked, Asked::Trace(_)))
    }

    /// A packet of this message left; of interest if it is traced
    pub(super) fn handle_sent(&mut self, now: Instant, id: &MessageId, packet: u64, first: Address, choice: Choice) {
        if let Some(Asker { asked: Asked::Trace(trace), .. }) = self.fates.get_mut(id) {
            trace.attempts.push(Attempt { packet, sent: now, first, choice, hops: BTreeMap::new() });
        }
    }

    /// A forwarder's report on a packet of this message
    pub(super) fn handle_hop(&mut self, now: Instant, id: &MessageId, hop: Hop) {
        let Some(Asker { asked: Asked::Trace(trace), .. }) = self.fates.get_mut(id) else { return };
        let Some(attempt) = trace.attempts.iter_mut().find(|attempt| attempt.packet == hop.packet) else { return };
        if attempt.hops.len() < ENTRIES_MAX {
            let rtt_us = now.since(attempt.sent).as_micros() as u64;
            attempt.hops.entry(hop.index).or_insert((hop, rtt_us));
        }
    }
}
