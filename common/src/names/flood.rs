//! Other peers' questions that pass through here.
//!
//! A flood must not become a weapon: a neighbour gets [`ASKS_BURST`] questions at once and one a second after that,
//! whoever began them; a question passes once; it goes [`FLOOD_TTL`] hops; one answer goes back for it, over the link
//! that it came from, and only if it answers what was asked.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Ignored;
use crate::id::Address;
use crate::mutant::{self, Mutant};
use crate::rate::{Bucket, Buckets, Shortage};
use crate::time::Instant;
use crate::wire::session::{LookUp, NEIGHBOURS_MAX, Subject};

/// How far a question goes: at degree 16 some ten thousand peers hear it, at degree 4 a hundred
pub const FLOOD_TTL: u8 = 4;
/// From one question of a neighbour's to its next, on average; the same for our own
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// Questions of a neighbour's that pass at once
pub const ASKS_BURST: u32 = 4;
/// Neighbours whose rate is counted: twice the links of a peer. At the bound a new one is not served
pub const ASKERS_MAX: usize = 128;
/// How long the way back of an answer is remembered, and a duplicate known
pub const ROUTE_LIFETIME: Duration = Duration::from_secs(4);
/// Ways back that are remembered; at the bound a new question is dropped
pub const ROUTES_MAX: usize = 1_024;

// The rate keeps the neighbours that a peer may have from ever filling the routes.
const _: () = assert!(NEIGHBOURS_MAX as u64 * (ASKS_BURST as u64 + ROUTE_LIFETIME.as_secs()) <= ROUTES_MAX as u64);

#[derive(Debug)]
pub(super) struct Floods {
    /// What each neighbour may still ask
    askers: Buckets<Address>,
    routes: BTreeMap<u64, Route>,
    /// Queries in the order in which their routes expire
    expiries: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Route {
    subject: Subject,
    /// The neighbour that the answer goes to; `None`: it went, or the question is our own
    back: Option<Address>,
}

impl Default for Floods {
    fn default() -> Self {
        let askers = Buckets::new(ASKERS_MAX, Bucket::new(ASKS_BURST, ASK_EVERY));
        Self { askers, routes: BTreeMap::new(), expiries: VecDeque::new() }
    }
}

impl Floods {
    /// A question of our own, which is known when it comes round, though its answer may have come before
    ///
    /// There is one an [`ASK_EVERY`] at most, so the bound of the routes is not for these.
    pub(super) fn begin(&mut self, now: Instant, query: u64, subject: &Subject) {
        self.expire(now);
        self.insert(now, query, Route { subject: subject.clone(), back: None });
    }

    /// Lets a question in, or says why not
    pub(super) fn admit(&mut self, now: Instant, from: Address, question: &LookUp) -> Result<(), Ignored> {
        self.expire(now);
        // Before it is charged for: that a question comes round by another way is not that neighbour's doing.
        if self.routes.contains_key(&question.query) && !mutant::is(Mutant::FloodPassesTwice) {
            return Err(Ignored::Duplicate);
        }
        self.askers.take(now, from).map_err(|shortage| match shortage {
            Shortage::Empty(_) => Ignored::TooOften,
            Shortage::Crowded => Ignored::Overloaded,
        })?;
        if self.routes.len() >= ROUTES_MAX {
            return Err(Ignored::Overloaded);
        }
        let route = Route { subject: question.subject.clone(), back: Some(from) };
        self.insert(now, question.query, route);
        Ok(())
    }

    fn insert(&mut self, now: Instant, query: u64, route: Route) {
        self.routes.insert(query, route);
        self.expiries.push_back((now + ROUTE_LIFETIME, query));
    }

    /// The neighbour that waits for an answer, and what was asked
    pub(super) fn asker(&self, query: u64) -> Result<(Address, &Subject), Ignored> {
        let route = self.routes.get(&query).ok_or(Ignored::Unknown)?;
        Ok((route.back.ok_or(Ignored::Duplicate)?, &route.subject))
    }

    /// The answer goes; further ones are duplicates
    pub(super) fn answered(&mut self, query: u64) {
        if let Some(route) = self.routes.get_mut(&query) {
            route.back = None;
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, query)) = self.expiries.front().filter(|(expires, _)| *expires <= now) {
            self.routes.remove(query);
            self.expiries.pop_front();
        }
    }
}
