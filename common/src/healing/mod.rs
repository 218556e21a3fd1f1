//! How the mesh heals while no supernode can be reached.
//!
//! Links that are lost leave gaps, and nobody says who stands in. So a peer that has been without a home for
//! [`HOMELESS_AFTER`] works its table out by itself: by the function by which supernodes do (`lift`), over the members that
//! it can hear of. Those are in its neighbours' tables, which it has anyway; what it lacks is who they are and where they
//! can be dialled, and that it asks its neighbours, before anybody is lost. Whoever it should have a link with and has
//! none is wanted as a *stand-in*, and takes this peer as a guest, by its grant.
//!
//! Who knows all members and pairs comes to the very tables of the directory. Who knows its neighbours' tables only does
//! so as well, as long as nobody is lost: the owner of a point is nearest among all, and so among those that are known.
//! Of those beside a lost peer its former neighbours know, as they had its table.
//!
//! A mesh may fall into parts, or the last neighbours of a peer be gone. So those count as members as well whom a supernode
//! told of once, and who are remembered with where they could be dialled, until somebody finds them gone.
//!
//! What neighbours say is not believed: a record only says whom to dial, and the key that must answer. Nobody who was
//! removed is dialled. When home is back its table counts, and the stand-ins go.
//!
//! Bounds: [`KNOWN_MAX`] records, beyond which only those are taken that are missing now; a question under way on each
//! link, and [`QUESTIONS_PER_LOOK`] new ones a second; answers as a bucket has them; as many failures as records.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Address, Key};
use crate::lift::{self, Maps};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::rate::Bucket;
use crate::removed::RemovedKeys;
use crate::ring::Ring;
use crate::routing::neighbourhood::Neighbourhood;
use crate::time::{Instant, doubled};
use crate::wire::bounded::Bounded;
use crate::wire::link::{AskRecords, RECORDS_MAX, Records};
use crate::wire::session::Record;

/// How long a peer is without a home before it looks after itself: another home is nearly always found sooner
pub const HOMELESS_AFTER: Duration = Duration::from_secs(3);
/// How often it looks then
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Records that are kept at most: the neighbours of the neighbours at degree 24, some 500 KiB of the longest
pub const KNOWN_MAX: usize = 1_024;
/// Questions that one look asks at most, each of another neighbour: the answers are some 20 KiB
pub const QUESTIONS_PER_LOOK: usize = 8;
/// How long an answer is waited for before the same neighbour is asked again
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a stand-in that could not be linked with counts as gone; doubled with each further failure
pub const FAILED_FOR: Duration = Duration::from_secs(60);
/// The longest such time: of a thousand who are remembered and gone two a second are dialled in vain
pub const FAILED_FOR_MAX: Duration = Duration::from_secs(480);
/// … and the longest for a peer that has no link at all: whoever it knows may have started again, and nobody can tell it. It
/// dials no more than a table of them, five times each, in that time
pub const FAILED_FOR_ALONE: Duration = Duration::from_secs(10);
/// How long a neighbour is not asked again for what it did not know
pub const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// Answers that neighbours get at once; beyond, silence: they ask somebody else
pub const ANSWERS_BURST: u32 = 32;
/// One more answer every so often: the longest has 8 KiB
pub const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// What one look came to
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whom to ask what
    pub(crate) questions: Vec<(LinkId, AskRecords)>,
    /// Of the present stand-ins those that are still wanted
    pub(crate) kept: BTreeSet<Address>,
    /// New ones
    pub(crate) new: Vec<Record>,
}

/// An answer that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ignored {
    /// There is a home that knows better
    #[error("there is a home to ask")]
    Needless,
    /// No question is under way on that link
    #[error("nobody has asked")]
    Unasked,
}

/// That a stand-in could not be linked with
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// How often in a row
    times: u32,
    at: Instant,
    /// Until when it counts as gone
    until: Instant,
}

impl Failure {
    /// Whether it still counts as gone for a peer that is alone, or is not
    fn counts(&self, now: Instant, is_alone: bool) -> bool {
        let until = if is_alone { self.until.min(self.at + FAILED_FOR_ALONE) } else { self.until };
        until > now
    }
}

/// What a peer does about its table while there is no home
#[derive(Debug)]
pub(crate) struct Healer {
    /// When to look next; none with a home, or without a session
    look_at: Option<Instant>,
    records: BTreeMap<Address, Record>,
    /// Who is to stand in, as far as it is not known who that is
    missing: BTreeSet<Address>,
    /// Stand-ins that could not be linked with
    failed: BTreeMap<Address, Failure>,
    /// Questions under way
    asked: BTreeMap<LinkId, (AskRecords, Instant)>,
    /// What was asked for in vain, and until when it is not asked for there again
    unknown: BTreeMap<(LinkId, Address), Instant>,
    answers: Bucket,
}

impl Default for Healer {
    fn default() -> Self {
        Self {
            look_at: None,
            records: BTreeMap::new(),
            missing: BTreeSet::new(),
            failed: BTreeMap::new(),
            asked: BTreeMap::new(),
            unknown: BTreeMap::new(),
            answers: Bucket::new(ANSWERS_BURST, ANSWER_INTERVAL),
        }
    }
}

impl Healer {
    /// The link to the supernode came, or went: then, if it does not come back soon, this peer looks after itself
    pub(crate) fn handle_home(&mut self, now: Instant, is_up: bool) {
        if is_up {
            *self = Self { answers: self.answers, ..Self::default() };
        } else if !mutant::is(Mutant::NoHealing) {
            self.look_at.get_or_insert(now + HOMELESS_AFTER);
        }
    }

    /// The session is over: there is nothing to heal
    pub(crate) fn handle_logout(&mut self) {
        *self = Self { answers: self.answers, ..Self::default() };
    }

    /// When to call [`Self::look`]
    pub(crate) const fn next_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks who is missing, if it is time; `remembered` are peers that a supernode or a neighbour has told of
    pub(crate) fn look<'a>(
        &mut self,
        now: Instant,
        neighbourhood: &Neighbourhood,
        removed: &RemovedKeys,
        remembered: impl Iterator<Item = &'a Record>,
    ) -> Option<Look> {
        self.look_at.filter(|at| *at <= now)?;
        self.look_at = Some(now + LOOK_EVERY);
        let own = neighbourhood.own_address()?;
        self.forget(now, neighbourhood, removed);
        let remembered: BTreeMap<Address, &Record> =
            remembered.filter(|record| !removed.contains(&record.key)).map(|record| (record.address, record)).collect();
        let table = self.table(now, own, neighbourhood, remembered.keys().copied());
        let mut look = Look::default();
        self.missing.clear();
        for place in table {
            look.kept.insert(place);
            match self.records.get(&place).or_else(|| remembered.get(&place).copied()) {
                _ if neighbourhood.is_wanted_or_linked(place) => {}
                Some(record) => look.new.push(record.clone()),
                None => _ = self.missing.insert(place),
            }
        }
        look.questions = self.questions(now, neighbourhood, own);
        Some(look)
    }

    /// What is over: failures, questions, and the records of those that were removed or could not be linked with
    fn forget(&mut self, now: Instant, neighbourhood: &Neighbourhood, removed: &RemovedKeys) {
        for place in neighbourhood.failed_stand_ins() {
            let times = self.failed.get(&place).map_or(0, |failure| failure.times);
            let until = now + doubled(FAILED_FOR, times, FAILED_FOR_MAX);
            self.failed.insert(place, Failure { at: now, until, times: times + 1 });
            // Somebody else may know another record of it, if there is anybody.
            if !is_alone(neighbourhood) {
                self.records.remove(&place);
            }
        }
        self.failed.retain(|place, _| neighbourhood.link_to(*place).is_none());
        while self.failed.len() > KNOWN_MAX
            && let Some(oldest) = self.failed.iter().min_by_key(|(_, failure)| failure.until).map(|(place, _)| *place)
        {
            self.failed.remove(&oldest);
        }
        let links: BTreeSet<LinkId> = neighbourhood.live_links().map(|(_, link)| link).collect();
        self.unknown.retain(|(link, _), until| *until > now && links.contains(link));
        let (over, under_way) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|(link, (_, until))| *until <= now || !links.contains(link));
        self.asked = under_way;
        let over: BTreeMap<LinkId, (AskRecords, Instant)> = over;
        for (link, (question, _)) in over {
            self.unknown.extend(question.places.iter().map(|place| ((link, *place), now + UNKNOWN_FOR)));
        }
        self.records.retain(|_, record| !removed.contains(&record.key));
    }

    /// The own table, over all that can be heard of, and those that are remembered
    fn table(
        &self,
        now: Instant,
        own: Address,
        neighbourhood: &Neighbourhood,
        remembered: impl Iterator<Item = Address>,
    ) -> Vec<Address> {
        let mut heard = neighbourhood.heard();
        // Whoever was in the network once may be in a part of it that nobody here has a link with.
        let once = remembered.filter(|place| !heard.gone.contains(place));
        heard.members.extend(once.filter(|_| !mutant::is(Mutant::PartsForgotten)));
        let is_alone = is_alone(neighbourhood);
        for (place, _) in self.failed.iter().filter(|(_, failure)| failure.counts(now, is_alone)) {
            if heard.up.contains(place) {
                heard.apart.insert(*place);
            } else {
                heard.members.remove(place);
            }
        }
        let ring: Ring = heard.members.into_iter().collect();
        let apart: BTreeSet<_> = heard.apart.iter().flat_map(|other| [(own, *other), (*other, own)]).collect();
        table_of(own, &ring, neighbourhood.degree(), &apart)
    }

    /// Whom to ask: first for those that are missing, and who has a link with them; then ahead of time
    fn questions(&mut self, now: Instant, neighbourhood: &Neighbourhood, own: Address) -> Vec<(LinkId, AskRecords)> {
        let mut questions = Vec::new();
        for (link, table) in neighbourhood.tables() {
            if questions.len() >= QUESTIONS_PER_LOOK || self.asked.contains_key(&link) {
                continue;
            }
            let has_room = self.records.len() < KNOWN_MAX;
            let ahead: Vec<Address> = table.filter(|place| has_room && *place != own).collect();
            let (here, elsewhere): (Vec<Address>, Vec<Address>) =
                self.missing.iter().copied().partition(|place| ahead.contains(place));
            let sought = here.into_iter().chain(elsewhere).chain(ahead);
            let mut seen = BTreeSet::new();
            let is_sought = |place: &Address| {
                let is_known = self.records.contains_key(place) || neighbourhood.record_at(*place).is_some();
                !is_known && !self.unknown.contains_key(&(link, *place))
            };
            let places: Vec<Address> = sought.filter(is_sought).filter(|place| seen.insert(*place)).collect();
            if !places.is_empty() {
                let question = AskRecords { places: Bounded::truncated(places) };
                self.asked.insert(link, (question.clone(), now + ANSWER_WAIT));
                questions.push((link, question));
            }
        }
        questions
    }

    /// A neighbour's answer: records of those that it was asked for, of whom `own` is none
    ///
    /// # Errors
    /// [`Ignored`]; nothing has changed.
    pub(crate) fn handle_records(
        &mut self,
        now: Instant,
        link: LinkId,
        told: &Records,
        own: &Key,
    ) -> Result<(), Ignored> {
        if self.look_at.is_none() {
            return Err(Ignored::Needless);
        }
        let (question, _) = self.asked.remove(&link).ok_or(Ignored::Unasked)?;
        for place in &question.places {
            let record = told.records.iter().find(|record| record.address == *place && record.key != *own);
            match record {
                Some(record) => self.keep(*place, record),
                None => {
                    self.unknown.insert((link, *place), now + UNKNOWN_FOR);
                }
            }
        }
        self.look_at = Some(now);
        Ok(())
    }

    /// The first word counts until it has led to nobody, so that nobody can take it back
    fn keep(&mut self, place: Address, record: &Record) {
        if self.records.len() >= KNOWN_MAX {
            let needless = self.records.keys().find(|known| !self.missing.contains(known)).copied();
            match needless.filter(|_| self.missing.contains(&place)) {
                Some(needless) => _ = self.records.remove(&needless),
                None => return,
            }
        }
        self.records.entry(place).or_insert_with(|| record.clone());
    }

    /// What a neighbour that asks is told: as many records at most as it has asked for; `None` if answers have been too many
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        question: &AskRecords,
        neighbourhood: &Neighbourhood,
        removed: &RemovedKeys,
    ) -> Option<Records> {
        self.answers.take(now).ok()?;
        let places: BTreeSet<Address> = question.places.iter().copied().collect();
        let known = |place: Address| neighbourhood.record_at(place).or_else(|| self.records.get(&place));
        let records = places.into_iter().filter_map(known).filter(|record| !removed.contains(&record.key));
        Some(Records { records: Bounded::truncated(records.take(RECORDS_MAX).cloned()) })
    }
}

fn is_alone(neighbourhood: &Neighbourhood) -> bool {
    neighbourhood.live_links().next().is_none()
}

/// The neighbours of `own` among the members of `ring`, of whom it is one, as a supernode works them out
pub(crate) fn table_of(own: Address, ring: &Ring, degree: u8, pairs: &BTreeSet<(Address, Address)>) -> Vec<Address> {
    let mut table = lift::neighbours(ring, &Maps::of_degree(degree), own, pairs);
    if mutant::is(Mutant::HealsBesideOnly) {
        table.retain(|place| [ring.successor(own), ring.predecessor(own)].contains(&Some(*place)));
    }
    table
}
