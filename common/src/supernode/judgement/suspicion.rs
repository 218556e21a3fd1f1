//! When a peer is suspected to be gone: this supernode's own, volatile judgement of the peers whose home it is.
//!
//! A peer whose home link is lost is suspected as soon as a neighbour says that its link is down too, or after
//! [`HOME_LOST_MAX`]. A peer whose home link stands when a neighbour says so is asked first: half a report is not
//! enough to take somebody out of the ring, but a frozen process keeps its links.
//!
//! A suspect that is heard again comes back at once. One that was suspected again within [`FORGIVEN_AFTER`] waits, longer
//! each time: each of its exits and returns gives all its neighbours new tables.
//!
//! Where many are lost at once the first go and the others wait their turn: routing finds its way round half of a mesh,
//! and whoever stood still finds its table as it was, while each exit and return costs sixteen others dials.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::directory::SuspectReason;
use crate::id::SessionId;
use crate::mutant::{self, Mutant};
use crate::rate::Bucket;
use crate::time::{Instant, Timers, doubled, earliest};

/// How long a home link may be lost before that alone is enough: the time of one lost SYN and its repetition
const HOME_LOST_MAX: Duration = Duration::from_secs(2);

/// How long a peer that a neighbour reported may leave its home without an answer: several round trips, one of them lost
const ANSWER_MAX: Duration = Duration::from_millis(1500);

/// How long a neighbour's report is remembered while the home link stands: a reset may come later to us than to it
const REPORT_MEMORY: Duration = Duration::from_secs(5);

/// How long who is suspected for the second time waits when it is heard again; doubled with each further time
const BACK_MIN: Duration = Duration::from_secs(1);

/// The longest such wait: below the 10 s for which a peer waits for the answer to its login
const BACK_MAX: Duration = Duration::from_secs(8);

/// Peers that may be suspected at once, and again in each third of a lease: a twentieth of those that are at home here …
const CROWD_SHARE: usize = 20;
/// … but at least so many, as a new table for each of sixteen others is what a machine makes in a second
const CROWD_MIN: usize = 16;

/// How long without a suspicion until one of them is forgiven
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// How often a session was suspected, less what is forgiven
#[derive(Clone, Copy, Debug)]
struct Flaps {
    count: u32,
    last: Instant,
}

impl Flaps {
    /// It is suspected, perhaps not for the first time
    fn after(before: Option<Self>, now: Instant) -> Self {
        let count = before.map_or(0, |flaps| {
            let forgiven = (now - flaps.last).as_secs() / FORGIVEN_AFTER.as_secs();
            flaps.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
        });
        Self { count: count.saturating_add(1), last: now }
    }

    /// How long it waits when it is heard again
    fn delay(self) -> Duration {
        match self.count.checked_sub(2) {
            Some(doublings) if !mutant::is(Mutant::ComesBackAtOnce) => doubled(BACK_MIN, doublings, BACK_MAX),
            _ => Duration::ZERO,
        }
    }
}

/// What the shell is to do
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuspicionOutput {
    /// Propose [`Command::Suspect`](crate::directory::Command::Suspect)
    Suspect {
        /// Whose peer
        session: SessionId,
        reason: SuspectReason,
    },
    /// Propose [`Command::Clear`](crate::directory::Command::Clear)
    Clear {
        /// Whose peer
        session: SessionId,
    },
    /// Send a probe on the home link; any frame is an answer
    Probe {
        /// To whom
        session: SessionId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The home link stands
    Home { reported: Option<Instant> },
    /// A neighbour reported it and it has been asked; silence until then is enough
    Asked { reported: Instant, until: Instant },
    /// No home link; after `until` that is enough
    Lost { until: Instant },
    /// That is enough, and its turn has not come
    Waiting { reported: Option<Instant>, reason: SuspectReason },
    /// The directory has been told; it was heard again, if `back` is set, and comes back from then on
    Suspect { back: Option<Instant> },
    /// Likewise, and there is a home link again: it comes back then
    Returning { until: Instant },
}

impl State {
    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asked { until, .. } | Self::Lost { until } | Self::Returning { until } => Some(until),
            Self::Home { .. } | Self::Waiting { .. } | Self::Suspect { .. } => None,
        }
    }
}

/// The sessions whose peers are suspected; they are sessions of the directory, whose bound holds here, too
///
/// Drain [`Suspicion::poll_output`] after every input.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    /// The end of the first lease, or of the one after a long stop: until then a lost home link may be our own absence
    grace: Instant,
    states: BTreeMap<SessionId, State>,
    /// Of the sessions that were suspected
    flaps: BTreeMap<SessionId, Flaps>,
    deadlines: Timers<SessionId>,
    /// In which as many may be suspected as at once
    third: Duration,
    budget: Bucket,
    /// Those that wait their turn, since when
    crowd: Timers<SessionId>,
    outputs: VecDeque<SuspicionOutput>,
}

impl Suspicion {
    /// At a start: nobody has a home link yet, `present` (each session, and whether it is a suspect) have one `lease` to
    /// make one, and until then only neighbours' reports count
    ///
    /// Then they end, but for those whose leases have begun anew meanwhile.
    pub(crate) fn new(now: Instant, lease: Duration, present: impl IntoIterator<Item = (SessionId, bool)>) -> Self {
        let grace = now + lease;
        let lost = State::Lost { until: grace + HOME_LOST_MAX };
        let state = |suspect| if suspect { State::Suspect { back: None } } else { lost };
        let states: BTreeMap<_, _> = present.into_iter().map(|(session, suspect)| (session, state(suspect))).collect();
        let mut deadlines = Timers::default();
        for (session, state) in &states {
            if let Some(deadline) = state.deadline() {
                deadlines.set(deadline, *session);
            }
        }
        Self {
            grace,
            states,
            flaps: BTreeMap::new(),
            deadlines,
            third: lease / 3,
            budget: Bucket::new(0, Duration::ZERO),
            crowd: Timers::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A login was granted, or any frame came on the home link: the peer is here
    pub(crate) fn handle_heard(&mut self, now: Instant, session: SessionId) {
        let state = match self.states.get(&session) {
            Some(State::Home { .. } | State::Returning { .. }) => return,
            // What it said may be older than its end.
            Some(State::Asked { reported, .. }) => State::Home { reported: Some(*reported) },
            Some(State::Suspect { .. }) => match self.back_at(now, session) {
                Some(until) => State::Returning { until },
                None => {
                    self.clear(session);
                    State::Home { reported: None }
                }
            },
            Some(State::Waiting { reported, .. }) => State::Home { reported: *reported },
            Some(State::Lost { .. }) | None => State::Home { reported: None },
        };
        self.set(session, state);
    }

    /// A suspect wants to come back: until when it waits; `None`: it may at once, or is no suspect
    ///
    /// The wait begins when it is first asked for.
    pub(crate) fn back_at(&mut self, now: Instant, session: SessionId) -> Option<Instant> {
        let until = match self.states.get(&session)? {
            State::Returning { until } => *until,
            State::Suspect { back: Some(back) } => *back,
            State::Suspect { back: None } => {
                let back = now + self.flaps.get(&session).map_or(Duration::ZERO, |flaps| flaps.delay());
                self.states.insert(session, State::Suspect { back: Some(back) });
                back
            }
            State::Home { .. } | State::Asked { .. } | State::Lost { .. } | State::Waiting { .. } => return None,
        };
        Some(until).filter(|until| *until > now)
    }

    fn clear(&mut self, session: SessionId) {
        if !mutant::is(Mutant::SuspectNeverCleared) {
            self.outputs.push_back(SuspicionOutput::Clear { session });
        }
    }

    /// Whether the directory was told that it is a suspect; `None` for a session that is not known here
    pub(crate) fn is_suspect(&self, session: SessionId) -> Option<bool> {
        self.states.get(&session).map(|state| matches!(state, State::Suspect { .. } | State::Returning { .. }))
    }

    /// Whether it is lost, so that nothing follows from who cannot reach it; not so of sessions that are not known here
    pub(crate) fn is_lost(&self, session: SessionId) -> bool {
        !matches!(self.states.get(&session), Some(State::Home { .. } | State::Asked { .. }) | None)
    }

    /// The home link is lost
    pub(crate) fn handle_home_lost(&mut self, now: Instant, session: SessionId) {
        let reported = match self.states.get(&session) {
            Some(State::Home { reported }) => *reported,
            Some(State::Asked { reported, .. }) => Some(*reported),
            Some(State::Returning { until }) => {
                // Whoever has let it in meanwhile, as a login does, must hear that it is away.
                self.outputs.push_back(SuspicionOutput::Suspect { session, reason: SuspectReason::HomeLost });
                let back = Some(*until);
                return self.set(session, State::Suspect { back });
            }
            Some(State::Lost { .. } | State::Waiting { .. } | State::Suspect { .. }) | None => return,
        };
        if reported.is_some_and(|at| now.since(at) <= REPORT_MEMORY) {
            self.suspect(now, session, SuspectReason::Reported);
        } else {
            self.set(session, State::Lost { until: (now + HOME_LOST_MAX).max(self.grace) });
        }
    }

    /// A neighbour (the shell has checked that it is one) says that its link to the peer of `session` is down
    pub(crate) fn handle_report(&mut self, now: Instant, session: SessionId) {
        match self.states.get(&session) {
            Some(State::Home { .. }) => {
                self.set(session, State::Asked { reported: now, until: now + ANSWER_MAX });
                self.outputs.push_back(SuspicionOutput::Probe { session });
            }
            Some(State::Lost { .. }) => self.suspect(now, session, SuspectReason::Reported),
            Some(State::Asked { .. } | State::Waiting { .. } | State::Suspect { .. } | State::Returning { .. })
            | None => (),
        }
    }

    /// This process stood still for `by`: whatever was to be heard by now may be waiting here
    ///
    /// `until`, if it is given, ends the time in which a lost home link may be our own absence, as after a start.
    pub(crate) fn handle_held_up(&mut self, now: Instant, by: Duration, until: Option<Instant>) {
        self.grace = until.map_or(self.grace, |until| until.max(self.grace));
        for session in self.deadlines.items().chain(self.crowd.items()).copied().collect::<Vec<_>>() {
            let state = match self.states.get(&session) {
                Some(State::Asked { reported, .. }) => State::Asked { reported: *reported, until: now + ANSWER_MAX },
                Some(State::Waiting { reported: Some(reported), .. }) => {
                    State::Asked { reported: *reported, until: now + ANSWER_MAX }
                }
                Some(State::Waiting { reported: None, .. }) => {
                    State::Lost { until: (now + HOME_LOST_MAX).max(self.grace) }
                }
                Some(State::Lost { until }) => State::Lost { until: (*until + by).max(self.grace) },
                _ => continue,
            };
            self.set(session, state);
        }
    }

    /// The session is over, or another one stands in for it
    pub(crate) fn handle_ended(&mut self, session: SessionId) {
        self.deadlines.stop(&session);
        self.crowd.stop(&session);
        self.states.remove(&session);
        self.flaps.remove(&session);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(session) = self.deadlines.take_due(now) {
            match self.states.get(&session) {
                Some(State::Returning { .. }) => {
                    self.clear(session);
                    self.set(session, State::Home { reported: None });
                }
                Some(State::Asked { .. }) => self.suspect(now, session, SuspectReason::Silent),
                _ => self.suspect(now, session, SuspectReason::HomeLost),
            }
        }
        self.give_turns(now);
    }

    /// When to call [`Suspicion::handle_timeout`]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest(self.deadlines.next_timeout(), self.crowd.first().map(|_| self.budget.next_at()))
    }

    /// The next thing to do
    pub(crate) fn poll_output(&mut self) -> Option<SuspicionOutput> {
        self.outputs.pop_front()
    }

    /// It is to be suspected, in its turn
    fn suspect(&mut self, now: Instant, session: SessionId, reason: SuspectReason) {
        let reported = match self.states.get(&session) {
            Some(State::Asked { reported, .. }) => Some(*reported),
            _ => None,
        };
        self.set(session, State::Waiting { reported, reason });
        self.crowd.set(now, session);
        self.give_turns(now);
        if self.crowd.len() == 1 && self.crowd.moment(&session).is_some() {
            let reason = "so many are lost at once that the others wait their turn";
            tracing::warn!(event = "suspicions_wait", reason, at_once = self.budget.burst());
        }
    }

    fn give_turns(&mut self, now: Instant) {
        let at_once = (self.states.len() / CROWD_SHARE).max(CROWD_MIN) as u32;
        // Whole microseconds, as moments are: else one that is due could take nothing yet.
        let every = Duration::from_micros(self.third.as_micros() as u64 / u64::from(at_once));
        self.budget = self.budget.resized(at_once, every);
        while let Some(session) = self.crowd.first().map(|(_, session)| *session)
            && let Some(State::Waiting { reason, .. }) = self.states.get(&session).copied()
        {
            if self.budget.take(now).is_err() && !mutant::is(Mutant::SuspicionsUnbounded) {
                return;
            }
            self.flaps.insert(session, Flaps::after(self.flaps.get(&session).copied(), now));
            self.set(session, State::Suspect { back: None });
            self.outputs.push_back(SuspicionOutput::Suspect { session, reason });
        }
    }

    fn set(&mut self, session: SessionId, state: State) {
        self.crowd.stop(&session);
        match state.deadline() {
            Some(deadline) => self.deadlines.set(deadline, session),
            None => self.deadlines.stop(&session),
        }
        self.states.insert(session, state);
    }
}
