//! Results of calls that were evaluated, for whoever asks once more.
//!
//! Whose call it is says the caller's key, which TLS has proved, together with the call's id: nobody hears another's result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_common::id::{Key, MessageId};
use kith_common::status::Status;
use kith_common::time::Instant;

use super::calls::CALL_TIME_MAX;

/// How long a result is remembered, from the end of its evaluation on: twice as long as a call may last. A caller whose
/// connection was lost asks again within the first half, however its clock runs; and whoever was told at the end that no
/// answer came has the other half to repeat the call
pub const REMEMBERED_FOR: Duration = CALL_TIME_MAX.saturating_mul(2);

/// Bytes of results that are remembered, 256 for each included: fifteen of the longest, or 65,536 empty ones. As a
/// connection that has fallen silent is over after a minute, that is enough for a thousand calls a second whose callers all
/// ask again then, and a peer is no larger by it than by its messages
pub const RESULT_BYTES_MAX: usize = 16 << 20;

/// What a result counts as beside its bytes: the id and hash of its call, and its places in the books
pub(super) const OVERHEAD_BYTES: usize = 256;

/// What a call says, as far as one under the same id is held against it
pub(super) type Digest = [u8; 32];

/// How a call has ended
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) digest: Digest,
    pub(super) status: Status,
    /// With 200 the result, else the reason
    pub(super) body: Vec<u8>,
}

impl Ended {
    fn cost(&self) -> usize {
        self.body.len() + OVERHEAD_BYTES
    }
}

#[derive(Debug)]
struct Remembered {
    ended: Ended,
    until: Instant,
    /// Later ones have larger ones
    number: u64,
}

/// The results for one caller
#[derive(Debug, Default)]
struct Share {
    results: BTreeMap<MessageId, Remembered>,
    /// In the order in which their calls ended
    order: BTreeMap<u64, MessageId>,
    bytes: usize,
}

/// Results up to [`RESULT_BYTES_MAX`]; beyond, the caller who has the most bytes of them loses its oldest
///
/// So of any number of callers each has its part, and whoever calls much, or for long results, shortens nobody's memory but its
/// own: what is forgotten is evaluated once more if it is asked again.
#[derive(Debug, Default)]
pub(super) struct Results {
    callers: BTreeMap<Key, Share>,
    /// Callers by how many bytes they have here
    most: BTreeSet<(usize, Key)>,
    /// Whose the results are, in the order in which their calls ended
    order: BTreeMap<u64, Key>,
    bytes: usize,
    last_number: u64,
}

impl Results {
    /// What is remembered of a call
    pub(super) fn get(&self, now: Instant, caller: &Key, id: &MessageId) -> Option<&Ended> {
        let remembered = self.callers.get(caller)?.results.get(id)?;
        (now < remembered.until).then_some(&remembered.ended)
    }

    /// Remembers how a call has ended, instead of what is remembered of it, and forgets what there is no room for
    pub(super) fn insert(&mut self, now: Instant, caller: Key, id: MessageId, ended: Ended) {
        self.remove(&caller, &id);
        self.last_number += 1;
        let (number, cost, until) = (self.last_number, ended.cost(), now + REMEMBERED_FOR);
        self.order.insert(number, caller);
        self.change(caller, |share| {
            share.results.insert(id, Remembered { ended, until, number });
            share.order.insert(number, id);
            share.bytes += cost;
        });
        self.bytes += cost;
        while self.bytes > RESULT_BYTES_MAX {
            let Some((_, most)) = self.most.last().copied() else { return };
            self.remove_oldest_of(&most);
        }
    }

    /// Forgets those whose time is over
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(caller) = self.order.first_key_value().map(|(_, caller)| *caller) {
            let oldest = self.callers.get(&caller).and_then(Share::oldest);
            if oldest.is_none_or(|(_, oldest)| now < oldest.until) {
                return;
            }
            self.remove_oldest_of(&caller);
        }
    }

    fn remove_oldest_of(&mut self, caller: &Key) {
        if let Some(id) = self.callers.get(caller).and_then(Share::oldest).map(|(id, _)| *id) {
            self.remove(caller, &id);
        }
    }

    fn remove(&mut self, caller: &Key, id: &MessageId) {
        let mut removed = None;
        self.change(*caller, |share| {
            removed = share.results.remove(id);
            if let Some(Remembered { ended, number, .. }) = &removed {
                share.order.remove(number);
                share.bytes -= ended.cost();
            }
        });
        if let Some(Remembered { ended, number, .. }) = removed {
            self.order.remove(&number);
            self.bytes -= ended.cost();
        }
    }

    /// Changes what one caller has here, and its place among all callers
    fn change(&mut self, caller: Key, change: impl FnOnce(&mut Share)) {
        let share = self.callers.entry(caller).or_default();
        self.most.remove(&(share.bytes, caller));
        change(share);
        if share.results.is_empty() {
            self.callers.remove(&caller);
        } else {
            self.most.insert((share.bytes, caller));
        }
    }

    /// How many are remembered
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.order.len(), self.callers.values().map(|share| share.results.len()).sum::<usize>());
        self.order.len()
    }

    /// What they are counted as
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Share {
    fn oldest(&self) -> Option<(&MessageId, &Remembered)> {
        let (_, id) = self.order.first_key_value()?;
        self.results.get_key_value(id)
    }
}
