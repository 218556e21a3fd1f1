//! The search for a supernode: whom to dial, when, and what every setback leads to.
//!
//! A peer keeps the home that it has for as long as that answers: nobody moves to one that is a little nearer or emptier,
//! so that peers do not run to and fro between supernodes whose load follows them.

use std::time::Duration;

use super::Membership;
use super::output::MembershipOutput;
use super::row::Place;
use super::state::{Again, Setback, State};
use crate::id::SupernodeId;
use crate::link::limits::DIAL_MAX;
use crate::mutant::{self, Mutant};
use crate::session::retry::FLAPPING;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::FrameKind;
use crate::wire::session::Reason;

/// Round trips from the beginning of a dial to both hellos: TCP, TLS and the hellos take one each
const DIAL_ROUND_TRIPS: u32 = 3;

/// Whom a dial is for
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    /// Proved, or from the list
    pub(super) id: Option<SupernodeId>,
    /// The first of those that it was dialled at
    pub(super) location: String,
    /// Why this one was chosen
    pub(super) reason: Reason,
    began: Instant,
}

impl Target {
    /// A round trip of the dial that has made a link by now
    pub(super) fn dial_round_trip(&self, now: Instant) -> Duration {
        (now - self.began) / DIAL_ROUND_TRIPS
    }
}

impl Membership {
    pub(super) fn begin(&mut self, now: Instant) {
        self.backoff.restart(now);
        self.row.begin(&mut self.backoff);
        self.tries = 0;
        let (reason, next_try) = match self.row.len() {
            0 => ("no supernode is configured", None),
            _ => ("looking for a supernode", Some(now)),
        };
        self.setback = Setback::new(Status::Unavailable, reason);
        self.state = State::Searching { next_try };
    }

    pub(super) fn dial_next(&mut self, now: Instant) {
        let Some(place) = self.row.next(now) else {
            self.state = State::Searching { next_try: None };
            return;
        };
        let reason = self.why(place);
        self.row.on_tried(place);
        self.tries += 1;
        self.target = Some(self.dial_at(now, place, reason));
        self.dial = self.dials;
        self.state = State::Dialling { until: now + DIAL_MAX };
    }

    /// Dials this one, for `reason`; the dial has the number [`Self::dials`]
    pub(super) fn dial_at(&mut self, now: Instant, place: Place, reason: Reason) -> Target {
        let locations = self.row.locations(place);
        let location = locations.first().cloned().unwrap_or_default();
        self.dials += 1;
        self.outputs.push_back(MembershipOutput::Dial { dial: self.dials, locations });
        Target { place, id: self.row.id(place), location, reason, began: now }
    }

    /// Why this one is the next, for people
    fn why(&self, place: Place) -> Reason {
        let (known, tried) = (self.row.len(), self.row.tried());
        let load = self.row.load(place).map(|load| format!(", load {} %", load / 10)).unwrap_or_default();
        Reason::truncated(&match (known, tried, self.row.rtt(place)) {
            (1, ..) => "no other is known".to_owned(),
            (_, 0, Some(rtt)) => format!("near and with room, of {known}: round trip {} ms{load}", rtt.as_millis()),
            (_, 0, None) => format!("drawn from {known}, not measured yet{load}"),
            _ => format!("next of {known} after {tried} that could not be had"),
        })
    }

    /// The dial has made a link
    pub(super) fn on_dial_opened(&mut self, now: Instant) {
        if let Some(target) = &self.target {
            self.row.on_measured(target.place, target.dial_round_trip(now));
        }
    }

    /// Whoever answered has proved its serial
    pub(super) fn identify(&mut self, id: SupernodeId) {
        if let Some(target) = &mut self.target {
            target.place = self.row.identify(target.place, id);
            target.id = Some(id);
        }
    }

    /// A login was granted there
    pub(super) fn on_home_chosen(&mut self) {
        let Some(target) = &self.target else { return };
        self.row.on_granted(target.place);
        let (id, supernode, reason) = (target.id.map(|id| id.0), target.location.clone(), &target.reason);
        let (rtt_us, known) = (self.row.rtt(target.place).map(|rtt| rtt.as_micros() as u64), self.row.len());
        let load = self.row.load(target.place);
        tracing::info!(event = "home_chosen", id, supernode, rtt_us, load, known, tries = self.tries, %reason);
        if let Some(before) = self.home_before.take().filter(|before| *before != supernode) {
            tracing::info!(event = "home_changed", from = before, to = supernode, reason = %self.setback.reason);
        }
    }

    pub(super) fn give_up(&mut self, now: Instant, what: &str) {
        self.close(Status::TimedOut, what);
        let reason = format!("{} {what}", self.supernode());
        self.search(now, Setback::new(Status::Unavailable, reason), Again::Patiently);
    }

    /// A frame came in a wrong state: its sender is confused or means harm, so the link ends
    pub(super) fn violate(&mut self, now: Instant, kind: FrameKind) {
        self.violations += 1;
        let setback = Setback::new(Status::Malformed, format!("unexpected {kind:?} while {}", self.state.text()));
        match self.state {
            State::LoggedIn(_) => self.lose(now, setback, Again::Soon),
            _ => self.refuse(now, setback, Again::Soon),
        }
    }

    /// Ends a link that is logged in
    pub(super) fn lose(&mut self, now: Instant, setback: Setback, again: Again) {
        self.close(setback.status, &setback.reason);
        self.lose_link(now, setback, again);
    }

    /// The link with home is gone
    pub(super) fn lose_link(&mut self, now: Instant, setback: Setback, again: Again) {
        self.home_before = Some(self.supernode());
        self.outputs.push_back(MembershipOutput::Lost { reason: setback.reason.clone() });
        self.row.begin(&mut self.backoff);
        let home = self.target.as_ref().map(|home| home.place);
        if self.adopt_scout() {
            home.into_iter().for_each(|home| self.row.on_failed(now, home));
            self.setback = setback;
            return;
        }
        self.end_scouting(Status::Gone, "home is lost");
        self.search(now, setback, again);
    }

    /// Ends a link that is not logged in
    pub(super) fn refuse(&mut self, now: Instant, setback: Setback, again: Again) {
        self.close(setback.status, &setback.reason);
        if let State::LoggingOut { .. } = self.state {
            let reason = format!("logged out; the supernode's last word: {}", &*setback.reason);
            return self.finish_logout(now, &reason);
        }
        let (status, reason) = (setback.status, setback.reason.clone());
        let retry = self.search(now, setback, again);
        self.outputs.push_back(MembershipOutput::Refused { status, reason, retry });
    }

    pub(super) fn search(&mut self, now: Instant, setback: Setback, again: Again) -> Duration {
        let wait = self.wait(now, again);
        tracing::info!(
            status = setback.status.code(), reason = %setback.reason, wait_ms = wait.as_millis() as u64,
            tries = self.tries, "no session, trying again"
        );
        self.setback = setback;
        self.state = State::Searching { next_try: (!mutant::is(Mutant::SearchEnds)).then_some(now + wait) };
        wait
    }

    /// Notes what the last supernode is good for, and says how long to wait until the next one is dialled
    fn wait(&mut self, now: Instant, again: Again) -> Duration {
        let place = self.target.as_ref().map(|target| target.place);
        if let Some(place) = place.filter(|_| again.is_failure()) {
            self.row.on_tried(place);
            self.row.on_failed(now, place);
        }
        let asked = match (again, place) {
            (Again::After(wish), Some(place)) => {
                let asked = self.backoff.after(wish);
                self.row.on_busy(place, now + asked);
                Some(asked)
            }
            _ => None,
        };
        match again {
            Again::Quickly | Again::Anew => {
                let is_fresh = again == Again::Quickly && self.row.has_fresh(now, FLAPPING);
                return self.backoff.quick(now, is_fresh);
            }
            Again::Slowly => return self.backoff.slow(),
            Again::AllAfter(wish) => return self.backoff.after(wish),
            Again::Soon | Again::Patiently | Again::Elsewhere | Again::After(_) => {}
        }
        let is_retry = matches!(again, Again::Patiently | Again::After(_));
        if self.row.has_untried(now) {
            return match asked {
                _ if !is_retry || self.retries.spend() => self.backoff.step(),
                Some(asked) => asked,
                None => self.backoff.patient(),
            };
        }
        // A whole round has failed.
        self.row.end_round();
        match (asked, again) {
            (Some(asked), _) => {
                // Somebody else has asked for less, or for it longer ago, or for nothing.
                let free = self.row.all_busy_until(now).map(|until| until - now);
                let sooner = free.unwrap_or_else(|| self.backoff.next(now));
                if sooner < asked && self.retries.spend() { sooner } else { asked }
            }
            (None, Again::Patiently) => self.backoff.patient(),
            (None, Again::Elsewhere) => self.backoff.slow(),
            (None, _) => self.backoff.next(now),
        }
    }

    pub(super) fn finish_logout(&mut self, now: Instant, reason: &str) {
        let login_again = matches!(self.state, State::LoggingOut { login_again: true, .. });
        tracing::info!(reason, login_again, "logged out");
        (self.resume, self.home_before) = (None, None);
        self.setback = Setback::new(Status::NotLoggedIn, reason);
        self.outputs.push_back(MembershipOutput::LoggedOut { reason: self.setback.reason.clone() });
        self.state = State::LoggedOut;
        if login_again || mutant::is(Mutant::LogoutForgotten) {
            self.begin(now);
        }
    }

    pub(super) fn supernode(&self) -> String {
        self.target.as_ref().map(|target| target.location.clone()).unwrap_or_default()
    }
}
