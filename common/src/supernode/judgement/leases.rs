//! How long sessions last, by this supernode's clock.

use std::time::Duration;

use super::RETRY;
use crate::id::SessionId;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, Timers};

/// Whether a stop `by` so much is more than a tenth of a `lease`: then it may have cost peers their home links
pub(super) fn is_long(lease: Duration, by: Duration) -> bool {
    by > lease / 10
}

/// The deadlines of sessions, volatile and monotonic: a supernode that starts gives every session in the directory a
/// whole term, since it cannot know how long it was away
///
/// It holds what the directory holds, and no more: the directory's bounds are its own.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    term: Duration,
    deadlines: Timers<SessionId>,
}

impl Leases {
    /// One term from `now` for each of `present`
    pub(crate) fn new(now: Instant, term: Duration, present: impl IntoIterator<Item = SessionId>) -> Self {
        let mut leases = Self { term, deadlines: Timers::default() };
        let present = present.into_iter().filter(|_| !mutant::is(Mutant::RestoredWithoutLease));
        present.for_each(|session| leases.renew(now, session));
        leases
    }

    pub(crate) const fn term(&self) -> Duration {
        self.term
    }

    /// Begins the term anew, or for the first time
    pub(crate) fn renew(&mut self, now: Instant, session: SessionId) {
        let term = if mutant::is(Mutant::LeaseTooShort) { self.term * 2 / 3 } else { self.term };
        self.deadlines.set(now + term, session);
    }

    /// Forgets what the directory has ended
    pub(crate) fn end(&mut self, session: SessionId) {
        self.deadlines.stop(&session);
    }

    /// This process stood still for `by`, and renewals wait unread
    ///
    /// After a short stop everybody has what it had left. After a long one the peers may have lost their home links, and
    /// need time to find back: each has a whole term, as after a start.
    pub(crate) fn handle_held_up(&mut self, now: Instant, by: Duration) {
        if !is_long(self.term, by) {
            return self.deadlines.delay(by);
        }
        for session in self.deadlines.items().copied().collect::<Vec<_>>() {
            self.renew(now, session);
        }
    }

    /// What has ended, in the order of deadlines; each is named again every second until [`Leases::end`] or a renewal
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<SessionId> {
        let ended: Vec<SessionId> = std::iter::from_fn(|| self.deadlines.take_due(now)).collect();
        ended.iter().for_each(|session| self.deadlines.set(now + RETRY, *session));
        ended
    }

    /// Those that have one
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.deadlines.items().copied()
    }

    /// When to call [`Leases::expire`]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::LEASE_DEFAULT;

    const A: SessionId = SessionId([1; 16]);
    const B: SessionId = SessionId([2; 16]);

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn session_found_at_the_start_has_one_whole_lease() {
        let mut leases = Leases::new(at(5), LEASE_DEFAULT, [A, B]);
        assert_eq!(leases.next_timeout(), Some(at(35)));
        assert_eq!(leases.expire(Instant::from_micros(34_999_999)), []);
        assert_eq!(leases.expire(at(35)), [A, B]);
    }

    #[test]
    fn renewal_begins_the_lease_anew() {
        let mut leases = Leases::new(at(0), LEASE_DEFAULT, [A, B]);
        leases.renew(at(10), A);
        assert_eq!(leases.expire(at(30)), [B]);
        leases.end(B);
        assert_eq!(leases.expire(at(40)), [A]);
    }

    #[test]
    fn ended_lease_is_named_again_until_the_directory_has_ended_it() {
        let mut leases = Leases::new(at(0), LEASE_DEFAULT, [A]);
        assert_eq!(leases.expire(at(30)), [A]);
        assert_eq!(leases.expire(at(30)), []);
        assert_eq!(leases.next_timeout(), Some(at(31)));
        assert_eq!(leases.expire(at(31)), [A]);
        leases.end(A);
        assert_eq!((leases.expire(at(99)), leases.next_timeout()), (vec![], None));
    }

    #[test]
    fn stop_of_the_supernode_costs_nobody_a_lease_and_a_long_one_gives_whole_leases() {
        let mut leases = Leases::new(at(0), LEASE_DEFAULT, [A]);
        leases.handle_held_up(at(31), Duration::from_secs(3));
        assert_eq!((leases.expire(at(31)), leases.next_timeout()), (vec![], Some(at(33))));
        leases.handle_held_up(at(70), Duration::from_millis(3_001));
        assert_eq!((leases.expire(at(70)), leases.next_timeout()), (vec![], Some(at(100))));
    }

    #[test]
    fn late_renewal_before_the_expiry_was_applied_counts() {
        let mut leases = Leases::new(at(0), LEASE_DEFAULT, [A]);
        assert_eq!(leases.expire(at(30)), [A]);
        leases.renew(at(30), A);
        assert_eq!(leases.next_timeout(), Some(at(60)));
    }
}
