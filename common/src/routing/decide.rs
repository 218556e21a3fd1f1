//! One packet, one decision.

use super::ball::Cost;
use super::cache::RouteCache;
use super::routes::{NeighbourView, Ranked, Routes};
use super::trail::{Arrival, DropReason, Trail};
use crate::id::{Address, ShortId};
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::content::{Cause, Choice};
use crate::wire::packet::{DEAD_MAX, ENTRIES_MAX, Edit, Header, Mark, Noted, PacketRef};

/// What becomes of a packet
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is for this peer
    Deliver,
    Forward {
        /// A neighbour whose link is up
        to: Address,
        edit: Edit,
        choice: Choice,
    },
    /// Nobody is left to try here: it goes back to the peer that it came from
    Back {
        /// To this peer, whose link was up when it was last heard of
        to: Address,
        edit: Edit,
    },
    /// It ends here, and its source is told
    Undeliverable { cause: Cause },
    /// It ends here in silence: its bytes are not to be believed
    Drop(DropReason),
}

/// Peers that find the destination gone after which a packet searches no more: one may have lost its own link only
const FINDINGS_MAX: usize = 2;
/// Dead forwarders that a packet notes at most: what [`DEAD_MAX`] leaves besides the destination
const DEAD_FORWARDERS_MAX: usize = DEAD_MAX - FINDINGS_MAX;

impl Routes {
    /// What becomes of `packet`, which came from the neighbour `from`; `None`: it is this peer's own, on its way out
    ///
    /// Warm (the destination was asked for since the tables changed) it takes some dozen nanoseconds and allocates
    /// nothing unless many links are down. What [`Decision::Forward`] and [`Decision::Back`] say can always be emitted.
    #[inline]
    pub fn decide(
        &self,
        cache: &mut RouteCache,
        packet: &PacketRef<'_>,
        from: Option<Address>,
        now: Instant,
    ) -> Decision {
        self.decide_avoiding(cache, packet, from, &[], now)
    }

    /// The source's own decision: where `packet`, which starts here, goes first
    ///
    /// Never by the first hops in `ended`, and by none of those in `avoid` if others do. Anything but
    /// [`Decision::Forward`] says that there is no way, or that the packet is for this peer itself. What comes back can
    /// always be emitted.
    #[inline]
    pub(super) fn first_hop(
        &self,
        cache: &mut RouteCache,
        packet: &PacketRef<'_>,
        avoid: &[Address],
        ended: &[Address],
        now: Instant,
    ) -> Decision {
        // Most packets avoid nobody and meet no link that has ended: then there are no lists to put together.
        if avoid.is_empty() {
            return self.decide_avoiding(cache, packet, None, ended, now);
        }
        let decision = self.decide_avoiding(cache, packet, None, &[avoid, ended].concat(), now);
        match decision {
            Decision::Forward { .. } => decision,
            // A first hop that failed before is better than none.
            _ => self.decide_avoiding(cache, packet, None, ended, now),
        }
    }

    #[inline]
    fn decide_avoiding(
        &self,
        cache: &mut RouteCache,
        packet: &PacketRef<'_>,
        from: Option<Address>,
        avoid: &[Address],
        now: Instant,
    ) -> Decision {
        let header = packet.header();
        let trail = Trail::read(packet, self.own().short());
        let arrival = match trail.arrival(header.source, self.own(), from) {
            Ok(arrival) => arrival,
            Err(reason) => return Decision::Drop(reason),
        };
        if header.destination == self.own() {
            return Decision::Deliver;
        }
        if header.ttl == 0 || trail.trailer.len() == ENTRIES_MAX {
            return Decision::Undeliverable { cause: Cause::TtlSpent };
        }
        // Its sender should have seen on the trailer that it was here: sent on, it could go in circles until its TTL
        // ends.
        if arrival == Arrival::Again {
            return Decision::Undeliverable { cause: Cause::NoCandidate };
        }
        let mut search = Search::new(self, trail, header, avoid);
        match search.next_hop(cache, arrival, now) {
            Next::Hop(view, choice) => Decision::Forward { to: view.address, edit: search.edit(arrival), choice },
            Next::DestinationDown => Decision::Undeliverable { cause: Cause::DestinationDown },
            Next::Nobody => search.back(arrival),
        }
    }
}

/// The end of a search here
enum Next<'a> {
    Hop(&'a NeighbourView, Choice),
    DestinationDown,
    Nobody,
}

/// The best of a ranking for one packet
enum Pick {
    Via(usize, Cost),
    DestinationDown,
    /// The packet had all that the ranking remembers of some neighbour
    Unsure,
    Nobody,
}

/// The search for one packet's next hop
struct Search<'a> {
    routes: &'a Routes,
    trail: Trail<'a>,
    destination: Address,
    source: Address,
    flow: u32,
    /// First hops that the source does not want to take again
    avoid: &'a [Address],
    /// Peers that were found dead here, and are noted on the packet when it goes on
    dead: Noted,
    /// Whether a neighbour gave the packet back
    is_back: bool,
    /// The address at which our table has the neighbour that gave it back, if it has another one now
    moved: Option<Address>,
    /// Nobody else is left: links that are held back may carry it, too
    takes_held: bool,
}

impl<'a> Search<'a> {
    #[inline]
    fn new(routes: &'a Routes, trail: Trail<'a>, header: &Header, avoid: &'a [Address]) -> Self {
        let (destination, source, flow) = (header.destination, header.source, header.flow());
        let (dead, is_back, moved, takes_held) = (Noted::new(), false, None, false);
        Self { routes, trail, destination, source, flow, avoid, dead, is_back, moved, takes_held }
    }

    #[inline]
    fn next_hop(&mut self, cache: &mut RouteCache, arrival: Arrival, now: Instant) -> Next<'a> {
        let destination = self.destination;
        let view = self.routes.view(destination);
        // A neighbour that gives a packet back and is not among the tried has another address now than our table says.
        // The old one is noted, so that the packet does not go there again when somebody else has given it back. The
        // note may be of a link that was down and is up by now: then another way is as good.
        let returned_by = if let Arrival::Returned(from) = arrival { Some(from) } else { None };
        self.is_back = returned_by.is_some();
        self.moved = returned_by.filter(|from| !self.trail.has_visited(from.short()));
        let has_moved = self.moved == Some(destination);
        if let Some(moved) = self.moved.filter(|moved| *moved != destination && self.room() > 0) {
            self.dead.push(moved.short());
        }
        let is_gone = has_moved || self.is_back && self.trail.has_noted(destination.short());
        let from = match arrival {
            Arrival::First(from) | Arrival::Returned(from) => Some(from),
            Arrival::Own | Arrival::Again => None,
        };
        if let Some(view) = view.filter(|view| view.up && !is_gone && !self.avoid.contains(&destination)) {
            // Whoever else has a link with it is the better way; but that one may come and go as well, and sends it on.
            let goes_around = view.held && arrival == Arrival::Own;
            let around = if goes_around { self.pick(cache, from, now) } else { Pick::Nobody };
            return match around {
                Pick::Via(at, Cost::KNOWN) => self.hop_by(at, Cost::KNOWN),
                _ => Next::Hop(view, Choice::Destination),
            };
        }
        // Each peer adds its finding once: when the packet comes back, it was added before.
        if has_moved || !self.is_back && self.routes.misses(destination, view) {
            self.note_destination();
            // Nobody else has a link with it who could be asked.
            if view.is_some_and(|view| view.hangs_by(self.routes.own())) {
                return Next::DestinationDown;
            }
        }
        if self.trail.notes >= FINDINGS_MAX && !mutant::is(Mutant::SecondFindingIgnored) {
            return Next::DestinationDown;
        }
        let mut pick = self.pick(cache, from, now);
        if matches!(pick, Pick::Unsure | Pick::Nobody) && self.routes.views().iter().any(|view| view.held) {
            self.takes_held = true;
            pick = self.pick(cache, from, now);
        }
        match pick {
            Pick::Via(at, cost) => self.hop_by(at, cost),
            Pick::DestinationDown => Next::DestinationDown,
            Pick::Unsure | Pick::Nobody => Next::Nobody,
        }
    }

    fn hop_by(&self, at: usize, cost: Cost) -> Next<'a> {
        let choice =
            if cost == Cost::KNOWN { Choice::KnowsDestination } else { Choice::NearestBall(cost.hundredths()) };
        self.routes.views().get(at).map_or(Next::Nobody, |view| Next::Hop(view, choice))
    }

    /// Notes that the destination is not where this peer should find it
    fn note_destination(&mut self) {
        if mutant::is(Mutant::DestinationNotNoted) {
            return;
        }
        self.trail.notes += 1;
        if self.trail.dead + self.dead.len() < DEAD_MAX && self.trail.trailer.len() + self.dead.len() + 1 < ENTRIES_MAX
        {
            self.dead.push(self.destination.short());
        }
    }

    #[inline]
    fn pick(&mut self, cache: &mut RouteCache, from: Option<Address>, now: Instant) -> Pick {
        let (destination, generation) = (self.destination, self.routes.generation());
        let pick = match cache.ranked(destination, generation) {
            Some(ranked) => self.pick_from(ranked),
            None => {
                let (ranked, whole) = self.rank(cache, from, now, |_| true);
                let pick = self.pick_from(&ranked);
                if whole {
                    cache.store(destination, generation, ranked);
                }
                pick
            }
        };
        if !matches!(pick, Pick::Unsure) {
            return pick;
        }
        // A ranking keeps the three best second hops of each neighbour. This packet had all three of one, so a ranking
        // is made for it alone, and not kept.
        let (trail, source) = (self.trail, self.source.short());
        let (ranked, _) = self.rank(cache, from, now, |second| second != source && trail.is_new(second));
        self.pick_from(&ranked)
    }

    /// Works a ranking out, and whether with the whole ball
    #[cold]
    fn rank(
        &self,
        cache: &mut RouteCache,
        from: Option<Address>,
        now: Instant,
        eligible: impl Fn(ShortId) -> bool,
    ) -> (Box<[Ranked]>, bool) {
        let whole = self.routes.depth();
        // A small ball still leads nearer to the destination, only by worse ways, and costs next to nothing.
        let depth = if cache.claim(self.routes, from, now) { whole } else { 1 };
        (self.routes.rank(self.destination, depth, eligible), depth == whole)
    }

    /// The cheapest neighbour of a ranking that this packet may go to; dead ones that would have been it are noted
    #[inline]
    fn pick_from(&mut self, ranked: &[Ranked]) -> Pick {
        loop {
            let (best, unsure) = self.cheapest(ranked);
            match best {
                Some((_, Cost::MISSED)) if self.is_given_up(ranked) => return Pick::DestinationDown,
                // An old ranking's bits are as old as itself, and not to be compared with what is so now.
                Some((entry, cost)) if entry.up || mutant::is(Mutant::StaleRanking) => {
                    return Pick::Via(usize::from(entry.via), cost);
                }
                Some((entry, _)) => self.dead.extend(self.view_of(entry).map(|view| view.address.short())),
                None if unsure => return Pick::Unsure,
                None => return Pick::Nobody,
            }
        }
    }

    /// Whether enough peers found that the destination is not there: those that noted it on the packet, and neighbours
    /// that have not had the packet, so that no peer counts twice
    ///
    /// What neighbours' tables say may be a moment old, so one must have found it at first hand.
    fn is_given_up(&self, ranked: &[Ranked]) -> bool {
        let missing = ranked.iter().filter(|entry| entry.misses).filter_map(|entry| self.view_of(entry));
        let unasked = missing.filter(|view| !self.trail.has_visited(view.address.short())).count();
        let has_two = self.trail.notes > 0 && self.trail.notes + unasked >= FINDINGS_MAX;
        has_two && !mutant::is(Mutant::SecondFindingIgnored)
    }

    #[inline]
    fn cheapest<'r>(&self, ranked: &'r [Ranked]) -> (Option<(&'r Ranked, Cost)>, bool) {
        let (mut best, mut unsure): (Option<(&Ranked, Cost)>, bool) = (None, false);
        for entry in ranked {
            // Entries are sorted by the least that they can cost, so nothing better follows.
            if best.is_some_and(|(_, cost)| cost < entry.cost_min()) {
                break;
            }
            let Some(view) = self.view_of(entry).filter(|view| self.may_go_by(view)) else { continue };
            let Some(cost) = self.cost_by(entry) else {
                unsure |= entry.more;
                continue;
            };
            let better = best.is_none_or(|(rival, least)| cost < least || cost == least && self.wins_tie(view, rival));
            if better {
                best = Some((entry, cost));
            }
        }
        (best, unsure)
    }

    #[inline]
    fn view_of(&self, entry: &Ranked) -> Option<&'a NeighbourView> {
        self.routes.views().get(usize::from(entry.via))
    }

    /// Whether the packet has not been there and, if its link is down, would note it
    #[inline]
    fn may_go_by(&self, view: &NeighbourView) -> bool {
        let short = view.address.short();
        let was_there = self.trail.has_visited(short) && !mutant::is(Mutant::ForwardToTried);
        if view.address == self.source || was_there || self.avoid.contains(&view.address) {
            return false;
        }
        // Our table may still call it up; the peers that the packet met since know better.
        if self.is_back && (self.moved == Some(view.address) || self.trail.has_noted(short)) {
            return false;
        }
        if view.held && !self.takes_held {
            return false;
        }
        view.up || self.room() > 0 && !self.dead.contains(&short) && !self.trail.has_noted(short)
    }

    /// What going by this neighbour costs this packet, as far as the ranking remembers
    #[inline]
    fn cost_by(&self, entry: &Ranked) -> Option<Cost> {
        if entry.knows {
            return Some(Cost::KNOWN);
        }
        if entry.misses {
            return Some(Cost::MISSED);
        }
        let source = self.source.short();
        let usable = |second: &ShortId| *second != source && self.trail.is_new(*second) && !self.dead.contains(second);
        let mut known = entry.seconds.iter().take_while(|(_, cost)| *cost < Cost::MAX);
        known.find(|(second, _)| usable(second)).map(|(_, cost)| *cost)
    }

    /// Whether `view` comes before `rival` in the order that this packet's flow makes of equal ways
    ///
    /// All packets of a flow take the same one, so that they keep their order; different flows spread over all of them.
    fn wins_tie(&self, view: &NeighbourView, rival: &Ranked) -> bool {
        // The finaliser of a common hash: flows that differ in one bit must draw different lots.
        let lot = |address: Address| {
            let mixed = (address.0 ^ u64::from(self.flow)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
        };
        self.view_of(rival).is_none_or(|rival| lot(view.address) < lot(rival.address))
    }

    /// How many more dead forwarders the packet may note; the end of the way needs an entry too
    fn room(&self) -> usize {
        let entries = (ENTRIES_MAX - 1).saturating_sub(self.trail.trailer.len() + self.dead.len());
        entries.min(DEAD_FORWARDERS_MAX.saturating_sub(self.trail.dead + self.dead.len()))
    }

    #[inline]
    fn edit(self, arrival: Arrival) -> Edit {
        let first = matches!(arrival, Arrival::First(_));
        let way = first.then(|| (Mark::Way, self.routes.own().short()));
        Edit { dead: self.dead, way, ..Edit::default() }
    }

    /// One hop back, if there is one
    fn back(self, arrival: Arrival) -> Decision {
        let own = self.routes.own().short();
        let (to, edit) = match arrival {
            // A supernode that relayed takes nothing back.
            Arrival::First(from) if !matches!(self.trail.last, Some((Mark::Relay, _))) => {
                let mark = if mutant::is(Mutant::StaysOnWay) { Mark::Way } else { Mark::Tried };
                (Some(from), Edit { way: Some((mark, own)), ..Edit::default() })
            }
            // This peer sent it on and has nobody else to try: it takes itself off the way.
            Arrival::Returned(_) if self.source != self.routes.own() => {
                let view = match self.trail.before {
                    None => self.routes.view(self.source),
                    Some((Mark::Relay, _)) => None,
                    Some((_, before)) => self.routes.view_by_short(before),
                };
                let edit = Edit { give_back: Some(own), ..Edit::default() };
                (view.filter(|view| view.up).map(|view| view.address), edit)
            }
            _ => (None, Edit::default()),
        };
        match to {
            Some(to) => Decision::Back { to, edit: Edit { dead: self.dead, ..edit } },
            None => Decision::Undeliverable { cause: Cause::NoCandidate },
        }
    }
}
