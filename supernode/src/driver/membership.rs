//! This supernode's own place among the others: it asks to be let in, and says where it can be dialled when that changes.

use std::time::Duration;

use kith_common::id::SupernodeId;
use kith_common::session::listening;
use kith_common::time::Instant;
use kith_common::wire::agreement::{Change, Configured};
use kith_common::wire::session::{Location, Locations};
use kith_runtime::host::ListenAddresses;
use tokio::sync::oneshot;

/// After this long a change that failed is wanted again
const RETRY: Duration = Duration::from_secs(5);

/// So long the addresses of this machine must be as they are before they are told: at a start they come one by one
const SETTLED: Duration = Duration::from_secs(1);

/// What comes of a change
pub(super) type Changed = oneshot::Receiver<Result<(), String>>;

pub(super) struct Membership {
    me: SupernodeId,
    /// Where others dial it, if somebody has said so
    external: Vec<Location>,
    /// Where the others think it is; `None`: it is none of them
    configured: Option<Locations>,
    /// Whether it has been one of them: whoever is so no more was taken out, and does not ask to be let in again
    was_in: bool,
    changing: Option<Changed>,
    not_before: Instant,
}

impl Membership {
    pub(super) fn new(now: Instant, me: SupernodeId, external: Vec<Location>) -> Self {
        Self { me, external, configured: None, was_in: false, changing: None, not_before: now + SETTLED }
    }

    /// The log says who the supernodes are
    pub(super) fn handle_configured(&mut self, supernodes: &[(SupernodeId, Locations, bool)]) {
        let own = supernodes.iter().find(|(id, _, _)| *id == self.me);
        self.configured = own.map(|(_, locations, _)| locations.clone());
        if self.was_in && self.configured.is_none() {
            tracing::warn!(event = "taken_out", reason = "the supernodes have this one among them no more");
        }
        self.was_in = self.configured.is_some() || self.was_in && !supernodes.is_empty();
    }

    /// An address of this machine has come or gone
    pub(super) fn handle_moved(&mut self, now: Instant) {
        self.not_before = self.not_before.max(now + SETTLED);
    }

    /// What is to be changed now, if anything is, and whom to ask: `None` is this supernode's own log
    ///
    /// `linked` is another supernode, and `leads` whether anybody does as far as this log knows.
    pub(super) fn wish(
        &self,
        now: Instant,
        listen: &ListenAddresses,
        linked: Option<SupernodeId>,
        leads: bool,
    ) -> Option<(Change, Option<SupernodeId>)> {
        let locations = locations(&self.external, listen);
        if self.changing.is_some() || now < self.not_before || locations.is_empty() {
            return None;
        }
        let via = match &self.configured {
            Some(known) if *known == locations || !leads => return None,
            Some(_) => None,
            None if self.was_in => return None,
            None => Some(linked?),
        };
        Some((Change::Add(Configured { id: self.me, locations }), via))
    }

    pub(super) fn begin(&mut self, changing: Changed) {
        self.changing = Some(changing);
    }

    /// What came of the change that is under way; never, if there is none
    pub(super) async fn changed(&mut self) -> Result<(), String> {
        match &mut self.changing {
            Some(changing) => changing.await.unwrap_or_else(|_| Err("the log has ended".into())),
            None => std::future::pending().await,
        }
    }

    pub(super) fn handle_changed(&mut self, now: Instant, changed: Result<(), String>) {
        self.changing = None;
        self.not_before = now + if changed.is_ok() { SETTLED } else { RETRY };
        let is_in = self.configured.is_some();
        match changed {
            Ok(()) if is_in => {
                tracing::info!(event = "locations_told", reason = "the supernodes know where this one is")
            }
            Ok(()) => tracing::info!(event = "let_in", reason = "the supernodes have taken this one in"),
            Err(reason) if is_in => tracing::warn!(event = "locations_not_told", %reason, again = ?RETRY),
            Err(reason) => tracing::warn!(event = "not_let_in", %reason, again = ?RETRY),
        }
    }

    /// When to look for a wish again, as long as there may be one
    pub(super) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        (self.changing.is_none() && now < self.not_before).then_some(self.not_before)
    }
}

/// Where others dial a supernode: where somebody has said so, or else where it listens
pub(crate) fn locations(external: &[Location], listen: &ListenAddresses) -> Locations {
    if external.is_empty() {
        return Locations::truncated(listening(listen.addresses()).iter().cloned());
    }
    Locations::truncated(external.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: SupernodeId = SupernodeId(2);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn listen() -> ListenAddresses {
        let mut listen = ListenAddresses::default();
        listen.add("/ip4/127.0.0.1/tcp/7400".parse().unwrap());
        listen
    }

    #[test]
    fn newcomer_asks_whom_it_has_a_link_to_and_then_its_own_log_when_it_moves() {
        let mut membership = Membership::new(at(0), ME, Vec::new());
        let (near, listen) = (Some(SupernodeId(1)), listen());
        assert_eq!(membership.wish(at(0), &listen, near, true), None, "addresses come one by one");
        assert_eq!(membership.wish(at(2), &listen, None, true), None, "nobody can be asked");
        let (change, via) = membership.wish(at(2), &listen, near, false).unwrap();
        let Change::Add(Configured { id, locations }) = change else { panic!("it wants to be let in") };
        assert_eq!((id, via, locations.len()), (ME, near, 1));
        membership.handle_configured(&[(ME, locations, false)]);
        assert_eq!(membership.wish(at(3), &listen, near, true), None);
        let moved = Membership { external: vec![Location::truncated("/dns/hub/tcp/7400")], ..membership };
        assert_eq!(moved.wish(at(4), &listen, near, false), None, "nobody leads");
        assert!(matches!(moved.wish(at(4), &listen, near, true), Some((Change::Add(_), None))));
    }

    #[test]
    fn whoever_was_taken_out_does_not_ask_to_be_let_in_again() {
        let mut membership = Membership::new(at(0), ME, Vec::new());
        let (near, listen, there) = (Some(SupernodeId(1)), listen(), Locations::truncated([]));
        membership.handle_configured(&[(SupernodeId(1), there.clone(), true)]);
        assert!(membership.wish(at(2), &listen, near, true).is_some(), "a newcomer hears of the others first");
        membership.handle_configured(&[(SupernodeId(1), there.clone(), true), (ME, there.clone(), true)]);
        membership.handle_configured(&[(SupernodeId(1), there, true)]);
        assert_eq!(membership.wish(at(9), &listen, near, true), None);
    }

    #[test]
    fn failed_change_is_wanted_again_after_a_while() {
        let mut membership = Membership::new(at(0), ME, Vec::new());
        membership.handle_changed(at(2), Err("nobody leads".into()));
        assert_eq!(membership.wish(at(6), &listen(), Some(SupernodeId(1)), false), None);
        assert!(membership.wish(at(7), &listen(), Some(SupernodeId(1)), false).is_some());
    }
}
