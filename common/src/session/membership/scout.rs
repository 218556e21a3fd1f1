//! Scouts: while the home is cut off from the other supernodes, the peer asks whether one of those hears somebody lead.
//!
//! A supernode that hears nobody cannot say whether the others are well. If they are, whoever leads them ends the sessions
//! of this one a lease later, though their peers are here. The peers can often reach what their home cannot: each has a
//! link with another supernode opened, and reads from its [`Challenge`] whether it is led. If so it goes on with its session
//! there, and gives up its home once that is granted. While nobody leads anywhere, everybody stays where it is.
//!
//! One scout is out at a time, for a part of the lease. With a renewal that says that the home is cut off all others are
//! asked once, but for those that want to be left alone; if each of them has answered that it hears nobody lead, the next
//! renewal is left out, as nobody was out of the home's reach alone. So while there is no quorum, each supernode that runs
//! does a handshake for each peer of the others in two thirds of a lease.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Membership;
use super::output::MembershipOutput;
use super::proof::{self, Greeting};
use super::row::Place;
use super::search::Target;
use super::state::{Again, Setback, State};
use crate::crypto::Signer;
use crate::id::{Key, NetworkId};
use crate::mutant::{self, Mutant};
use crate::session::ANSWER_WAIT;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;
use crate::wire::session::{Challenge, Granted, Hello, Purpose, Reason, Refused, Role, SUPERNODES_MAX};

/// A scout has this part of a lease to reach a supernode and hear whether it is led: so that two that are out of its reach,
/// asked before the one that is led, do not cost the session
const LEASE_PARTS: u32 = 6;
/// Rounds do not follow each other faster, however short the lease: a home that lies shall not have its peers dial others
/// all the time
const ROUND_EVERY: Duration = Duration::from_secs(5);

/// Who is asked, and who was in this round
#[derive(Debug, Default)]
pub(super) struct Scouting {
    /// Until there are [`SUPERNODES_MAX`]: a home may tell of new ones meanwhile
    asked: BTreeSet<Place>,
    began: Option<Instant>,
    /// The last renewal said that the home is cut off
    is_needed: bool,
    /// All that were asked in the last round have answered, and none of them is led
    is_vain: bool,
    scout: Option<Scout>,
}

#[derive(Debug)]
struct Scout {
    dial: u64,
    target: Target,
    step: Step,
    until: Instant,
}

/// How far a scout has come
#[derive(Debug)]
enum Step {
    Dialling,
    Greeted(Greeting),
    /// That one is led, and the login is sent
    Asked(NetworkId),
}

impl Scouting {
    /// Whether the home is cut off, as far as it has said
    pub(super) const fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// There is another home, of which nothing is known
    pub(super) const fn begin_anew(&mut self) {
        self.is_needed = false;
    }

    /// Whether this is a scout's dial
    pub(super) fn is_out(&self, dial: u64) -> bool {
        self.scout.as_ref().is_some_and(|scout| scout.dial == dial)
    }

    /// Whether a supernode may be moving the session by now: it says what became of that
    pub(super) fn has_asked(&self) -> bool {
        self.scout.as_ref().is_some_and(|scout| matches!(scout.step, Step::Asked(_)))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.scout.as_ref().map(|scout| scout.until)
    }
}

impl Membership {
    /// The home is cut off: asks all others, one after the other, unless that is under way
    pub(super) fn begin_scouting(&mut self, now: Instant) {
        let is_first = !std::mem::replace(&mut self.scouting.is_needed, true);
        let is_early = self.scouting.began.is_some_and(|began| now - began < ROUND_EVERY);
        if self.scouting.scout.is_some() || is_early || mutant::is(Mutant::NobodyScouts) {
            return;
        }
        if std::mem::take(&mut self.scouting.is_vain) && !is_first {
            return;
        }
        self.scouting.began = Some(now);
        self.scouting.asked.clear();
        self.scouting.is_vain = self.scout_next(now);
        if is_first {
            let reason = "home is cut off from the others: is another one led?";
            tracing::info!(event = "scouts_sent", home = self.supernode(), known = self.row.len(), reason);
        }
    }

    /// The home hears the others: who is out comes back, unless it may be granted the session by now
    pub(super) fn handle_home_well(&mut self) {
        self.scouting.is_needed = false;
        if !self.scouting.has_asked() {
            self.end_scouting(Status::Gone, "home hears the others again");
        }
    }

    /// Nobody need be asked any more
    pub(super) fn end_scouting(&mut self, status: Status, reason: &str) {
        if let Some(Scout { dial, target, step, .. }) = self.scouting.scout.take() {
            match step {
                // That is what a person asks who wonders why it has not moved.
                Step::Asked(_) => tracing::info!(event = "scout_refused", supernode = target.location, %status, reason),
                _ => tracing::debug!(event = "scout_ended", supernode = target.location, %status, reason),
            }
            let reason = Reason::truncated(reason);
            self.outputs.push_back(MembershipOutput::Close { dial, status, reason });
        }
    }

    /// Whoever has to answer the scout has the whole time anew, as the answer may be waiting here
    pub(super) fn handle_scout_held_up(&mut self, now: Instant) {
        let wait = if self.scouting.has_asked() { ANSWER_WAIT } else { self.scout_wait() };
        if let Some(scout) = &mut self.scouting.scout {
            scout.until = now + wait;
        }
    }

    /// A scout's dial has made a link
    pub(super) fn handle_scout_opened(&mut self, now: Instant, key: Key, own_nonce: [u8; 32], hello: &Hello) {
        let Some(scout) = self.scouting.scout.as_mut().filter(|scout| matches!(scout.step, Step::Dialling)) else {
            return;
        };
        self.row.on_measured(scout.target.place, scout.target.dial_round_trip(now));
        if hello.role != Role::Supernode || hello.purpose != Purpose::Home {
            return self.scout_on(now, Status::Malformed, "not a supernode");
        }
        let greeting =
            Greeting { supernode: key, network: hello.network, supernode_nonce: hello.nonce, peer_nonce: own_nonce };
        scout.step = Step::Greeted(greeting);
    }

    /// A scout's dial made no link, or its link is gone
    pub(super) fn handle_scout_failed(&mut self, now: Instant, reason: &str) {
        let Some(Scout { target, .. }) = self.scouting.scout.take() else { return };
        tracing::debug!(event = "scout_ended", supernode = target.location, reason);
        self.scouting.is_vain = false;
        self.row.on_failed(now, target.place);
        self.scout_next(now);
    }

    /// A frame on a scout's link
    pub(super) fn handle_scouts_frame(&mut self, now: Instant, frame: Frame, signer: &impl Signer) {
        let Some(Scout { step, .. }) = &self.scouting.scout else { return };
        match (frame, step) {
            (Frame::Challenge(challenge), Step::Greeted(greeting)) => {
                let greeting = greeting.clone();
                self.handle_scouts_challenge(now, &greeting, &challenge, signer);
            }
            (Frame::Granted(granted), Step::Asked(network)) => {
                let network = *network;
                self.handle_scouts_grant(now, network, granted, signer);
            }
            (Frame::Bye(bye), _) => self.scout_on(now, bye.status, &bye.reason),
            (Frame::Refused(refused), _) => self.handle_scout_refused(now, &refused),
            (Frame::Probe(_) | Frame::ProbeReply(_), _) => {}
            _ => {
                self.violations += 1;
                self.scout_on(now, Status::Malformed, "it sends what nobody asked for");
            }
        }
    }

    /// Gives up a scout that is out for too long
    pub(super) fn handle_scout_timeout(&mut self, now: Instant) {
        if self.scouting.next_timeout().is_some_and(|until| until <= now) {
            match self.scouting.has_asked() {
                true => self.scout_retry(now, Status::TimedOut, "it does not answer the login"),
                false => self.scout_on(now, Status::TimedOut, "it does not answer"),
            }
        }
    }

    /// Asks one that is led to go on with the session
    fn handle_scouts_challenge(
        &mut self,
        now: Instant,
        greeting: &Greeting,
        challenge: &Challenge,
        signer: &impl Signer,
    ) {
        let checked = proof::check_challenge(greeting, self.network, challenge, signer).and_then(|(handshake, id)| {
            let required = challenge.secret_required;
            let secret = proof::prove_secret(&handshake, self.config.secret.as_ref(), required)?;
            Ok((handshake, id, secret))
        });
        let (handshake, id, secret) = match checked {
            Ok(checked) => checked,
            Err(Setback { status, reason }) => return self.scout_on(now, status, &reason),
        };
        let is_home = self.target.as_ref().is_some_and(|home| home.id == Some(id));
        let Some(scout) = &mut self.scouting.scout else { return };
        scout.target.place = self.row.identify(scout.target.place, id);
        scout.target.id = Some(id);
        self.scouting.asked.insert(scout.target.place);
        if is_home || !(challenge.is_led || mutant::is(Mutant::ScoutsMoveAnyway)) {
            let reason = if is_home { "it is home" } else { "it hears nobody lead either" };
            self.end_scouting(Status::Gone, reason);
            self.scout_next(now);
            return;
        }
        (scout.step, scout.until) = (Step::Asked(handshake.network), now + ANSWER_WAIT);
        let dial = scout.dial;
        let login = proof::login(&self.config, &handshake, secret, self.resume, signer);
        self.outputs.push_back(MembershipOutput::Send { dial, frame: Frame::Login(login) });
    }

    /// That one may be busy, and home is still there: the next one is asked at once only if there is a retry left
    fn handle_scout_refused(&mut self, now: Instant, refused: &Refused) {
        let wait = Duration::from_millis(refused.retry_after_ms.into());
        if let Some(scout) = self.scouting.scout.as_ref().filter(|_| !wait.is_zero()) {
            self.row.on_busy(scout.target.place, now + self.backoff.after(wait));
        }
        self.scout_retry(now, refused.status, &refused.reason);
    }

    fn scout_retry(&mut self, now: Instant, status: Status, reason: &str) {
        if self.retries.spend() {
            return self.scout_on(now, status, reason);
        }
        self.scouting.is_vain = false;
        self.end_scouting(status, reason);
    }

    /// Home is lost: whoever is asked already to go on with the session is waited for
    pub(super) fn adopt_scout(&mut self) -> bool {
        let Some(Scout { dial, target, step: Step::Asked(network), until }) =
            self.scouting.scout.take_if(|scout| matches!(scout.step, Step::Asked(_)))
        else {
            return false;
        };
        (self.dial, self.target) = (dial, Some(target));
        self.state = State::Asked { network, until };
        true
    }

    /// The session goes on there: leaves home
    fn handle_scouts_grant(&mut self, now: Instant, network: NetworkId, granted: Granted, signer: &impl Signer) {
        let grant = match proof::check_grant(&self.config.name, &network, &granted.grant, signer) {
            Ok(grant) => grant,
            Err(Setback { status, reason }) => return self.scout_on(now, status, &reason),
        };
        let reason = format!("{} is cut off from the others", self.supernode());
        // What the old home was told may never have got farther, so it is lost: the new one is told anew.
        self.lose(now, Setback::new(Status::Unavailable, reason), Again::Quickly);
        self.enter(now, network, grant, granted);
    }

    /// This one is no better than home
    fn scout_on(&mut self, now: Instant, status: Status, reason: &str) {
        if let Some(scout) = &self.scouting.scout {
            self.row.on_failed(now, scout.target.place);
        }
        self.scouting.is_vain = false;
        self.end_scouting(status, reason);
        self.scout_next(now);
    }

    /// Asks the next one of the round, if there is one
    fn scout_next(&mut self, now: Instant) -> bool {
        let Scouting { asked, .. } = &self.scouting;
        let home = self.target.as_ref().map(|target| target.place);
        let may = |place| Some(place) != home && !asked.contains(&place) && !self.row.is_busy(now, place);
        let next = self.row.next_of(now, may).filter(|_| asked.len() < SUPERNODES_MAX && self.scouting.is_needed);
        let Some(place) = next else { return false };
        self.scouting.asked.insert(place);
        let target = self.dial_at(now, place, Reason::truncated("it hears who leads, and the home before does not"));
        let until = now + self.scout_wait();
        self.scouting.scout = Some(Scout { dial: self.dials, target, step: Step::Dialling, until });
        true
    }

    /// How long a scout may be out until it hears whether somebody leads
    fn scout_wait(&self) -> Duration {
        let State::LoggedIn(lease) = &self.state else { return Duration::ZERO };
        lease.length() / LEASE_PARTS
    }
}
