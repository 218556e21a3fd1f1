//! By which first hops replies left, so that a reply that was lost goes another way the next time.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{Address, MessageId};

/// Messages whose replies are remembered: those of a sender's ten seconds, at a hundred a second
const MESSAGES_MAX: usize = 1_024;
/// First hops remembered of one message: a sender sends again four times
const HOPS_MAX: usize = 8;

/// The first hops of the last [`MESSAGES_MAX`] messages' replies; at the bound the oldest message is forgotten
#[derive(Debug, Default)]
pub(super) struct Replies {
    first_hops: BTreeMap<MessageId, Vec<Address>>,
    order: VecDeque<MessageId>,
}

impl Replies {
    /// The neighbours that replies to this message were handed to: it came again, so they did not pass them on in time
    pub(super) fn tried(&self, message: &MessageId) -> Vec<Address> {
        self.first_hops.get(message).cloned().unwrap_or_default()
    }

    /// A reply to this message was handed to `first_hop`
    pub(super) fn handle_sent(&mut self, message: MessageId, first_hop: Address) {
        let hops = self.first_hops.entry(message).or_insert_with(|| {
            self.order.push_back(message);
            Vec::new()
        });
        if !hops.contains(&first_hop) && hops.len() < HOPS_MAX {
            hops.push(first_hop);
        }
        if self.order.len() > MESSAGES_MAX
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
            replies.handle_sent(id(1), Address(hop));
        }
        assert_eq!(replies.tried(&id(1)), [Address(7), Address(8)]);
        assert_eq!(replies.tried(&id(2)), []);
    }

    #[test]
    fn oldest_message_is_forgotten_at_the_bound() {
        let mut replies = Replies::default();
        for n in 0..=MESSAGES_MAX as u64 {
            replies.handle_sent(id(n), Address(1));
        }
        assert_eq!((replies.order.len(), replies.first_hops.len()), (MESSAGES_MAX, MESSAGES_MAX));
        assert_eq!(replies.tried(&id(0)), []);
        assert_eq!(replies.tried(&id(1)), [Address(1)]);
    }
}
