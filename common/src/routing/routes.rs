//! What a peer knows when it forwards: its own table, and its neighbours'.

use std::sync::{Arc, OnceLock};

use super::ball::{self, Cost};
use crate::id::{Address, Name, ShortId};
use crate::lift::Maps;
use crate::mutant::{self, Mutant};
use crate::wire::session::NEIGHBOURS_MAX;

/// One neighbour, as a peer sees it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourView {
    pub address: Address,
    /// Whether the link to it is up
    pub up: bool,
    /// Whether that link comes and goes, and is for others' packets only where no other way is left
    pub held: bool,
    /// What people call it
    pub name: Name,
    /// Its links, the one to ourselves among them, and whether each is up, as it said last; the first
    /// [`NEIGHBOURS_MAX`] count
    pub table: Arc<[(Address, bool)]>,
    /// Of whom it says nothing: it is parted from them, or had no link with them yet
    pub unseen: Arc<[Address]>,
}

/// An immutable snapshot of what a peer needs to forward
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    own: Address,
    degree: u8,
    members: u64,
    depth: u8,
    generation: u64,
    /// Sorted by address
    views: Vec<NeighbourView>,
    /// Of whom this peer can say nothing, in the order of addresses
    unseen: Arc<[Address]>,
    gaps: Gaps,
    reach: Later,
}

/// The members that two hops lead to
#[derive(Clone, Debug, Default)]
struct Reach {
    /// All to which a neighbour has a link that is up, in the order of addresses, this peer left out
    seconds: Vec<Address>,
    /// For each view, which of `seconds` it has a link to
    by_view: Vec<Vec<u16>>,
}

/// Worked out for the first packet that needs it: while a mesh is rewired, most snapshots are replaced before one comes
#[derive(Clone, Debug, Default)]
struct Later(OnceLock<Reach>);

/// Two snapshots are equal if what they were made of is: this follows from it
impl PartialEq for Later {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Later {}

impl Reach {
    fn of(own: Address, views: &[NeighbourView]) -> Self {
        let live = |view: &NeighbourView| {
            let table = view.table.iter().take(NEIGHBOURS_MAX);
            table.filter(|(to, up)| *up && *to != own).map(|(to, _)| *to).collect::<Vec<Address>>()
        };
        let mut seconds: Vec<Address> = views.iter().flat_map(live).collect();
        seconds.sort_unstable();
        seconds.dedup();
        // Indices of two bytes instead of addresses: a snapshot is kept for every change of a table.
        let index = |to: Address| seconds.binary_search(&to).ok().and_then(|at| u16::try_from(at).ok());
        let by_view = views.iter().map(|view| live(view).into_iter().filter_map(index).collect()).collect();
        Self { seconds, by_view }
    }
}

/// A neighbour as the next hop to some destination, with the best that its table offers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranked {
    /// Index among the views
    pub(super) via: u8,
    pub(super) up: bool,
    /// It has a link to the destination
    pub(super) knows: bool,
    /// It should have one, and misses it
    pub(super) misses: bool,
    /// Its table offers more than `seconds`
    pub(super) more: bool,
    /// The cheapest second hops and the cost of going by them, cheapest first; [`Cost::MAX`]: none
    pub(super) seconds: [(ShortId, Cost); SECONDS],
}

/// Second hops remembered for each next hop: a packet rarely had all of three
pub(super) const SECONDS: usize = 3;

impl Ranked {
    /// No packet goes cheaper by this neighbour
    pub(super) const fn cost_min(&self) -> Cost {
        match (self.knows, self.misses, self.seconds) {
            (true, ..) => Cost::KNOWN,
            (_, true, _) => Cost::MISSED,
            (.., [(_, cheapest), ..]) => cheapest,
        }
    }
}

impl Routes {
    /// What the peer at `own` knows in a network of this degree and about `members` members
    ///
    /// `views` is its whole table, links that are down included: only so can it tell that nobody is between itself and
    /// those beside it on the ring. `generation` tells snapshots apart: larger than any that a cache used with this
    /// one has seen. Of more than [`NEIGHBOURS_MAX`] views the first in the order of addresses are taken.
    pub fn new(own: Address, degree: u8, members: u64, generation: u64, mut views: Vec<NeighbourView>) -> Self {
        views.retain(|view| view.address != own);
        views.sort_by_key(|view| view.address);
        views.dedup_by_key(|view| view.address);
        views.truncate(NEIGHBOURS_MAX);
        let gaps = Gaps::between(own, views.iter().map(|view| view.address));
        let depth = ball::depth(degree, members);
        let unseen = Arc::default();
        Self { own, degree, members, depth, generation, views, unseen, gaps, reach: Later::default() }
    }

    /// The same, of a peer that cannot say whether those in `unseen`, which are in the order of addresses, are there
    pub(crate) fn with_unseen(self, unseen: Arc<[Address]>) -> Self {
        Self { unseen, ..self }
    }

    /// The peer's own address
    pub const fn own(&self) -> Address {
        self.own
    }

    pub const fn degree(&self) -> u8 {
        self.degree
    }

    /// About how many members the ring has
    pub const fn members(&self) -> u64 {
        self.members
    }

    /// The number of this snapshot; a newer one has a larger number
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Of whom this peer cannot say whether they are there, in the order of addresses
    pub fn unseen(&self) -> &[Address] {
        &self.unseen
    }

    /// The neighbours in the order of their addresses
    pub fn views(&self) -> &[NeighbourView] {
        &self.views
    }

    /// The neighbour at `address`
    #[inline]
    pub fn view(&self, address: Address) -> Option<&NeighbourView> {
        self.views.binary_search_by_key(&address, |view| view.address).ok().and_then(|at| self.views.get(at))
    }

    /// The neighbour with this short id
    pub(crate) fn view_by_short(&self, short: ShortId) -> Option<&NeighbourView> {
        let at = self.views.partition_point(|view| view.address.short() < short);
        self.views.get(at).filter(|view| view.address.short() == short)
    }

    /// What the snapshot takes in memory, in bytes: itself and the room of all its lists and names
    pub fn memory_bytes(&self) -> usize {
        let room = |view: &NeighbourView| {
            let (table, unseen) = (view.table.len(), view.unseen.len());
            view.name.as_str().len() + table * size_of::<(Address, bool)>() + unseen * size_of::<Address>()
        };
        let views = self.views.capacity() * size_of::<NeighbourView>() + self.views.iter().map(room).sum::<usize>();
        let Reach { seconds, by_view } = self.reach();
        let seconds = seconds.capacity() * size_of::<Address>();
        let reach = by_view.iter().map(|reach| size_of::<Vec<u16>>() + reach.capacity() * size_of::<u16>());
        size_of::<Self>() + views + seconds + reach.sum::<usize>()
    }

    fn reach(&self) -> &Reach {
        self.reach.0.get_or_init(|| Reach::of(self.own, &self.views))
    }

    /// How deep the ball of a destination is in a network of this size
    pub(super) const fn depth(&self) -> u8 {
        self.depth
    }

    /// Whether this peer should have a link to `destination`, whose `view` this is, and has none: its link is down, or
    /// nobody is there
    ///
    /// That it has none to a peer which it has never reached says nothing of that one.
    #[inline]
    pub(super) fn misses(&self, destination: Address, view: Option<&NeighbourView>) -> bool {
        let has_none = view.map_or_else(|| self.gaps.contain(self.own, destination), |view| !view.up);
        has_none && !is_among(&self.unseen, destination)
    }

    /// Every neighbour that offers a way to `destination`, cheapest first, by second hops that are `eligible`
    ///
    /// Links that are down are ranked by what their ends last said, so that a packet can note who would have been it.
    pub(super) fn rank(&self, destination: Address, depth: u8, eligible: impl Fn(ShortId) -> bool) -> Box<[Ranked]> {
        let maps = Maps::of_degree(self.degree);
        let Reach { seconds, by_view } = self.reach();
        let costs = ball::costs(seconds, maps, destination.0, depth, self.members);
        let mut ranked: Vec<Ranked> = Vec::with_capacity(self.views.len());
        for (via, (view, reach)) in self.views.iter().zip(by_view).enumerate() {
            let misses = view.misses(destination);
            let up = view.up || mutant::is(Mutant::DownLinkRanked);
            let mut entry = Ranked { via: via as u8, up, knows: false, misses, more: false, seconds: [NONE; SECONDS] };
            for at in reach.iter().map(|at| usize::from(*at)) {
                let (Some(second), Some(cost)) = (seconds.get(at), costs.get(at)) else { continue };
                if *second == destination {
                    entry.knows = true;
                } else if eligible(second.short()) {
                    entry.more |= keep_cheapest(&mut entry.seconds, (second.short(), *cost));
                }
            }
            if view.address != destination && entry.cost_min() < Cost::MAX {
                ranked.push(entry);
            }
        }
        ranked.sort_by_key(|entry| (entry.cost_min(), entry.via));
        ranked.into_boxed_slice()
    }
}

/// How far it is from a peer to its neighbours on both sides of the ring: nobody is between; zero: not known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gaps {
    before: u64,
    after: u64,
}

impl Gaps {
    fn between(own: Address, table: impl Iterator<Item = Address> + Clone) -> Self {
        let others = table.filter(|other| *other != own);
        let before = others.clone().map(|other| own.0.wrapping_sub(other.0)).min();
        let after = others.map(|other| other.0.wrapping_sub(own.0)).min();
        Self { before: before.unwrap_or(0), after: after.unwrap_or(0) }
    }

    #[inline]
    const fn contain(&self, own: Address, place: Address) -> bool {
        place.0.wrapping_sub(own.0) < self.after || own.0.wrapping_sub(place.0) < self.before
    }
}

impl NeighbourView {
    /// Whether the link to `own` is the last one that is up, as it said last
    pub(super) fn hangs_by(&self, own: Address) -> bool {
        let mut up = self.table.iter().filter(|(_, up)| *up);
        up.next().is_some_and(|(to, _)| *to == own) && up.next().is_none()
    }

    /// Whether it says that it should have a link to `destination` and has none; a silent one says nothing
    fn misses(&self, destination: Address) -> bool {
        if !self.up || is_among(&self.unseen, destination) {
            return false;
        }
        // Either its table has the destination with a link that is down, or the destination would lie between it and
        // those beside it on the ring, where a member would have to be its neighbour.
        match self.table.iter().find(|(to, _)| *to == destination) {
            Some((_, up)) => !up,
            None => {
                Gaps::between(self.address, self.table.iter().map(|(to, _)| *to)).contain(self.address, destination)
            }
        }
    }
}

/// Whether a peer that says nothing of those in `unseen`, which are in their order, says nothing of `destination`
#[inline]
fn is_among(unseen: &[Address], destination: Address) -> bool {
    unseen.binary_search(&destination).is_ok() && !mutant::is(Mutant::StrangerIsWitness)
}

const NONE: (ShortId, Cost) = (ShortId(0), Cost::MAX);

/// Puts `second` into its place among the cheapest; whether one fell out at the end
fn keep_cheapest(cheapest: &mut [(ShortId, Cost); SECONDS], mut second: (ShortId, Cost)) -> bool {
    for kept in cheapest {
        if second.1 < kept.1 {
            std::mem::swap(kept, &mut second);
        }
    }
    second.1 < Cost::MAX
}
