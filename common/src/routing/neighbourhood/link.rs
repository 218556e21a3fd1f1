//! One link, and which of two links with the same peer stays.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::output::{CloseReason, Event, IgnoreReason, Opened};
use super::own_table::OwnTable;
use crate::id::{Address, Epoch, Key, Name};
use crate::link::{Direction, LinkId};
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::link::{Delta, Table};

/// What a link is to us
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its peer is not in our table; a rewire may put it there
    Waiting { until: Instant },
    /// Its peer is not in our table, and no home was reachable to ask about it; `until` is set once one is again
    Guest { until: Option<Instant> },
    /// Its peer has left our table, or (`outdated`) it was opened under an address that is ours no longer
    Leaving { until: Instant, outdated: bool },
    /// Its peer is in our table, at this address
    Neighbour,
}

impl Standing {
    /// At the bound of links, what is worth less makes room for what is worth more
    pub(super) const fn worth(self) -> u8 {
        match self {
            Self::Waiting { .. } => 0,
            Self::Guest { .. } => 1,
            Self::Leaving { .. } => 2,
            Self::Neighbour => 3,
        }
    }
}

/// What a frame changed of the other side's table
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) is_changed: bool,
    /// A link of the other side's that was up is not up any more, and neither is what was on its way over it
    pub(super) loses: bool,
    /// Changes of links that are not in the table
    pub(super) unknown: usize,
}

/// The other side's table, as told on a link; snapshots for forwarding share its links
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RemoteTable {
    pub(super) epoch: Epoch,
    /// In the order of addresses, each with whether it is up
    pub(super) links: Arc<[(Address, bool)]>,
    /// The peers that they lead to, in the same order
    pub(super) names: Vec<Name>,
    /// Of whom it says nothing, in the order of addresses
    pub(super) unseen: Arc<[Address]>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) key: Key,
    pub(super) direction: Direction,
    pub(super) boot: u64,
    pub(super) grant: Grant,
    pub(super) standing: Standing,
    /// Counts up: "newer" must not hang on how the shell numbers links
    pub(super) order: u64,
    pub(super) opened: Instant,
    pub(super) table_by: Instant,
    pub(super) table: Option<RemoteTable>,
    pub(super) up_since: Option<Instant>,
    /// Until when it is held back, as it comes and goes
    pub(super) held_until: Option<Instant>,
    /// Our table as it was last sent over this link
    pub(super) told: Option<Arc<OwnTable>>,
}

impl Link {
    pub(super) fn new(
        now: Instant,
        opened: Opened,
        grant: Grant,
        standing: Standing,
        order: u64,
        wait: Duration,
    ) -> Self {
        Self {
            id: opened.link,
            key: opened.key,
            direction: opened.direction,
            boot: opened.boot,
            grant,
            standing,
            order,
            opened: now,
            table_by: now + wait,
            table: None,
            up_since: None,
            held_until: None,
            told: None,
        }
    }

    pub(super) const fn address(&self) -> Address {
        self.grant.address
    }

    /// Whether we sent, or are about to send, our table: the promise to forward
    pub(super) const fn is_accepted(&self) -> bool {
        !matches!(self.standing, Standing::Waiting { .. })
    }

    /// A link is up when both sides have accepted it: each says so by its table
    pub(super) const fn is_up(&self) -> bool {
        self.is_accepted() && self.table.is_some()
    }

    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.standing, Standing::Leaving { .. })
    }

    pub(super) const fn is_outdated(&self) -> bool {
        matches!(self.standing, Standing::Leaving { outdated: true, .. })
    }

    /// Takes the other side's whole table: what that changed of what forwarding knows
    pub(super) fn on_table(&mut self, table: Table) -> Result<News, IgnoreReason> {
        if self.table.as_ref().is_some_and(|old| old.epoch > table.epoch) {
            return Err(IgnoreReason::StaleTable);
        }
        let table = RemoteTable::new(table, self.grant.address);
        // A neighbour that says the same again must not cost us a new snapshot and all cached decisions.
        let is_same =
            |old: &RemoteTable| (&old.links, &old.names, &old.unseen) == (&table.links, &table.names, &table.unseen);
        let is_changed = !self.table.as_ref().is_some_and(is_same);
        let loses = self.table.as_ref().is_some_and(|old| old.loses(&table));
        self.table = Some(table);
        Ok(News { is_changed, loses, unknown: 0 })
    }

    /// Applies a change of the other side's table
    pub(super) fn on_delta(&mut self, delta: &Delta) -> Result<News, IgnoreReason> {
        self.table.as_mut().map(|table| table.apply(delta)).ok_or(IgnoreReason::NoTable)
    }

    /// Home is reachable or not: with nobody to ask, unknown peers are guests, and guests may stay; with somebody, guests
    /// have until `end`, if that is given, to be named in a rewire; returns what people are told of whoever becomes a guest
    pub(super) fn on_home(&mut self, reachable: bool, end: Option<Instant>) -> Option<Event> {
        match &mut self.standing {
            Standing::Guest { until } if until.is_none() || !reachable => *until = end,
            waiting @ Standing::Waiting { .. } if !reachable => {
                *waiting = Standing::Guest { until: None };
                return Some(self.accepted_as_guest());
            }
            _ => {}
        }
        None
    }

    /// The unknown peer at the other end is accepted, as no home is reachable to ask
    pub(super) fn accepted_as_guest(&self) -> Event {
        Event::GuestAccepted { link: self.id, name: self.grant.name.clone(), address: self.address() }
    }

    /// Whether it was up for so long that dialling again at once is no loop
    pub(super) fn is_stable(&self, now: Instant, after: Duration) -> bool {
        self.up_since.is_some_and(|since| now - since >= after)
    }

    /// When the link ends unless something happens, and why
    pub(super) fn deadline(&self) -> Option<(Instant, CloseReason)> {
        match self.standing {
            Standing::Waiting { until } | Standing::Guest { until: Some(until) } => {
                Some((until, CloseReason::NotANeighbour))
            }
            Standing::Leaving { until, outdated: true } => Some((until, CloseReason::Moved)),
            Standing::Leaving { until, outdated: false } => Some((until, CloseReason::Rewired)),
            _ if self.table.is_none() => Some((self.table_by, CloseReason::NoTable)),
            _ => None,
        }
    }

    /// Begins every time limit anew: what was not heard may be waiting in this process's own queues.
    pub(super) fn extend_deadline(&mut self, now: Instant, unknown_wait: Duration, table_wait: Duration) {
        self.table_by = now + table_wait;
        match &mut self.standing {
            Standing::Waiting { until } | Standing::Guest { until: Some(until) } => *until = now + unknown_wait,
            _ => {}
        }
    }

    /// Whether of two links with one peer this is the one to keep; both peers come to the same answer
    ///
    /// A newer session or boot speaks for itself. Of two dials that crossed, the smaller key's stays. Otherwise the
    /// newer one does: whoever dials again has lost the older one, though we may not have noticed.
    pub(super) fn beats(&self, other: &Self, own: &Key, simultaneous: Duration) -> bool {
        // Sessions that began in two incarnations of the log have no order: then the newer link says which is the later one.
        let sessions = self.grant.epoch.partial_cmp(&other.grant.epoch).unwrap_or(Ordering::Equal);
        let stays = other.is_leaving().cmp(&self.is_leaving());
        match stays.then(sessions).then(self.boot.cmp(&other.boot)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => {
                let apart = self.opened.since(other.opened).max(other.opened.since(self.opened));
                if self.direction != other.direction && apart <= simultaneous {
                    let keeps_own = *own < self.key || mutant::is(Mutant::OwnDialKept);
                    (self.direction == Direction::Outgoing) == keeps_own
                } else {
                    self.order > other.order
                }
            }
        }
    }
}

impl RemoteTable {
    /// The table without its sender, who is no neighbour of itself whatever it says
    pub(super) fn new(table: Table, sender: Address) -> Self {
        let entries = table.entries.into_vec().into_iter();
        let entries = entries.filter(|entry| entry.address != sender);
        let entries: BTreeMap<Address, (bool, Name)> =
            entries.map(|entry| (entry.address, (entry.up, entry.name))).collect();
        let links = entries.iter().map(|(address, (up, _))| (*address, *up)).collect();
        let mut unseen = table.unseen.into_vec();
        unseen.sort_unstable();
        let names = entries.into_values().map(|(_, name)| name).collect();
        Self { epoch: table.epoch, links, names, unseen: unseen.into() }
    }

    /// Whether a link of it that was up is not in `newer`, or not up there
    fn loses(&self, newer: &Self) -> bool {
        let carries = |to: &Address| newer.links.binary_search(&(*to, true)).is_ok();
        self.links.iter().any(|(to, up)| *up && !carries(to))
    }

    /// The places that its links lead to, with the names there
    pub(super) fn known(&self) -> impl Iterator<Item = (Address, &Name)> {
        self.links.iter().map(|(address, _)| *address).zip(&self.names)
    }

    /// Applies the changes whose links are in the table
    pub(super) fn apply(&mut self, delta: &Delta) -> News {
        let mut news = News { is_changed: false, loses: false, unknown: 0 };
        for change in &delta.changes {
            match self.links.binary_search_by_key(&change.address, |(address, _)| *address) {
                Ok(at) if self.links.get(at).is_some_and(|(_, up)| *up != change.up) => {
                    news.is_changed = true;
                    news.loses |= !change.up;
                    if let Some((_, up)) = Arc::make_mut(&mut self.links).get_mut(at) {
                        *up = change.up;
                    }
                    // Whoever had a link with somebody can say from then on whether it is there.
                    if change.up && self.unseen.contains(&change.address) {
                        self.unseen = self.unseen.iter().filter(|to| **to != change.address).copied().collect();
                    }
                }
                Ok(_) => {}
                Err(_) => news.unknown += 1,
            }
        }
        news
    }
}
