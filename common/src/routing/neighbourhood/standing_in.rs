//! Stand-ins: neighbours that are worked out here, by what can be heard, while there is no home to say who they are.
//!
//! They are wanted as those of the table are. But they are hearsay: until there is a link with one, over which its own
//! grant says who it is, nobody is told of it and no packet goes by it; and nothing is ever confirmed by one.

use std::collections::{BTreeMap, BTreeSet};

use super::Neighbourhood;
use super::link::{Link, Standing};
use super::neighbour::Neighbour;
use super::output::Event;
use crate::id::{Address, Key};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::session::{NEIGHBOURS_MAX, Record};

/// Who is in the mesh, as far as can be heard from here
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Those who have a link that is up with this peer or with a neighbour, or had one with a neighbour that is gone, and
    /// whom nobody has found gone
    pub(crate) members: BTreeSet<Address>,
    /// Those of them of whom somebody says that has a link with them
    pub(crate) up: BTreeSet<Address>,
    /// Those whom somebody has found gone, and nobody has a link with
    pub(crate) gone: BTreeSet<Address>,
    /// Those of them with whom this peer cannot link, though others can
    pub(crate) apart: BTreeSet<Address>,
}

/// What is said of one place, the surest last
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// A neighbour that is down had a link with it
    Told,
    /// A neighbour has found its link with it down
    Lost,
    /// A neighbour has a link with it
    Up,
}

impl Neighbourhood {
    /// From now on these are wanted besides the table: those of the present ones that are in `kept`, and the new ones
    ///
    /// A stand-in that is linked stays in any case: two peers that have heard different things would undo each other's
    /// links. At the bound of a table no more are taken. With a home nothing changes.
    pub(crate) fn handle_stand_ins(&mut self, now: Instant, kept: &BTreeSet<Address>, new: Vec<Record>) {
        if self.is_home_reachable || self.grant.is_none() {
            return;
        }
        let before = self.neighbours.len();
        let live = &self.live;
        let stays = |place: &Address| live.contains_key(place) || kept.contains(place);
        self.neighbours.retain(|place, neighbour| !neighbour.stands_in || stays(place));
        let is_less = self.neighbours.len() < before;
        let mut is_more = false;
        for record in new {
            let is_known = self.neighbours.values().any(|neighbour| neighbour.record.key == record.key);
            let is_own = record.key == self.own || Some(record.address) == self.own_address();
            let is_full = self.neighbours.len() >= NEIGHBOURS_MAX;
            if is_known || is_own || is_full || self.neighbours.contains_key(&record.address) {
                continue;
            }
            is_more = true;
            self.event(Event::StandsIn { name: record.name.clone(), address: record.address });
            let neighbour = Neighbour::new(now, record, self.config.patience);
            self.neighbours.insert(neighbour.record.address, Neighbour { stands_in: true, ..neighbour });
        }
        if is_less || is_more {
            self.are_views_changed = true;
            self.settle(now);
        }
    }

    /// Home says who the neighbours are: whoever it does not name is like a former neighbour
    pub(super) fn dismiss_stand_ins(&mut self) {
        self.neighbours.retain(|_, neighbour| !neighbour.stands_in);
    }

    /// Stand-ins that had their time and have no link
    pub(crate) fn failed_stand_ins(&self) -> impl Iterator<Item = Address> {
        let failed = self.neighbours.values().filter(|neighbour| neighbour.stands_in && neighbour.has_given_up);
        failed.map(|neighbour| neighbour.record.address)
    }

    /// Whether there is a link with whoever is at this place, or one is sought
    pub(crate) fn is_wanted_or_linked(&self, place: Address) -> bool {
        self.neighbours.contains_key(&place) || self.live.contains_key(&place)
    }

    /// Where those in the table can be dialled, and of the stand-ins those that have proved who they are
    pub(crate) fn record_at(&self, place: Address) -> Option<&Record> {
        self.neighbours.get(&place).filter(|neighbour| neighbour.is_sure()).map(|neighbour| &neighbour.record)
    }

    /// The links in use, each with the places that the other end has links with, up or not
    pub(crate) fn tables(&self) -> impl Iterator<Item = (LinkId, impl Iterator<Item = Address> + '_)> + '_ {
        let links = self.live.values().filter_map(|id| self.links.get(id));
        links.map(|link| {
            let table = link.table.iter().flat_map(|table| table.links.iter());
            (link.id, table.map(|(place, _)| *place))
        })
    }

    /// Who is in the mesh, as far as can be heard from here
    pub(crate) fn heard(&self) -> Heard {
        let mut words: BTreeMap<Address, Word> = BTreeMap::new();
        let mut say = |place: Address, word: Word| {
            let said = words.entry(place).or_insert(word);
            *said = word.max(*said);
        };
        for neighbour in self.neighbours.values() {
            let links = neighbour.last_table.iter().flat_map(|table| table.links.iter());
            links.filter(|(_, up)| *up).for_each(|(place, _)| say(*place, Word::Told));
        }
        for (address, link) in self.live.iter().filter_map(|(address, id)| Some((*address, self.links.get(id)?))) {
            say(address, Word::Up);
            let Some(table) = &link.table else { continue };
            for (place, up) in table.links.iter() {
                match up {
                    true => say(*place, Word::Up),
                    // Who never had a link with somebody has not found it gone.
                    false if !table.unseen.contains(place) => say(*place, Word::Lost),
                    false => {}
                }
            }
        }
        let mut heard = Heard { apart: self.apart.iter().copied().collect(), ..Heard::default() };
        for (place, word) in &words {
            let has_failed = self.neighbours.get(place).is_some_and(|neighbour| neighbour.has_given_up);
            if *word == Word::Up && has_failed {
                heard.apart.insert(*place);
            }
            if *word == Word::Up || (*word == Word::Told && !has_failed) || mutant::is(Mutant::GoneHeardAsHere) {
                heard.members.insert(*place);
            }
            match word {
                Word::Up => _ = heard.up.insert(*place),
                Word::Told if !has_failed => {}
                Word::Told | Word::Lost => _ = heard.gone.insert(*place),
            }
        }
        // Nobody has said a word of it yet, and it may be back in a moment.
        let silent = self.neighbours.iter().filter(|(place, neighbour)| {
            !words.contains_key(place) && !neighbour.has_given_up && neighbour.trying.is_some()
        });
        heard.members.extend(silent.map(|(place, _)| *place));
        let given_up = self.neighbours.iter().filter(|(_, neighbour)| neighbour.has_given_up).map(|(place, _)| *place);
        heard.gone.extend(given_up.filter(|place| !heard.up.contains(place)));
        heard.members.extend(self.own_address());
        heard
    }

    /// Whether the name in this grant is known near by as somebody else's: it may have been given free since
    pub(super) fn is_name_of_another(&self, grant: &Grant) -> bool {
        let Grant { name, key, address, .. } = grant;
        let is_own = self.grant.as_ref().is_some_and(|own| own.name == *name);
        let in_table = |neighbour: &Neighbour| neighbour.record.name == *name && neighbour.record.key != *key;
        let of_home = self.neighbours.values().filter(|neighbour| !neighbour.stands_in);
        is_own || of_home.into_iter().any(in_table) || self.links.values().any(|link| link.names(name, *address))
    }

    /// A link with a stand-in has shown its grant: what was heard of it counts no more
    pub(super) fn take_word_of(&mut self, key: &Key, grant: &Grant) {
        let stand_in = self.neighbours.get_mut(&grant.address).filter(|neighbour| neighbour.stands_in);
        if let Some(neighbour) = stand_in.filter(|neighbour| neighbour.record.key == *key) {
            neighbour.record.name = grant.name.clone();
            neighbour.record.epoch = grant.epoch;
        }
    }
}

impl Link {
    /// Whether a neighbour has a link that is up with a peer of this name at another place
    fn names(&self, name: &crate::id::Name, address: Address) -> bool {
        let tables = self.table.iter().filter(|_| self.standing == Standing::Neighbour);
        let mut known = tables.flat_map(|table| table.links.iter().zip(&table.names));
        known.any(|((place, up), known)| *up && known == name && *place != address)
    }
}

impl Neighbour {
    /// Whether home has said who it is, or it has itself
    pub(super) const fn is_sure(&self) -> bool {
        !self.stands_in || self.trying.is_none()
    }
}
