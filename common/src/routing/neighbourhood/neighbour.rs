//! One entry of the own table: what is known of a peer that we want a link with, and when it is dialled.

use std::time::Duration;

use super::link::RemoteTable;
use crate::link::LinkEnd;
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::session::{Reason, Record};

/// After so many failures the backoff no longer grows
const FAILURES_MAX: u32 = 16;

/// A peer that has said that it goes is dialled as if so many dials had failed: it will dial itself when it is back
const FAILURES_OF_GONE: u32 = 6;

/// What a failure to get a link was
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody said no, which costs both sides little
    Answer,
    /// Nobody answered in time, or a link broke soon: whoever is at the other end may be too slow for those who dial it
    Silence,
    /// This peer is in the other side's table no more, or not yet, which costs both sides a whole link each time. It ends
    /// with a new table: home says so to whoever's is old, and who comes into one is dialled from there
    Refusal,
}

impl Failure {
    /// What it was to be told `status`
    pub(super) fn told(status: Status) -> Self {
        let is_refusal = status == Status::NotAllowed && !mutant::is(Mutant::RefusedDialsOn);
        if is_refusal { Self::Refusal } else { Self::Answer }
    }

    /// What it was that a link ended before it was up
    pub(super) fn before_up(end: &LinkEnd) -> Self {
        match end {
            LinkEnd::Bye(status, _) => Self::told(*status),
            LinkEnd::Lost(_) => Self::Answer,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Idle,
    At(Instant),
    /// The shell answers; should it not, the dial counts as failed when it is in flight no more
    Running,
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) record: Record,
    pub(super) dial: Dial,
    /// Failures in a row, and what the last one was
    pub(super) failures: u32,
    pub(super) failure: Failure,
    /// How long the last dial waited
    pub(super) waited: Duration,
    /// Since when it is wanted and has no link that is up
    pub(super) trying: Option<Instant>,
    /// A link with it was up since it came into the table; without one, nobody knows here whether it is there
    pub(super) was_up: bool,
    /// It had its time; nobody waits for it any longer
    pub(super) has_given_up: bool,
    /// When to report it as unreachable; put off whenever its hello is heard
    pub(super) report_at: Instant,
    /// It went down without a word, so home should know
    pub(super) is_lost: bool,
    pub(super) is_loss_reported: bool,
    /// When the present state began
    pub(super) since: Instant,
    pub(super) reason: Reason,
    /// What it told before its link went down: forwarding must know what it would have chosen
    pub(super) last_table: Option<RemoteTable>,
    /// It was worked out here, and home has not named it
    pub(super) stands_in: bool,
}

impl Neighbour {
    pub(super) fn new(now: Instant, record: Record, patience: Duration) -> Self {
        Self {
            record,
            dial: Dial::Idle,
            failures: 0,
            failure: Failure::Answer,
            waited: Duration::ZERO,
            trying: Some(now),
            was_up: false,
            has_given_up: false,
            report_at: now + patience,
            is_lost: false,
            is_loss_reported: false,
            since: now,
            reason: Reason::truncated("not dialled yet"),
            last_table: None,
            stands_in: false,
        }
    }

    /// Begins to want a link (again), as if the peer were new
    pub(super) fn try_anew(&mut self, now: Instant, patience: Duration) {
        self.failures = 0;
        self.trying = Some(now);
        self.has_given_up = false;
        self.report_at = now + patience;
        if let Dial::At(_) = self.dial {
            self.dial = Dial::Idle;
        }
    }

    /// Takes a newer record of the same peer at the same place; what it changes is worth a fresh try
    pub(super) fn renewed(mut self, now: Instant, record: Record, patience: Duration) -> Self {
        let is_other = record.epoch != self.record.epoch || record.locations != self.record.locations;
        // Whoever only stood in may not have wanted a link either until home named both of them to each other.
        let is_news = is_other || self.stands_in;
        (self.record, self.stands_in) = (record, false);
        if is_news && self.trying.is_some() {
            self.try_anew(now, patience);
            // The link that is down was with the peer as it was before.
            self.was_up = false;
        }
        self
    }

    /// What failed until now was this peer's own absence from the network: it is tried at once, and has its time again
    pub(super) fn excuse(&mut self, now: Instant, patience: Duration) {
        self.try_anew(now, patience);
        if self.dial == Dial::Running {
            // It began before, and may fail when its time is over: then there is to be another one.
            self.report_at = self.report_at + patience;
        }
    }

    /// When it is to be dialled, unless it is being dialled or has a link
    pub(super) const fn dial_at(&self) -> Option<Instant> {
        if let Dial::At(at) = self.dial { Some(at) } else { None }
    }

    /// Whether no link came of what was tried: before anything was, it cannot be said whether it can be reached
    pub(super) const fn has_failed(&self) -> bool {
        self.trying.is_some() && self.failures > 0
    }

    /// Its hello was heard, so it is not unreachable
    pub(super) fn on_reached(&mut self, now: Instant, patience: Duration) {
        self.report_at = now + patience;
    }

    /// Its link is up; returns since when it was not
    pub(super) fn on_up(&mut self, now: Instant) -> Option<Instant> {
        self.was_up = true;
        let tried = self.trying.take();
        if tried.is_some() {
            (self.has_given_up, self.is_lost, self.since) = (false, false, now);
        }
        tried
    }

    /// Its last link is down; after a long life that ended abruptly it may be dialled at once
    pub(super) fn on_down(&mut self, now: Instant, end: &LinkEnd, is_stable: bool, patience: Duration) {
        let failures = if is_stable { 0 } else { self.failures };
        self.try_anew(now, patience);
        self.failures = failures;
        (self.since, self.reason, self.is_loss_reported) = (now, end.reason(), false);
        // A peer that says why it closes the link is still there, unless it logs out.
        self.is_lost = matches!(end, LinkEnd::Lost(_) | LinkEnd::Bye(Status::Gone, _));
        match end {
            LinkEnd::Lost(_) if is_stable => {}
            LinkEnd::Lost(_) => self.on_failure(Failure::Silence, end.reason()),
            LinkEnd::Bye(Status::Gone, _) => (self.failures, self.failure) = (FAILURES_OF_GONE, Failure::Answer),
            LinkEnd::Bye(status, _) => self.on_failure(Failure::told(*status), end.reason()),
        }
    }

    /// One more failure to get a link
    pub(super) fn on_failure(&mut self, failure: Failure, reason: Reason) {
        self.failure = failure;
        self.failures = (self.failures + 1).min(FAILURES_MAX);
        self.reason = reason;
    }
}
