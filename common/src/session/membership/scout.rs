//! Scouts: while the home is cut off from the other supernodes, the peer asks whether one of those hears somebody lead.
//!
//! A supernode that hears nobody cannot say whether the others are well. If they are, whoever leads them ends the sessions
//! of this one a lease later, though their peers are here. The peers can often reach what their home cannot: each has a
//! link with another supernode opened, and reads from its [`Challenge`] whether it is led. The home link stays meanwhile,
//! and is given up only for one that is led: while nobody is, everybody stays where it is.
//!
//! One scout is out at a time. With each renewal that says that the home is cut off all others are asked once, so that what
//! it costs them is a handshake for each of their neighbours' peers in a third of a lease.

use std::collections::BTreeSet;

use super::Membership;
use super::output::MembershipOutput;
use super::proof::{self, Greeting};
use super::row::Place;
use super::search::Target;
use super::state::{Again, Setback, State};
use crate::crypto::Signer;
use crate::id::Key;
use crate::link::limits::DIAL_MAX;
use crate::mutant::{self, Mutant};
use crate::session::CHALLENGE_WAIT;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::session::{Challenge, Hello, Purpose, Reason, Role};

/// Who is asked, and who was in this round
#[derive(Debug, Default)]
pub(super) struct Scouting {
    /// As many as the row has
    asked: BTreeSet<Place>,
    scout: Option<Scout>,
}

#[derive(Debug)]
struct Scout {
    dial: u64,
    target: Target,
    /// Once the hellos are exchanged
    greeting: Option<Greeting>,
    until: Instant,
}

impl Scouting {
    /// Whether this is a scout's dial
    pub(super) fn is_out(&self, dial: u64) -> bool {
        self.scout.as_ref().is_some_and(|scout| scout.dial == dial)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.scout.as_ref().map(|scout| scout.until)
    }

    /// Whoever has to answer has the whole time anew
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        if let Some(scout) = &mut self.scout {
            scout.until = now + if scout.greeting.is_some() { CHALLENGE_WAIT } else { DIAL_MAX };
        }
    }
}

impl Membership {
    /// The home is cut off: asks all others, one after the other, unless that is under way
    pub(super) fn begin_scouting(&mut self, now: Instant) {
        if self.scouting.scout.is_none() && !mutant::is(Mutant::NobodyScouts) {
            self.scouting.asked.clear();
            self.scout_next(now);
        }
    }

    /// Nobody need be asked any more
    pub(super) fn end_scouting(&mut self, reason: &str) {
        if let Some(scout) = self.scouting.scout.take() {
            let reason = Reason::truncated(reason);
            self.outputs.push_back(MembershipOutput::Close { dial: scout.dial, status: Status::Gone, reason });
        }
    }

    /// A scout's dial has made a link
    pub(super) fn handle_scout_opened(&mut self, now: Instant, key: Key, own_nonce: [u8; 32], hello: &Hello) {
        let Some(scout) = &mut self.scouting.scout else { return };
        self.row.on_measured(scout.target.place, scout.target.dial_round_trip(now));
        if hello.role != Role::Supernode || hello.purpose != Purpose::Home {
            return self.scout_on(now, "not a supernode");
        }
        let greeting =
            Greeting { supernode: key, network: hello.network, supernode_nonce: hello.nonce, peer_nonce: own_nonce };
        (scout.greeting, scout.until) = (Some(greeting), now + CHALLENGE_WAIT);
    }

    /// A scout's dial made no link, or its link is gone
    pub(super) fn handle_scout_failed(&mut self, now: Instant, reason: &str) {
        let Some(Scout { target, .. }) = self.scouting.scout.take() else { return };
        tracing::debug!(event = "scout_failed", supernode = target.location, reason);
        self.row.on_failed(now, target.place);
        self.scout_next(now);
    }

    /// A frame on a scout's link
    pub(super) fn handle_scouts_frame(&mut self, now: Instant, frame: Frame, signer: &impl Signer) {
        match frame {
            Frame::Challenge(challenge) if challenge.is_led || mutant::is(Mutant::ScoutsMoveAnyway) => {
                self.move_to_scout(now, &challenge, signer);
            }
            Frame::Challenge(_) => self.scout_on(now, "it hears nobody lead either"),
            Frame::Bye(bye) => self.scout_on(now, &bye.reason),
            Frame::Refused(refused) => self.scout_on(now, &refused.reason),
            Frame::Probe(_) | Frame::ProbeReply(_) => {}
            _ => self.scout_on(now, "it sends what nobody asked for"),
        }
    }

    /// Gives up a scout that is out for too long
    pub(super) fn handle_scout_timeout(&mut self, now: Instant) {
        if self.scouting.next_timeout().is_some_and(|until| until <= now) {
            self.scout_on(now, "it does not answer");
        }
    }

    /// This one is no better than home
    fn scout_on(&mut self, now: Instant, reason: &str) {
        self.end_scouting(reason);
        self.scout_next(now);
    }

    /// Asks the next one of the round; at its end nobody
    fn scout_next(&mut self, now: Instant) {
        let home = self.target.as_ref().map(|target| target.place);
        let may = |place| Some(place) != home && !self.scouting.asked.contains(&place);
        let Some(place) = self.row.next_of(now, may) else { return };
        self.scouting.asked.insert(place);
        let target = self.dial_at(now, place, Reason::truncated("it hears who leads, and the home before does not"));
        self.scouting.scout = Some(Scout { dial: self.dials, target, greeting: None, until: now + DIAL_MAX });
    }

    /// Leaves home for one that is led, on the link that is there
    fn move_to_scout(&mut self, now: Instant, challenge: &Challenge, signer: &impl Signer) {
        let Some(Scout { dial, target, greeting: Some(greeting), .. }) = self.scouting.scout.take() else { return };
        let setback = match proof::check_challenge(&greeting, self.network, challenge, signer) {
            Ok(_) => Setback::new(Status::Unavailable, format!("{} is cut off from the others", self.supernode())),
            Err(setback) => {
                let reason = setback.reason;
                self.outputs.push_back(MembershipOutput::Close { dial, status: setback.status, reason });
                return self.scout_next(now);
            }
        };
        self.lose(now, setback, Again::Quickly);
        self.row.on_tried(target.place);
        self.tries += 1;
        (self.dial, self.target) = (dial, Some(target));
        self.state = State::Greeted { greeting, until: now + CHALLENGE_WAIT };
        self.handle_challenge(now, challenge, signer);
    }
}
