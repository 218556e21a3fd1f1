//! Which links a peer holds, and what its neighbours' tables say.
//!
//! The supernodes decide who is a neighbour ([`Rewire`]); this core makes it so. After every input it compares what is
//! with what should be and does the next thing about each difference, so no order of inputs leaves it stuck.
//!
//! * **Rewires** count by epoch: an equal or smaller one changes nothing, one of another incarnation everything. New links
//!   are opened first; old ones are closed when each new one is up or has had [`NeighbourhoodConfig::patience`].
//! * **Up** means that both sides accepted the link: each says so by its [`Table`]. A link without one is closed.
//! * **Cut off**: while all links are down and home says nothing, that others cannot be reached says nothing of them;
//!   they have their whole patience again when the first link, or home, is back.
//! * **Unseen** are those in the table with whom there was no link yet, and those we are parted from: neighbours are told
//!   that we cannot say whether they are there.
//! * **Down** is told to all neighbours and to home at once, and dialled again with backoff while it is in the table.
//! * **Gains**, new members of the table and links that are up, are told once in [`NeighbourhoodConfig::gather`], or with
//!   what is lost: each of twenty links that open together would else be told over all the others.
//! * **Two links** with one peer: the larger session, then the larger boot; of dials that crossed the smaller key's,
//!   else the newer. The other is closed after a table was seen on the one that stays, so there is no gap.
//! * **Held back** is a link that comes and goes, until it has lasted: `flaps` says for how long.
//! * **Unknown peers** with a good grant wait for a rewire that makes them neighbours; with no home reachable they are
//!   accepted as guests, and asked again who they are when home is back.
//! * **Stand-ins** are wanted besides the table while no home is reachable: whoever wires the cores works them out. With
//!   the next login they are none any more.
//! * **Our own address** stands in the grant that our hello shows. When it changes, every link shows the other side an
//!   address that is ours no longer: all are opened anew (the shell must show the new grant before it dials), and the
//!   old ones are closed as after a rewire. A link that still shows the old grant is refused by the other side and
//!   dialled again, so a race between the two heals by itself.
//!
//! Bounds: [`DIALS_MAX`] dials in flight; [`LINKS_MAX`] links, of which [`WAITING_MAX`] wait as unknown, and two a peer. At the bound a new link takes
//! the place of one that is worth less (unknown < guest < leaving < neighbour), or is refused with 429. Outputs are
//! bounded by the links and neighbours there are, if they are drained after every input, as they must be.

mod config;
mod dialling;
mod flaps;
mod home;
mod link;
mod neighbour;
mod output;
mod own_table;
mod rewire;
mod settle;
mod standing_in;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use self::config::NeighbourhoodConfig;
pub use self::dialling::DIALS_MAX;
pub use self::output::{
    CloseReason, Event, IgnoreReason, LinkStatus, NeighbourStatus, NeighbourhoodOutput, Opened, RewireFault,
    UpsetReason,
};

use self::flaps::Flaps;
use self::link::{Link, News, Standing};
use self::neighbour::{Dial, Failure, Neighbour};
use self::own_table::OwnTable;
use crate::id::{Address, Epoch, Key};
use crate::link::rest::Rest;
use crate::link::{Direction, LinkEnd, LinkId};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::link::{Delta, Table};
use crate::wire::session::{NEIGHBOURS_MAX, Reason, Rewire};
use crate::wire::{Frame, FrameKind};

/// A link is stable that lasts so many times as long as its peer was not dialled before: of its time at most a fifth is
/// lost
const STABLE_WAITS: u32 = 4;

/// Links at most, whatever they are for: as many as a table may have
pub const LINKS_MAX: usize = NEIGHBOURS_MAX;
/// Links at most whose peers are unknown and wait for a rewire; one more is refused with 429
pub const WAITING_MAX: usize = 16;

/// The links of one peer
#[derive(Debug)]
pub struct Neighbourhood {
    own: Key,
    config: NeighbourhoodConfig,
    rng: ChaCha8Rng,
    grant: Option<Grant>,
    epoch: Option<Epoch>,
    members: u64,
    degree: u8,
    is_home_reachable: bool,
    /// The own table, by places
    neighbours: BTreeMap<Address, Neighbour>,
    links: BTreeMap<LinkId, Link>,
    links_opened: u64,
    /// Whom we are parted from, by the last rewire
    apart: Vec<Address>,
    /// Our table as neighbours are told it
    table: Arc<OwnTable>,
    /// When the neighbours that do not know all of it are told
    tell_at: Option<Instant>,
    /// The link in use of each place that has one
    live: BTreeMap<Address, LinkId>,
    /// Dials that are not over, each with when it is in any case; some are of peers that have left the table since
    in_flight: BTreeMap<Key, Instant>,
    flaps: Flaps,
    /// Between dials, as this process may be short of a processor
    rest: Rest,
    are_views_changed: bool,
    /// Whether a link was up since the login
    was_live: bool,
    /// While all links are down: when to report it next
    isolated: Option<Instant>,
    /// All links went down, and neither home nor a link has said a word since: what fails meanwhile says nothing of
    /// others
    is_cut_off: bool,
    /// When something is to be done next
    due: Option<Instant>,
    outputs: VecDeque<NeighbourhoodOutput>,
}

impl Neighbourhood {
    /// A peer that is not logged in; `seed` is for jitter
    pub fn new(own: Key, config: NeighbourhoodConfig, seed: u64) -> Self {
        Self {
            own,
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            grant: None,
            epoch: None,
            members: 0,
            degree: 0,
            is_home_reachable: false,
            neighbours: BTreeMap::new(),
            links: BTreeMap::new(),
            links_opened: 0,
            apart: Vec::new(),
            table: Arc::default(),
            tell_at: None,
            live: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            flaps: Flaps::default(),
            rest: Rest::new(dialling::REST_MAX),
            are_views_changed: false,
            was_live: false,
            isolated: None,
            is_cut_off: false,
            due: None,
            outputs: VecDeque::new(),
        }
    }

    /// A new table; ignored if its epoch is no larger than the last one's, or without a session
    ///
    /// One of another incarnation comes with a login only, which the session's core sees to.
    pub(crate) fn handle_rewire(&mut self, now: Instant, rewire: &Rewire) {
        self.apply(now, rewire, UpsetReason::Rewire);
        // Whatever it says, also if it is the answer to our isolation and says nothing new: the way to home is open.
        self.end_cut_off(now);
        self.settle(now);
    }

    /// The session is over: all links are closed with 410 and the table is empty
    ///
    /// The last epoch is kept, so that nothing older of its incarnation is ever applied.
    pub fn handle_logout(&mut self, now: Instant) {
        self.neighbours.clear();
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(now, link, CloseReason::LoggedOut);
        }
        (self.grant, self.is_home_reachable, self.was_live) = (None, false, false);
        (self.isolated, self.is_cut_off, self.apart) = (None, false, Vec::new());
        self.are_views_changed = true;
        self.settle(now);
    }

    /// A link's hellos have been exchanged: it is accepted, made to wait, or closed with a reason
    pub fn handle_link_opened(&mut self, now: Instant, opened: Opened) {
        self.on_opened(now, opened);
        self.settle(now);
    }

    /// Any frame between neighbours that is not forwarding's or liveness's; unexpected kinds change nothing
    pub fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        match frame {
            Frame::Table(table) => self.handle_table(now, link, table),
            Frame::Delta(delta) => self.handle_delta(now, link, &delta),
            other => self.ignore_frame(link, other.kind(), IgnoreReason::UnexpectedKind),
        }
    }

    /// A neighbour's whole table; ignored if its epoch is smaller than the last one's on this link
    pub(crate) fn handle_table(&mut self, now: Instant, link: LinkId, table: Table) {
        let is_first = self.links.get(&link).is_some_and(|link| link.table.is_none());
        self.on_table(link, table);
        if is_first {
            self.settle(now);
        } else {
            self.settle_views(now);
        }
    }

    /// A neighbour's links went up or down; changes to links that its table does not have are ignored
    pub(crate) fn handle_delta(&mut self, now: Instant, link: LinkId, delta: &Delta) {
        self.on_delta(link, delta);
        self.settle_views(now);
    }

    /// A link ended, not by an [`NeighbourhoodOutput::Close`]; unknown links (closed by us a moment ago) are ignored silently
    pub(crate) fn handle_link_closed(&mut self, now: Instant, link: LinkId, end: LinkEnd) {
        self.remove_link(now, link, end);
        self.settle(now);
    }

    /// These keys were removed from the network: they are in no table any more, and their links end
    pub(crate) fn handle_removed(&mut self, now: Instant, keys: &[Key]) {
        if mutant::is(Mutant::RemovedLinkKept) {
            return;
        }
        self.neighbours.retain(|_, neighbour| !keys.contains(&neighbour.record.key));
        let links = self.links.values().filter(|link| keys.contains(&link.key));
        for link in links.map(|link| link.id).collect::<Vec<_>>() {
            self.close(now, link, CloseReason::Removed);
        }
        self.are_views_changed = true;
        self.settle(now);
    }

    /// Time has passed; before [`Self::next_timeout`] that changes nothing
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.settle(now);
    }

    /// What is to be done next; drain after every input
    pub fn poll_output(&mut self) -> Option<NeighbourhoodOutput> {
        self.outputs.pop_front()
    }

    fn on_opened(&mut self, now: Instant, opened: Opened) {
        let (id, key) = (opened.link, opened.key);
        if self.links.contains_key(&id) {
            return self.event(Event::LinkIgnored { link: id, reason: IgnoreReason::LinkInUse });
        }
        if opened.direction == Direction::Outgoing {
            self.in_flight.remove(&key);
        }
        self.on_reached(now, &key, opened.direction);
        let direction = opened.direction;
        self.links_opened += 1;
        match self.admit(now, opened) {
            Ok(link) => {
                self.links.insert(id, link);
            }
            Err(reason) => {
                // This counts as a failure, or we would dial at once again what we have just refused.
                if direction == Direction::Outgoing {
                    self.on_failure(&key, Failure::Answer, Reason::truncated(&reason.to_string()));
                }
                self.refuse(id, key, reason);
            }
        }
    }

    fn on_reached(&mut self, now: Instant, key: &Key, direction: Direction) {
        let patience = self.config.patience;
        for neighbour in self.neighbours.values_mut().filter(|neighbour| neighbour.record.key == *key) {
            neighbour.on_reached(now, patience);
            if direction == Direction::Outgoing {
                neighbour.dial = Dial::Idle;
            }
        }
    }

    /// The link as it begins, with room made for it, or why it is refused
    fn admit(&mut self, now: Instant, opened: Opened) -> Result<Link, CloseReason> {
        if self.grant.is_none() {
            return Err(CloseReason::NotLoggedIn);
        }
        let grant = opened.grant.clone().filter(|grant| grant.key == opened.key && grant.key != self.own);
        let grant = grant.ok_or(CloseReason::NoGrant)?;
        if Some(grant.address) == self.own_address() {
            // Its grant is of an older session: our place was its own before.
            return Err(CloseReason::NotANeighbour);
        }
        let standing = self.standing(now, &opened, &grant)?;
        self.take_word_of(&opened.key, &grant);
        let link = Link::new(now, opened, grant, standing, self.links_opened, self.config.table_wait);
        self.make_room(now, &link)?;
        match standing {
            Standing::Waiting { .. } => {
                let (name, address) = (link.grant.name.clone(), link.address());
                self.event(Event::UnknownPeerWaited { link: link.id, name, address });
            }
            Standing::Guest { .. } => self.event(link.accepted_as_guest()),
            _ => {}
        }
        Ok(link)
    }

    fn standing(&self, now: Instant, opened: &Opened, grant: &Grant) -> Result<Standing, CloseReason> {
        let is_known = self.neighbours.values().any(|neighbour| neighbour.record.key == opened.key);
        if self.is_neighbour(&opened.key, grant.address) {
            Ok(Standing::Neighbour)
        } else if opened.direction == Direction::Outgoing && !is_known {
            // It was in the table when it was dialled.
            Err(CloseReason::NotANeighbour)
        } else if !self.is_home_reachable {
            let standing = Standing::Guest { until: None };
            if self.is_name_of_another(grant) { Err(CloseReason::OthersName) } else { Ok(standing) }
        } else if self.links.values().filter(|link| !link.is_accepted()).count() >= WAITING_MAX {
            Err(CloseReason::TooMany)
        } else {
            Ok(Standing::Waiting { until: now + self.config.unknown_wait })
        }
    }

    fn is_neighbour(&self, key: &Key, address: Address) -> bool {
        self.neighbours.get(&address).is_some_and(|neighbour| neighbour.record.key == *key)
    }

    /// At the bound, closes the link that is worth least, if `new` is worth more
    fn make_room(&mut self, now: Instant, new: &Link) -> Result<(), CloseReason> {
        if self.links.len() < LINKS_MAX {
            return Ok(());
        }
        let worth = |link: &Link| (link.standing.worth(), link.order);
        let least = self.links.values().filter(|link| link.standing.worth() < new.standing.worth());
        if let Some(least) = least.min_by_key(|link| worth(link)).map(|link| link.id) {
            self.close(now, least, CloseReason::TooMany);
            return Ok(());
        }
        let older = self.links.values().find(|link| link.key == new.key).ok_or(CloseReason::TooMany)?;
        if !new.beats(older, &self.own, self.config.simultaneous) {
            return Err(CloseReason::Duplicate);
        }
        self.close(now, older.id, CloseReason::Duplicate);
        Ok(())
    }

    fn on_table(&mut self, id: LinkId, table: Table) {
        match self.links.get_mut(&id).ok_or(IgnoreReason::UnknownLink).and_then(|link| link.on_table(table)) {
            Ok(news) => self.on_news(id, news),
            Err(reason) => self.ignore_frame(id, FrameKind::Table, reason),
        }
    }

    fn on_delta(&mut self, id: LinkId, delta: &Delta) {
        match self.links.get_mut(&id).ok_or(IgnoreReason::UnknownLink).and_then(|link| link.on_delta(delta)) {
            Ok(news) => {
                let is_changed = news.is_changed && !mutant::is(Mutant::DeltaNotPublished);
                self.on_news(id, News { is_changed, ..news });
                if news.unknown > 0 {
                    self.ignore_frame(id, FrameKind::Delta, IgnoreReason::UnknownAddress);
                }
            }
            Err(reason) => self.ignore_frame(id, FrameKind::Delta, reason),
        }
    }

    /// A neighbour's table is another one now
    fn on_news(&mut self, id: LinkId, news: News) {
        self.are_views_changed |= news.is_changed;
        let of = self.links.get(&id).map(Link::address).filter(|address| self.live.get(address) == Some(&id));
        if let Some(neighbour) = of.filter(|_| news.loses) {
            // Routes go first: what is sent again is not to take the same way.
            if std::mem::take(&mut self.are_views_changed) {
                self.outputs.push_back(NeighbourhoodOutput::RoutesChanged);
            }
            self.outputs.push_back(NeighbourhoodOutput::LossBeyond { neighbour });
        }
    }

    /// Forgets a link that the other side, or the network, ended
    fn remove_link(&mut self, now: Instant, id: LinkId, end: LinkEnd) {
        let Some(link) = self.links.remove(&id) else { return };
        self.note_end(now, &link, matches!(end, LinkEnd::Lost(_)));
        if let LinkEnd::Bye(Status::Conflict, _) = end
            && self.inherit(now, &link)
        {
            return;
        }
        let mut others = self.links.values().filter(|other| other.key == link.key && !other.is_leaving());
        if link.is_leaving() || others.any(|other| other.is_up() && other.standing == Standing::Neighbour) {
            return;
        }
        if link.is_up() && link.standing == Standing::Neighbour {
            self.on_down(now, link, end);
        } else if !self.links.values().any(|other| other.key == link.key) {
            self.on_failure(&link.key, Failure::before_up(&end), end.reason());
        }
    }

    /// The last link with a neighbour is down
    fn on_down(&mut self, now: Instant, link: Link, end: LinkEnd) {
        let Some(neighbour) = self.neighbours.get_mut(&link.address()) else { return };
        // A link that lasts no longer than the wait for it comes and goes, and packets that it takes are lost.
        let stable_after = self.config.stable_after.max(neighbour.waited * STABLE_WAITS);
        let (is_stable, reason) = (link.is_stable(now, stable_after), end.reason());
        neighbour.last_table = link.table;
        neighbour.on_down(now, &end, is_stable, self.config.patience);
        self.event(Event::LinkDown { name: link.grant.name, address: link.grant.address, reason });
    }

    fn on_failure(&mut self, key: &Key, failure: Failure, reason: Reason) {
        if let Some(neighbour) = self.neighbours.values_mut().find(|neighbour| neighbour.record.key == *key) {
            neighbour.on_failure(failure, reason);
        }
    }

    /// The other side closed `old` because another link is in use: it has our table there, and its own, which may
    /// still be under way, is the one we had here. Whether there is such a link
    fn inherit(&mut self, now: Instant, old: &Link) -> bool {
        let same = |link: &&mut Link| link.key == old.key && link.address() == old.address() && !link.is_leaving();
        let Some(link) = self.links.values_mut().find(same) else { return false };
        if link.table.is_none() {
            link.table.clone_from(&old.table);
            link.up_since = old.up_since.map(|_| now);
            link.held_until = old.held_until;
        }
        true
    }

    /// Closes one of our links; what follows in `settle` looks after the neighbour that loses it
    fn close(&mut self, now: Instant, id: LinkId, reason: CloseReason) {
        let Some(key) = self.links.get(&id).map(|link| link.key) else { return };
        self.remove_link(now, id, LinkEnd::Bye(reason.status(), Reason::truncated(&reason.to_string())));
        self.refuse(id, key, reason);
    }

    fn refuse(&mut self, link: LinkId, key: Key, reason: CloseReason) {
        self.outputs.push_back(NeighbourhoodOutput::Close { link, status: reason.status(), reason });
        self.event(Event::LinkClosed { link, key, reason });
    }

    fn ignore_frame(&mut self, link: LinkId, kind: FrameKind, reason: IgnoreReason) {
        self.event(Event::FrameIgnored { link, kind, reason });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(NeighbourhoodOutput::Event(event));
    }
}
