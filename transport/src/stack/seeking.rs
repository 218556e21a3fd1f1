//! Where the other ends of connections are by now, where what goes there comes back.
//!
//! Whoever calls, sends or pings asks for the name anew when something comes back. Whoever only answers has nobody who would:
//! where both ends have moved neither could show the other its new grant, and what one hears the other would never learn.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::{Key, Name};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::Instant;

use super::Stack;
use super::doubts::RECHECK_MIN;
use super::wishes::{Wish, moved};

/// For so long an answer is one to what came back: the directory answers within two seconds, or is asked anew
const SOUGHT_FOR: Duration = Duration::from_secs(5);

/// Those that were sought last, as many as there are connections
#[derive(Debug, Default)]
pub(super) struct Seeking {
    sought: BTreeMap<Key, (Name, Instant)>,
}

impl Seeking {
    /// What goes to the holder of this key comes back; whether to ask for the name
    fn begin(&mut self, now: Instant, key: Key, name: &Name) -> bool {
        let is_due = self.sought.get(&key).is_none_or(|(of, at)| of != name || now - *at >= RECHECK_MIN);
        if is_due {
            self.sought.insert(key, (name.clone(), now));
        }
        is_due
    }

    /// Whether the holder of this key is sought by this name
    fn contains(&self, key: &Key, name: &Name) -> bool {
        self.sought.get(key).is_some_and(|(of, _)| of == name)
    }

    /// Those that are sought by this name now: what came back long ago says nothing of today
    fn sought_by(&self, now: Instant, name: &Name) -> Vec<Key> {
        let is_so = |(of, at): &(Name, Instant)| of == name && now - *at < SOUGHT_FOR;
        self.sought.iter().filter(|(_, sought)| is_so(sought)).map(|(key, _)| *key).collect()
    }

    /// There is no connection any more
    pub(super) fn forget(&mut self, key: &Key) {
        self.sought.remove(key);
    }
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// What a connection has sent to the holder of this key comes back
    pub(super) fn seek(&mut self, now: Instant, key: Key) {
        let Some(grant) = self.transport.as_ref().and_then(|transport| transport.grant_of(&key)) else { return };
        if self.seeking.begin(now, key, &grant.name) {
            let name = grant.name.clone();
            self.peer.resolve(now, name, true);
        }
    }

    /// What is known of a name by now: packets go where the directory says, and where nobody is, no pipe is kept open
    pub(super) fn handle_found(&mut self, now: Instant, name: &Name, answer: Result<&Answer, Status>) {
        if let Err(Status::NotFound | Status::Gone) = answer {
            for key in self.seeking.sought_by(now, name) {
                self.on_wish(now, Wish::Close { key });
            }
        }
        let Some(Wish::Moved { key, address }) = answer.ok().and_then(moved) else { return };
        if self.seeking.contains(&key, name) {
            self.on_wish(now, Wish::Moved { key, address });
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::testing::{at_ms, peer_name};

    use super::*;

    #[test]
    fn name_is_asked_for_once_however_many_packets_come_back() {
        let (mut seeking, key) = (Seeking::default(), Key([7; 32]));
        let asked: Vec<u64> = (0..2_000).filter(|ms| seeking.begin(at_ms(*ms), key, &peer_name(7))).collect();
        assert_eq!(asked, [0, 750, 1_500]);
        let by = |seeking: &Seeking, ms: u64, n: u8| seeking.sought_by(at_ms(ms), &peer_name(n));
        assert_eq!((by(&seeking, 2_000, 7), by(&seeking, 2_000, 8)), (vec![key], vec![]));
        assert_eq!(by(&seeking, 7_000, 7), vec![]);
        assert!(seeking.contains(&key, &peer_name(7)) && !seeking.contains(&key, &peer_name(8)));
        assert!(seeking.begin(at_ms(1_999), key, &peer_name(8)), "it is called otherwise now");
        seeking.forget(&key);
        assert!(!seeking.contains(&key, &peer_name(8)));
    }
}
