//! By which first hops replies left, so that a reply that was lost goes another way the next time.
//!
//! A reply that is lost on its way is made good by the sender, who sends again. One that finds no way out is known here:
//! it is handed to the supernode.

use std::collections::{BTreeMap, VecDeque};

use super::Origin;
use crate::id::{Address, MessageId};
use crate::wire::content::PathHop;
use crate::wire::grant::Grant;

/// Pings whose replies are remembered: those of ten seconds, at a hundred a second
const PINGS_MAX: usize = 1_024;
/// First hops remembered of one ping: a sender sends again four times
const HOPS_MAX: usize = 8;
/// Replies on their way to a first hop: each is answered within a moment, so they are what one batch of inputs made. At
/// the bound the oldest is forgotten: it is not handed to the supernode if it finds no way
const PENDING_MAX: usize = 1_024;

/// A verified ping that is to be answered, and how it came
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) from: Grant,
    pub(super) id: MessageId,
    /// The way that it took, with the names that are known here
    pub(super) path: Vec<PathHop>,
    pub(super) origin: Origin,
}

/// The first hops of the last [`PINGS_MAX`] pings' replies; at the bound the oldest ping is forgotten
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Packets on their way to a first hop, and the pings that they answer
    pending: VecDeque<(u64, MessageId)>,
    first_hops: BTreeMap<MessageId, Vec<Address>>,
    order: VecDeque<MessageId>,
}

impl Replies {
    /// The neighbours that replies to this ping were handed to: it came again, so they did not pass them on in time
    pub(super) fn tried(&self, ping: &MessageId) -> Vec<Address> {
        self.first_hops.get(ping).cloned().unwrap_or_default()
    }

    /// A reply to this ping is to be handed to a neighbour in this packet
    pub(super) fn begin(&mut self, packet: u64, ping: MessageId) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((packet, ping));
    }

    /// The packet of a reply was handed to `first_hop`
    pub(super) fn handle_sent(&mut self, packet: u64, first_hop: Address) {
        if let Some(ping) = self.take(packet) {
            self.note(ping, first_hop);
        }
    }

    /// Whether this packet, which nobody could be handed, is a reply's
    pub(super) fn handle_unsent(&mut self, packet: u64) -> bool {
        self.take(packet).is_some()
    }

    /// Answers come in the order of the packets, so the first one is nearly always meant
    fn take(&mut self, packet: u64) -> Option<MessageId> {
        let at = self.pending.iter().position(|(pending, _)| *pending == packet)?;
        self.pending.remove(at).map(|(_, ping)| ping)
    }

    fn note(&mut self, ping: MessageId, first_hop: Address) {
        let hops = self.first_hops.entry(ping).or_insert_with(|| {
            self.order.push_back(ping);
            Vec::new()
        });
        if !hops.contains(&first_hop) && hops.len() < HOPS_MAX {
            hops.push(first_hop);
        }
        if self.order.len() > PINGS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.first_hops.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> MessageId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        MessageId(bytes)
    }

    #[test]
    fn first_hops_of_a_message_are_told_once_each() {
        let mut replies = Replies::default();
        assert_eq!(replies.tried(&id(1)), []);
        for hop in [7, 8, 7] {
            replies.note(id(1), Address(hop));
        }
        assert_eq!(replies.tried(&id(1)), [Address(7), Address(8)]);
        assert_eq!(replies.tried(&id(2)), []);
    }

    #[test]
    fn oldest_message_is_forgotten_at_the_bound() {
        let mut replies = Replies::default();
        for n in 0..=PINGS_MAX as u64 {
            replies.note(id(n), Address(1));
        }
        assert_eq!((replies.order.len(), replies.first_hops.len()), (PINGS_MAX, PINGS_MAX));
        assert_eq!(replies.tried(&id(0)), []);
        assert_eq!(replies.tried(&id(1)), [Address(1)]);
    }

    #[test]
    fn packet_of_a_reply_is_answered_once() {
        let mut replies = Replies::default();
        replies.begin(10, id(1));
        replies.begin(11, id(2));
        replies.handle_sent(11, Address(7));
        replies.handle_sent(11, Address(8));
        assert_eq!((replies.tried(&id(1)), replies.tried(&id(2))), (vec![], vec![Address(7)]));
        assert!(replies.handle_unsent(10) && !replies.handle_unsent(10) && !replies.handle_unsent(11));
    }

    #[test]
    fn oldest_packet_is_forgotten_at_the_bound() {
        let mut replies = Replies::default();
        for n in 0..=PENDING_MAX as u64 {
            replies.begin(n, id(n));
        }
        assert_eq!(replies.pending.len(), PENDING_MAX);
        assert!(!replies.handle_unsent(0) && replies.handle_unsent(1));
    }
}
