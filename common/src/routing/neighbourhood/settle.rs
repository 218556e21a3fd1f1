//! Compares what is with what should be, and does the next thing about each difference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::link::{Link, Standing};
use super::neighbour::Neighbour;
use super::output::{CloseReason, Event, NeighbourhoodOutput};
use super::own_table::OwnTable;
use super::{Neighbourhood, NeighbourhoodConfig};
use crate::id::{Address, Key};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::{Instant, earliest};
use crate::wire::link::TableEntry;
use crate::wire::session::{NEIGHBOURS_MAX, Record, Report};

impl Neighbourhood {
    /// When to call `handle_timeout`
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The earliest moment that anything here waits for
    ///
    /// It is kept in `due` rather than sought at every question: whatever moves one of these moments is followed by
    /// [`Self::settle`] or [`Self::handle_held_up`] in the same input.
    pub(super) fn earliest_due(&self) -> Option<Instant> {
        let links = self.links.values().filter_map(|link| link.deadline().map(|(at, _)| at)).min();
        let held = self.links.values().filter_map(|link| link.held_until).min();
        let neighbours = self.neighbours.values().filter_map(|neighbour| self.next_timeout_of(neighbour)).min();
        let isolated = self.isolated.filter(|_| self.is_home_reachable);
        let dials = earliest(self.next_dial(), self.in_flight.values().copied().min());
        earliest(earliest(earliest(links, held), neighbours), earliest(earliest(isolated, self.tell_at), dials))
    }

    fn next_timeout_of(&self, neighbour: &Neighbour) -> Option<Instant> {
        let give_up = neighbour.trying.filter(|_| !neighbour.has_given_up).map(|since| since + self.config.patience);
        let report = Some(neighbour.report_at).filter(|_| self.is_home_reachable && neighbour.has_failed());
        earliest(give_up, report)
    }

    /// This process stood still for `late`: the time limits of others begin anew, as their answers may be waiting here
    pub(crate) fn handle_held_up(&mut self, now: Instant, late: Duration) {
        let NeighbourhoodConfig { patience, unknown_wait, table_wait, dial_max, .. } = self.config;
        for link in self.links.values_mut() {
            link.extend_deadline(now, unknown_wait, table_wait);
        }
        self.in_flight.values_mut().for_each(|until| *until = now + dial_max);
        for neighbour in self.neighbours.values_mut() {
            if !neighbour.has_given_up {
                neighbour.trying = neighbour.trying.map(|_| now);
            }
            neighbour.report_at = now + patience;
        }
        self.due = self.earliest_due();
        self.event(Event::HeldUp { late });
    }

    /// One step each, in an order in which no step has to look back
    ///
    /// Links first, as they decide who is up; then who is up, as that decides which old links may go; then what others
    /// are told, once and in full; dials last, as by now it is known who still lacks a link.
    pub(super) fn settle(&mut self, now: Instant) {
        self.rank_links(now);
        self.expire_links(now);
        self.expire_dials(now);
        self.close_duplicates(now);
        self.greet_those_up(now);
        self.take_again(now);
        self.give_up(now);
        self.release_leaving(now);
        self.tell_neighbours(now);
        self.tell_home(now);
        self.dial(now);
        self.due = self.earliest_due();
    }

    /// As [`Self::settle`], after news of others' links: unless something is due, nothing else can have changed
    pub(super) fn settle_views(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|due| due <= now) {
            self.settle(now);
        } else if std::mem::take(&mut self.are_views_changed) {
            self.outputs.push_back(NeighbourhoodOutput::RoutesChanged);
        }
    }

    /// A link is worth what the table and home make of it now, whenever and however it came
    fn rank_links(&mut self, now: Instant) {
        let until = now + self.config.patience;
        for link in self.links.values_mut().filter(|link| !link.is_outdated()) {
            let neighbour = self.neighbours.get(&link.grant.address);
            let is_neighbour = neighbour.is_some_and(|neighbour| neighbour.record.key == link.key);
            match link.standing {
                Standing::Neighbour if !is_neighbour && !mutant::is(Mutant::FormerNeighbourKept) => {
                    link.standing = Standing::Leaving { until, outdated: false }
                }
                Standing::Waiting { .. } if is_neighbour => {
                    link.standing = Standing::Neighbour;
                    // The other side may have waited for its own rewire just as long.
                    link.table_by = now + self.config.table_wait;
                }
                _ if is_neighbour => link.standing = Standing::Neighbour,
                _ => {}
            }
        }
    }

    fn expire_links(&mut self, now: Instant) {
        let due = |link: &Link| link.deadline().filter(|(at, _)| *at <= now).map(|(_, reason)| (link.id, reason));
        let expired: Vec<(LinkId, CloseReason)> = self.links.values().filter_map(due).collect();
        for (id, reason) in expired {
            self.close(now, id, reason);
        }
    }

    /// Of each peer's links keeps the best one, and a second one until a table was seen on the best
    fn close_duplicates(&mut self, now: Instant) {
        // Nearly always nobody has two links, and sorted keys show that without a map of them.
        let mut keys: Vec<&Key> = self.links.values().map(|link| &link.key).collect();
        keys.sort_unstable();
        if keys.is_sorted_by(|a, b| a < b) {
            return;
        }
        let mut by_key: BTreeMap<Key, Vec<&Link>> = BTreeMap::new();
        for link in self.links.values() {
            by_key.entry(link.key).or_default().push(link);
        }
        let losers: Vec<LinkId> = by_key.values().flat_map(|links| self.losers(links)).collect();
        for id in losers.into_iter().filter(|_| !mutant::is(Mutant::DuplicatesKept)) {
            self.note_replaced(now, id);
            self.close(now, id, CloseReason::Duplicate);
        }
    }

    /// The links of one peer that are to go; with no table on any of them two stay, as it is not known yet which of them
    /// the other side can use
    fn losers(&self, links: &[&Link]) -> Vec<LinkId> {
        let best = self.best(links.iter().copied());
        let others = || links.iter().copied().filter(|link| Some(link.id) != best.map(|best| best.id));
        // An older link carries until the best one is up, so that there is no gap.
        let second = match best {
            Some(best) if best.is_up() => None,
            _ => self.best(others().filter(|link| link.is_up())).or_else(|| self.best(others())),
        };
        others().filter(|link| Some(link.id) != second.map(|second| second.id)).map(|link| link.id).collect()
    }

    fn best<'a>(&self, mut links: impl Iterator<Item = &'a Link>) -> Option<&'a Link> {
        let first = links.next()?;
        let simultaneous = self.config.simultaneous;
        Some(links.fold(first, |best, link| if link.beats(best, &self.own, simultaneous) { link } else { best }))
    }

    /// A link counts from its first table on; only the change is an event
    fn greet_those_up(&mut self, now: Instant) {
        let mut events = Vec::new();
        for link in self.links.values_mut().filter(|link| link.is_up() && link.standing == Standing::Neighbour) {
            if link.up_since.is_none() {
                link.up_since = Some(now);
                events.extend(self.flaps.hold_back(now, link));
            }
            let Some(neighbour) = self.neighbours.get_mut(&link.grant.address) else { continue };
            let Some(since) = neighbour.on_up(now) else { continue };
            let (name, address) = (link.grant.name.clone(), link.grant.address);
            let (link, direction, after) = (link.id, link.direction, now - since);
            events.push(Event::LinkUp { link, name, address, direction, after });
        }
        events.into_iter().for_each(|event| self.event(event));
    }

    /// Old links wait no longer for a neighbour that had its time; it is dialled all the same
    fn give_up(&mut self, now: Instant) {
        let patience = self.config.patience;
        let mut events = Vec::new();
        for neighbour in self.neighbours.values_mut().filter(|neighbour| !neighbour.has_given_up) {
            if neighbour.trying.is_some_and(|since| now - since >= patience) {
                neighbour.has_given_up = true;
                let Record { name, address, .. } = neighbour.record.clone();
                events.push(Event::GaveUp { name, address, reason: neighbour.reason.clone() });
            }
        }
        events.into_iter().for_each(|event| self.event(event));
    }

    /// Make before break: the old ones go when each new one is up or had its time
    fn release_leaving(&mut self, now: Instant) {
        let is_settled = |neighbour: &Neighbour| neighbour.trying.is_none() || neighbour.has_given_up;
        if !self.neighbours.values().all(is_settled) && !mutant::is(Mutant::DropBeforeMake) {
            return;
        }
        let leaving = self.links.values().filter(|link| link.is_leaving());
        let leaving: Vec<(LinkId, bool)> = leaving.map(|link| (link.id, link.is_outdated())).collect();
        for (id, is_outdated) in leaving {
            self.close(now, id, if is_outdated { CloseReason::Moved } else { CloseReason::Rewired });
        }
    }

    /// Brings our table up to date: forwarding here knows it at once, neighbours when [`Self::tell_those_told`] says so
    fn tell_neighbours(&mut self, now: Instant) {
        let live = self.live_by_address();
        let table = OwnTable { entries: self.table_entries(&live), unseen: self.unseen_by(&live) };
        let is_other_link = live != self.live && !mutant::is(Mutant::LinkNotPublished);
        let is_other_table = table != *self.table;
        if is_other_table {
            self.table = Arc::new(table);
        }
        self.live = live;
        self.tell_those_told(now);
        self.tell_new_links();
        if std::mem::take(&mut self.are_views_changed) || is_other_table || is_other_link {
            self.outputs.push_back(NeighbourhoodOutput::RoutesChanged);
        }
    }

    /// What goes down is told at once, with all that waits; what is gained, only when more of it had time to come
    fn tell_those_told(&mut self, now: Instant) {
        // Most share one table, and are equal without being compared.
        let told = self.links.values().filter_map(|link| link.told.as_ref());
        let behind = told.filter(|told| **told != self.table);
        let Some(loses) = behind.map(|told| told.loses(&self.table)).reduce(|one, other| one || other) else {
            self.tell_at = None;
            return;
        };
        // The first gain sets the moment; further ones do not move it, or a stream of them would never be told.
        let at = *self.tell_at.get_or_insert(now + self.config.gather);
        if !loses && now < at {
            return;
        }
        self.tell_at = None;
        if !loses && mutant::is(Mutant::GainsNotTold) {
            return;
        }
        let epoch = self.epoch.unwrap_or_default();
        for link in self.links.values_mut().filter(|link| link.is_accepted()) {
            let Some(told) = &mut link.told else {
                link.told = mutant::is(Mutant::NewLinkOverlooked).then(|| self.table.clone());
                continue;
            };
            if let Some(frame) = told.news(epoch, &self.table) {
                self.outputs.push_back(NeighbourhoodOutput::Send { link: link.id, frame });
            }
            *told = self.table.clone();
        }
    }

    /// Tells new links at once: the first table says that we accept the link
    fn tell_new_links(&mut self) {
        let epoch = self.epoch.unwrap_or_default();
        for link in self.links.values_mut().filter(|link| link.is_accepted() && link.told.is_none()) {
            link.told = Some(self.table.clone());
            if !mutant::is(Mutant::TableNotSentOnOpen) {
                let frame = self.table.whole(epoch);
                self.outputs.push_back(NeighbourhoodOutput::Send { link: link.id, frame });
            }
        }
    }

    /// Whom we are parted from, and those of the own table with whom there was no link yet, in the order of addresses
    fn unseen_by(&self, live: &BTreeMap<Address, LinkId>) -> Vec<Address> {
        let strangers = self.neighbours.iter().filter(|(_, neighbour)| !neighbour.was_up && neighbour.is_sure());
        let strangers = strangers.map(|(address, _)| *address);
        // A guest, or a neighbour that leaves, may be linked to us all the same.
        let unseen = strangers.chain(self.apart.iter().copied()).filter(|address| !live.contains_key(address));
        let mut unseen: Vec<Address> = unseen.filter(|_| !mutant::is(Mutant::UnseenNotTold)).collect();
        unseen.sort_unstable();
        unseen.dedup();
        unseen
    }

    /// The own table, then the others that are linked to us for now; at the bound of a table the latter are left out
    fn table_entries(&self, live: &BTreeMap<Address, LinkId>) -> Vec<TableEntry> {
        let wanted = self.neighbours.values().filter(|neighbour| neighbour.is_sure()).map(|neighbour| {
            let Record { address, name, .. } = &neighbour.record;
            TableEntry { address: *address, up: live.contains_key(address), name: name.clone() }
        });
        let others = live.iter().filter(|(address, _)| !self.neighbours.contains_key(address));
        let others = others.filter_map(|(address, link)| {
            let name = self.links.get(link)?.grant.name.clone();
            Some(TableEntry { address: *address, up: true, name })
        });
        let mut entries: Vec<TableEntry> = wanted.chain(others).take(NEIGHBOURS_MAX).collect();
        entries.sort_by_key(|entry| entry.address);
        entries
    }

    /// The link in use of each place that has one: the best of those that are up
    fn live_by_address(&self) -> BTreeMap<Address, LinkId> {
        let mut live: BTreeMap<Address, LinkId> = BTreeMap::new();
        for link in self.links.values().filter(|link| link.is_up()) {
            let is_neighbour = self.is_neighbour(&link.key, link.address());
            // Another key that claims a neighbour's place has an old grant: the table is newer.
            if self.neighbours.contains_key(&link.address()) && !is_neighbour {
                continue;
            }
            let best = live.entry(link.address()).or_insert(link.id);
            let other = self.links.get(best);
            if other.is_some_and(|other| link.beats(other, &self.own, self.config.simultaneous)) {
                *best = link.id;
            }
        }
        live
    }

    /// Tells home only what still holds, so that one that was away hears of the present and not of the past
    fn tell_home(&mut self, now: Instant) {
        self.note_isolation(now);
        if !self.is_home_reachable {
            return;
        }
        let every = self.config.report_every;
        // Who is cut off itself, or too slow to dial, cannot say who is not to be reached.
        let says_nothing = self.is_cut_off || self.dials_rest(now);
        for neighbour in self.neighbours.values_mut().filter(|neighbour| neighbour.trying.is_some()) {
            let address = neighbour.record.address;
            if neighbour.is_lost && !neighbour.is_loss_reported {
                neighbour.is_loss_reported = true;
                self.outputs.push_back(NeighbourhoodOutput::Report(Report::LinkDown(address)));
            }
            if neighbour.report_at <= now && neighbour.has_failed() {
                neighbour.report_at = now + every;
                if !says_nothing {
                    self.outputs.push_back(NeighbourhoodOutput::Report(Report::Unreachable(address)));
                }
            }
        }
        if self.isolated.is_some_and(|at| at <= now) {
            self.isolated = Some(now + every);
            self.outputs.push_back(NeighbourhoodOutput::Report(Report::Isolated));
        }
    }

    /// Notes when the last link is gone, but not before one was up or all had their time: a peer that has just logged in
    /// is not isolated
    fn note_isolation(&mut self, now: Instant) {
        self.was_live |= !self.live.is_empty();
        let had_time = self.was_live || self.neighbours.values().all(|neighbour| neighbour.has_given_up);
        let is_linked = !self.live.is_empty() || mutant::is(Mutant::IsolationUnnoticed);
        if is_linked || self.neighbours.is_empty() || !had_time {
            self.isolated = None;
            if is_linked {
                self.end_cut_off(now);
            }
        } else if self.isolated.is_none() {
            self.isolated = Some(now);
            // Links that were closed with a word say that the network is there; so does the login of who never had one.
            let is_any_lost = self.neighbours.values().any(|neighbour| neighbour.is_lost);
            self.is_cut_off = is_any_lost && !mutant::is(Mutant::CutOffBlamesOthers);
            self.event(Event::Isolated);
        }
    }
}
