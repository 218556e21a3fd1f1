//! Which links a peer holds, and what its neighbours' tables say.
//!
//! The supernodes decide who is a neighbour ([`Rewire`]); this core makes it so. After every input it compares what is
//! with what should be and does the next thing about each difference, so no order of inputs leaves it stuck.
//!
//! * **Rewires** count by epoch: an equal or smaller one changes nothing. New links are opened first; old ones are
//!   closed when each new one is up or has had [`Config::patience`].
//! * **Up** means that both sides accepted the link: each says so by its [`Table`]. A link without one is closed.
//! * **Down** is told to all neighbours and to home at once, and dialled again with backoff while it is in the table.
//! * **Gains**, new members of the table and links that are up, are told once in [`Config::gather`], or with what is
//!   lost: each of twenty links that open together would else be told over all the others.
//! * **Two links** with one peer: the larger session, then the larger boot; of dials that crossed the smaller key's,
//!   else the newer. The other is closed after a table was seen on the one that stays, so there is no gap.
//! * **Unknown peers** with a good grant wait for a rewire that makes them neighbours; with no home reachable they are
//!   accepted as guests, and asked again who they are when home is back.
//! * **Our own address** stands in the grant that our hello shows. When it changes, every link shows the other side an
//!   address that is ours no longer: all are opened anew (the shell must show the new grant before it dials), and the
//!   old ones are closed as after a rewire. A link that still shows the old grant is refused by the other side and
//!   dialled again, so a race between the two heals by itself.
//!
//! Bounds: [`LINKS_MAX`] links, of which [`WAITING_MAX`] wait as unknown, and two a peer. At the bound a new link takes
//! the place of one that is worth less (unknown < guest < leaving < neighbour), or is refused with 429. Outputs are
//! bounded by the links and neighbours there are, if they are drained after every input, as they must be.

mod link;
mod neighbour;
mod output;
mod settle;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use self::output::{
    CloseReason, Event, IgnoreReason, LinkStatus, NeighbourStatus, Opened, Output, RewireFault, UpsetReason,
};

use self::link::{Link, RemoteTable, Standing};
use self::neighbour::{Dial, Neighbour};
use crate::id::{Address, Epoch, Key};
use crate::lift;
use crate::link::{Direction, LinkEnd, LinkId};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::link::{Delta, Table, TableEntry};
use crate::wire::session::{Reason, Record, Rewire};
use crate::wire::{Frame, FrameKind};

/// Links at most, whatever they are for: the largest table of a million peers has 36, and its successor as many
pub const LINKS_MAX: usize = 64;
/// Links at most whose peers are unknown and wait for a rewire; one more is refused with 429
pub const WAITING_MAX: usize = 16;

/// Time limits
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long old links wait for new ones, and a neighbour's hello is waited for before it is reported as
    /// unreachable (5 s: one lost SYN and a slow continent)
    pub patience: Duration,
    /// How long an unknown peer waits for a rewire that makes it a neighbour (3 s: below `patience`, so that the
    /// dialler learns of the refusal before it gives up)
    pub unknown_wait: Duration,
    /// By how much the larger key lets the smaller one dial first (0.3 s: a round trip round the world)
    pub head_start: Duration,
    /// Dials that opened within this of each other crossed (2 s: as `head_start`, with a lost SYN)
    pub simultaneous: Duration,
    /// The shortest backoff before a dial (0.2 s)
    pub redial_min: Duration,
    /// The longest (5 s)
    pub redial_max: Duration,
    /// A link that was up for so long is dialled again at once (5 s: below it, at once would be a loop)
    pub stable_after: Duration,
    /// How long an open link may be without a table (5 s)
    pub table_wait: Duration,
    /// How long the shell has for a dial: connect, handshake and hello at 5 s each, and a little (20 s)
    pub dial_max: Duration,
    /// How often an unreachable neighbour, or isolation, is reported while it lasts, as a report may be lost (10 s)
    pub report_every: Duration,
    /// How long what is gained waits to be told with what else is gained, so that a peer whose table changes with each
    /// of many joins does not send it to everybody each time (50 ms: what a link takes to open, and nobody is short of
    /// a way meanwhile, as all that is lost is told at once)
    pub gather: Duration,
    /// A timeout handled later than this after it was due shows that this process was held up, not the peers (0.5 s)
    pub late_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            unknown_wait: Duration::from_secs(3),
            head_start: Duration::from_millis(300),
            simultaneous: Duration::from_secs(2),
            redial_min: Duration::from_millis(200),
            redial_max: Duration::from_secs(5),
            stable_after: Duration::from_secs(5),
            table_wait: Duration::from_secs(5),
            dial_max: Duration::from_secs(20),
            report_every: Duration::from_secs(10),
            gather: Duration::from_millis(50),
            late_after: Duration::from_millis(500),
        }
    }
}

/// The links of one peer
#[derive(Debug)]
pub struct Neighbourhood {
    own: Key,
    config: Config,
    rng: ChaCha8Rng,
    grant: Option<Grant>,
    epoch: Option<Epoch>,
    members: u64,
    degree: u8,
    is_home_reachable: bool,
    /// The own table
    neighbours: BTreeMap<Address, Neighbour>,
    links: BTreeMap<LinkId, Link>,
    links_opened: u64,
    /// What there is to tell of us
    entries: Arc<[TableEntry]>,
    /// When those who do not know all of it are told
    tell_at: Option<Instant>,
    live: BTreeMap<Address, LinkId>,
    are_views_changed: bool,
    /// Whether a link was up since the login
    was_live: bool,
    /// All links are down; when to report it next
    isolated: Option<Instant>,
    /// When something is to be done next
    due: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Neighbourhood {
    /// A peer that is not logged in; `seed` is for jitter
    pub fn new(own: Key, config: Config, seed: u64) -> Self {
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
            entries: Arc::default(),
            tell_at: None,
            live: BTreeMap::new(),
            are_views_changed: false,
            was_live: false,
            isolated: None,
            due: None,
            outputs: VecDeque::new(),
        }
    }

    /// A login, or a session taken up again, with the table to begin with; home is reachable
    ///
    /// With another address than before, every link is opened anew. A grant for another key changes nothing.
    pub fn handle_login(&mut self, now: Instant, grant: &Grant, rewire: &Rewire) {
        self.check_lateness(now);
        if grant.key != self.own {
            return self.event(Event::RewireIgnored { epoch: rewire.epoch, reason: RewireFault::OtherKey });
        }
        let is_moved = self.grant.as_ref().is_some_and(|old| old.address != grant.address);
        self.grant = Some(grant.clone());
        self.are_views_changed = true;
        if is_moved {
            self.outdate_links(now);
        }
        self.apply(now, rewire, if is_moved { UpsetReason::OwnAddressChanged } else { UpsetReason::Rewire });
        self.on_home(now, true);
        self.settle(now);
    }

    /// A new table; ignored unless its epoch is larger than the last one's and there is a session
    pub fn handle_rewire(&mut self, now: Instant, rewire: &Rewire) {
        self.check_lateness(now);
        self.apply(now, rewire, UpsetReason::Rewire);
        self.settle(now);
    }

    /// The session is over: all links are closed with 410 and the table is empty
    ///
    /// The last epoch is kept, so that nothing older is ever applied.
    pub fn handle_logout(&mut self, now: Instant) {
        self.neighbours.clear();
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(now, link, CloseReason::LoggedOut);
        }
        (self.grant, self.is_home_reachable, self.was_live, self.isolated) = (None, false, false, None);
        self.are_views_changed = true;
        self.settle(now);
    }

    /// A link's hellos have been exchanged: it is accepted, made to wait, or closed with a reason
    pub fn handle_link_opened(&mut self, now: Instant, opened: Opened) {
        self.check_lateness(now);
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
    pub fn handle_table(&mut self, now: Instant, link: LinkId, table: Table) {
        self.check_lateness(now);
        let is_first = self.links.get(&link).is_some_and(|link| link.table.is_none());
        self.on_table(link, table);
        if is_first {
            self.settle(now);
        } else {
            self.settle_views(now);
        }
    }

    /// A neighbour's links went up or down; changes to links that its table does not have are ignored
    pub fn handle_delta(&mut self, now: Instant, link: LinkId, delta: &Delta) {
        self.check_lateness(now);
        self.on_delta(link, delta);
        self.settle_views(now);
    }

    /// A link ended, not by an [`Output::Close`]; unknown links (closed by us a moment ago) are ignored silently
    pub fn handle_link_closed(&mut self, now: Instant, link: LinkId, end: LinkEnd) {
        self.check_lateness(now);
        self.remove_link(now, link, end);
        self.settle(now);
    }

    /// A dial came to nothing; ignored if the peer is not wanted any more
    pub fn handle_dial_failed(&mut self, now: Instant, key: Key, reason: &str) {
        self.check_lateness(now);
        self.on_dial_failed(&key, Reason::truncated(reason));
        self.settle(now);
    }

    /// Whether the home supernode can be asked and told; reachable again, it is told what it missed
    pub fn handle_home(&mut self, now: Instant, reachable: bool) {
        self.check_lateness(now);
        self.on_home(now, reachable && self.grant.is_some());
        self.settle(now);
    }

    /// Time has passed; before [`Self::next_timeout`] that changes nothing
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.check_lateness(now);
        self.settle(now);
    }

    /// What is to be done next; drain after every input
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_opened(&mut self, now: Instant, opened: Opened) {
        let (id, key) = (opened.link, opened.key);
        if self.links.contains_key(&id) {
            return self.event(Event::LinkIgnored { link: id, reason: IgnoreReason::LinkInUse });
        }
        self.on_reached(now, &key, opened.direction);
        let direction = opened.direction;
        self.links_opened += 1;
        match self.admit(now, opened) {
            Ok(link) => {
                self.links.insert(id, link);
            }
            Err(reason) => {
                // Counted as a failure, or what we refuse would be dialled again at once.
                if direction == Direction::Outgoing {
                    self.on_failure(&key, Reason::truncated(&reason.to_string()));
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
            // Of an older session: our place was another's before.
            return Err(CloseReason::NotANeighbour);
        }
        let standing = self.standing(now, &opened, &grant)?;
        let link = Link::new(now, opened, grant, standing, self.links_opened, self.config.table_wait);
        self.make_room(now, &link)?;
        let (id, name, address) = (link.id, link.grant.name.clone(), link.address());
        match standing {
            Standing::Waiting { .. } => self.event(Event::UnknownPeerWaited { link: id, name, address }),
            Standing::Guest { .. } => self.event(Event::GuestAccepted { link: id, name, address }),
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
            Ok(Standing::Guest { until: None })
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
        let Some(link) = self.links.get_mut(&id) else {
            return self.ignore_frame(id, FrameKind::Table, IgnoreReason::UnknownLink);
        };
        if link.table.as_ref().is_some_and(|old| old.epoch > table.epoch) {
            return self.ignore_frame(id, FrameKind::Table, IgnoreReason::StaleTable);
        }
        let table = RemoteTable::new(table, link.grant.address);
        // A neighbour that says the same again must not cost us a new snapshot and all cached decisions.
        self.are_views_changed |=
            link.table.as_ref().is_none_or(|old| (&old.links, &old.names) != (&table.links, &table.names));
        link.table = Some(table);
    }

    fn on_delta(&mut self, id: LinkId, delta: &Delta) {
        let Some(link) = self.links.get_mut(&id) else {
            return self.ignore_frame(id, FrameKind::Delta, IgnoreReason::UnknownLink);
        };
        let Some(table) = &mut link.table else {
            return self.ignore_frame(id, FrameKind::Delta, IgnoreReason::NoTable);
        };
        let (is_changed, unknown) = table.apply(delta);
        self.are_views_changed |= is_changed && !mutant::is(Mutant::DeltaNotPublished);
        if unknown > 0 {
            self.ignore_frame(id, FrameKind::Delta, IgnoreReason::UnknownAddress);
        }
    }

    fn on_dial_failed(&mut self, key: &Key, reason: Reason) {
        let Some(neighbour) = self.neighbours.values_mut().find(|neighbour| neighbour.record.key == *key) else {
            return;
        };
        neighbour.dial = Dial::Idle;
        // The peer may have dialled us meanwhile; then nothing failed that anybody waits for.
        if neighbour.trying.is_some() {
            neighbour.on_failure(reason.clone());
            let (name, address) = (neighbour.record.name.clone(), neighbour.record.address);
            let attempts = neighbour.attempts;
            self.event(Event::DialFailed { name, address, attempts, reason });
        }
    }

    fn on_home(&mut self, now: Instant, reachable: bool) {
        if reachable && !self.is_home_reachable {
            for neighbour in self.neighbours.values_mut() {
                neighbour.is_loss_reported = false;
                if neighbour.has_given_up {
                    neighbour.report_at = neighbour.report_at.min(now);
                }
            }
            self.isolated = self.isolated.map(|_| now);
        }
        self.is_home_reachable = reachable;
        let is_end_near = reachable && !mutant::is(Mutant::GuestStays);
        let end = is_end_near.then(|| now + self.config.unknown_wait);
        for link in self.links.values_mut() {
            match &mut link.standing {
                Standing::Guest { until } if until.is_none() || !reachable => *until = end,
                waiting @ Standing::Waiting { .. } if !reachable => *waiting = Standing::Guest { until: None },
                _ => {}
            }
        }
    }

    /// All links show others the address that was ours: none of them counts any more, but they still carry
    fn outdate_links(&mut self, now: Instant) {
        let patience = self.config.patience;
        for link in self.links.values_mut() {
            link.standing = Standing::Leaving { until: now + patience, outdated: true };
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.try_anew(now, patience);
        }
    }

    fn apply(&mut self, now: Instant, rewire: &Rewire, cause: UpsetReason) {
        let epoch = rewire.epoch;
        if let Some(reason) = self.rewire_fault(rewire) {
            return self.event(Event::RewireIgnored { epoch, reason });
        }
        (self.epoch, self.members, self.degree) = (Some(epoch), rewire.members.max(1), rewire.degree);
        let mut old = std::mem::take(&mut self.neighbours);
        let (of, mut kept) = (old.len(), 0);
        let mut keys = BTreeSet::new();
        for record in &rewire.neighbours {
            if let Err(reason) = self.check_record(record, &mut keys) {
                self.event(Event::RecordIgnored { epoch, address: record.address, reason });
                continue;
            }
            let known = old.remove(&record.address).filter(|neighbour| neighbour.record.key == record.key);
            kept += usize::from(known.is_some());
            self.want(now, record, known);
        }
        let (joined, left) = (self.neighbours.len() - kept, of - kept);
        self.event(Event::Rewired { epoch, members: self.members, kept, joined, left });
        if 2 * left > of {
            self.event(Event::Upset { epoch, left, of, reason: cause });
        }
        self.dismiss_guests(now);
        self.are_views_changed = true;
    }

    fn rewire_fault(&self, rewire: &Rewire) -> Option<RewireFault> {
        if self.grant.is_none() {
            Some(RewireFault::NotLoggedIn)
        } else if self.epoch.is_some_and(|epoch| rewire.epoch <= epoch) && !mutant::is(Mutant::EpochUnchecked) {
            Some(RewireFault::NotNewer)
        } else if !lift::is_degree(rewire.degree) {
            Some(RewireFault::Degree)
        } else {
            None
        }
    }

    fn check_record(&self, record: &Record, keys: &mut BTreeSet<Key>) -> Result<(), RewireFault> {
        if record.key == self.own || Some(record.address) == self.own_address() {
            Err(RewireFault::Ourselves)
        } else if self.neighbours.contains_key(&record.address) || !keys.insert(record.key) {
            Err(RewireFault::Repeated)
        } else {
            Ok(())
        }
    }

    fn want(&mut self, now: Instant, record: &Record, known: Option<Neighbour>) {
        let patience = self.config.patience;
        let neighbour = match known {
            Some(mut neighbour) => {
                neighbour.renew(now, record.clone(), patience);
                neighbour
            }
            None => Neighbour::new(now, record.clone(), patience),
        };
        self.neighbours.insert(record.address, neighbour);
    }

    /// Home has spoken: guests that it does not name go like former neighbours
    fn dismiss_guests(&mut self, now: Instant) {
        let until = now + self.config.patience;
        for link in self.links.values_mut() {
            if matches!(link.standing, Standing::Guest { .. }) && !mutant::is(Mutant::GuestStays) {
                link.standing = Standing::Leaving { until, outdated: false };
            }
        }
    }

    /// Forgets a link that the other side, or the network, ended
    fn remove_link(&mut self, now: Instant, id: LinkId, end: LinkEnd) {
        let Some(link) = self.links.remove(&id) else { return };
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
            self.on_failure(&link.key, end.reason());
        }
    }

    /// The last link with a neighbour is down
    fn on_down(&mut self, now: Instant, link: Link, end: LinkEnd) {
        let Some(neighbour) = self.neighbours.get_mut(&link.address()) else { return };
        let (is_stable, reason) = (link.is_stable(now, self.config.stable_after), end.reason());
        neighbour.last_table = link.table;
        neighbour.on_down(now, &end, is_stable, self.config.patience);
        self.event(Event::LinkDown { name: link.grant.name, address: link.grant.address, reason });
    }

    fn on_failure(&mut self, key: &Key, reason: Reason) {
        if let Some(neighbour) = self.neighbours.values_mut().find(|neighbour| neighbour.record.key == *key) {
            neighbour.on_failure(reason);
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
        }
        true
    }

    /// Closes one of our links; who relied on it is seen to by what follows in `settle`
    fn close(&mut self, now: Instant, id: LinkId, reason: CloseReason) {
        let Some(key) = self.links.get(&id).map(|link| link.key) else { return };
        self.remove_link(now, id, LinkEnd::Bye(reason.status(), Reason::truncated(&reason.to_string())));
        self.refuse(id, key, reason);
    }

    fn refuse(&mut self, link: LinkId, key: Key, reason: CloseReason) {
        self.outputs.push_back(Output::Close { link, status: reason.status(), reason });
        self.event(Event::LinkClosed { link, key, reason });
    }

    fn ignore_frame(&mut self, link: LinkId, kind: FrameKind, reason: IgnoreReason) {
        self.event(Event::FrameIgnored { link, kind, reason });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
