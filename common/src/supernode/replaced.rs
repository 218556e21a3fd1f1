//! What follows when this supernode was so far behind that the log has given it the whole directory.

use rand_chacha::rand_core::Rng;

use super::Supernode;
use crate::crypto::Signer;
use crate::directory::Directory;
use crate::id::{Address, SessionId};
use crate::status::Status;
use crate::time::Instant;

impl<S: Signer> Supernode<S> {
    /// The directory is another one: whose session has ended or moved meanwhile is told, and whose table has changed; the
    /// judgement of those at home here goes on
    pub(super) fn replace_directory(&mut self, now: Instant, directory: Directory) {
        let is_older = directory.epoch().incarnation == self.directory.epoch().incarnation
            && directory.applied() < self.directory.applied();
        if is_older {
            let (applied, of) = (self.directory.applied(), directory.applied());
            let reason = "it is older than what is known here";
            return tracing::error!(event = "directory_not_replaced", applied, of, reason);
        }
        let before = std::mem::replace(&mut self.directory, directory);
        let (from, to) = (before.applied(), self.directory.applied());
        tracing::warn!(event = "directory_replaced", from, to, reason = "this supernode was too far behind");
        self.end_what_is_over(now, &before);
        self.rewires.touch(now, self.changed_since(&before).collect());
        if self.directory.removed().mark() != before.removed().mark() {
            self.removals.begin(now, before.removed().mark());
        }
        let (id, rng) = (self.credentials.id, &mut self.rng);
        let chance = || (rng.next_u32() >> 24) as u8;
        for session in self.judgement.take_over(now, id, &self.directory, chance) {
            self.judgement.handle_heard(now, session);
            if self.links.home_of(session).is_none() {
                self.judgement.handle_home_lost(now, session);
            }
        }
        for session in self.directory.at_home(id, None).collect::<Vec<_>>() {
            self.consequences().reconcile_session(session);
        }
    }

    /// Tells those whose sessions are over, and asks those of whom it is said that they are at home elsewhere
    fn end_what_is_over(&mut self, now: Instant, before: &Directory) {
        let homes: Vec<SessionId> = self.links.homes_after(None).map(|(session, _)| session).collect();
        for session in homes {
            let home = |directory: &Directory| directory.session(session).map(|session| session.home);
            match home(&self.directory) {
                None => self.consequences().forget_session(session, Status::NotLoggedIn, "the session has ended"),
                Some(at) if at != self.credentials.id && home(before) != Some(at) => {
                    self.consequences().leave(now, session);
                }
                Some(_) => {}
            }
        }
    }

    /// Whose tables are others than they were, of those that have a home link here
    fn changed_since<'a>(&'a self, before: &'a Directory) -> impl Iterator<Item = Address> + 'a {
        let sessions = self.links.homes_after(None).filter_map(|(session, _)| self.directory.session(session));
        let rewired = |session: SessionId| before.session(session).map(|session| session.rewired);
        sessions.filter(move |session| rewired(session.id) != Some(session.rewired)).map(|session| session.address)
    }
}
