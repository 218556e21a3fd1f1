//! One entry of the own table: what is known of a peer that we want a link with, and when it is dialled.

use std::time::Duration;

use super::link::RemoteTable;
use crate::link::LinkEnd;
use crate::status::Status;
use crate::time::Instant;
use crate::wire::session::{Reason, Record};

/// After so many failures the backoff no longer grows
const ATTEMPTS_MAX: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Idle,
    At(Instant),
    /// The shell answers; should it not, the dial counts as failed at `until`
    Running {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) record: Record,
    pub(super) dial: Dial,
    /// Failures in a row
    pub(super) attempts: u32,
    /// Without a link that is up since then
    pub(super) trying: Option<Instant>,
    /// It had its time; nobody waits for it any longer
    pub(super) has_given_up: bool,
    /// When to report it as unreachable; put off whenever its hello is heard
    pub(super) report_at: Instant,
    /// It went down without a word, so home should know
    pub(super) is_lost: bool,
    pub(super) is_loss_reported: bool,
    /// Of the present state
    pub(super) since: Instant,
    pub(super) reason: Reason,
    /// What it told before its link went down: forwarding must know what it would have chosen
    pub(super) last_table: Option<RemoteTable>,
}

impl Neighbour {
    pub(super) fn new(now: Instant, record: Record, patience: Duration) -> Self {
        Self {
            record,
            dial: Dial::Idle,
            attempts: 0,
            trying: Some(now),
            has_given_up: false,
            report_at: now + patience,
            is_lost: false,
            is_loss_reported: false,
            since: now,
            reason: Reason::truncated("not dialled yet"),
            last_table: None,
        }
    }

    /// Begins to want a link (again), as if the peer were new
    pub(super) fn try_anew(&mut self, now: Instant, patience: Duration) {
        self.attempts = 0;
        self.trying = Some(now);
        self.has_given_up = false;
        self.report_at = now + patience;
        if let Dial::At(_) = self.dial {
            self.dial = Dial::Idle;
        }
    }

    /// Takes a newer record of the same peer at the same place; what it changes is worth a fresh try
    pub(super) fn renew(&mut self, now: Instant, record: Record, patience: Duration) {
        let is_news = record.epoch != self.record.epoch || record.locations != self.record.locations;
        self.record = record;
        if is_news && self.trying.is_some() {
            self.try_anew(now, patience);
        }
    }

    /// Its hello was heard, so it is not unreachable
    pub(super) fn on_reached(&mut self, now: Instant, patience: Duration) {
        self.report_at = now + patience;
    }

    /// Its link is up; since when it was not
    pub(super) fn on_up(&mut self, now: Instant) -> Option<Instant> {
        let tried = self.trying.take();
        if tried.is_some() {
            (self.has_given_up, self.is_lost, self.since) = (false, false, now);
        }
        tried
    }

    /// Its last link is down; after a long life that ended abruptly it may be dialled at once
    pub(super) fn on_down(&mut self, now: Instant, end: &LinkEnd, is_stable: bool, patience: Duration) {
        let attempts = if is_stable { 0 } else { self.attempts };
        self.try_anew(now, patience);
        self.attempts = attempts;
        (self.since, self.reason, self.is_loss_reported) = (now, end.reason(), false);
        // A peer that says why it closes the link is still there, unless it logs out.
        self.is_lost = matches!(end, LinkEnd::Lost(_) | LinkEnd::Bye(Status::Gone, _));
        match end {
            LinkEnd::Lost(_) if is_stable => {}
            LinkEnd::Bye(Status::Gone, _) => self.attempts = ATTEMPTS_MAX,
            _ => self.on_failure(end.reason()),
        }
    }

    /// One more failure to get a link
    pub(super) fn on_failure(&mut self, reason: Reason) {
        self.attempts = (self.attempts + 1).min(ATTEMPTS_MAX);
        self.reason = reason;
    }
}
