//! Some peers in virtual time: links are pairs of numbers, the network is a queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use crate::id::{NetworkId, SessionId};
pub(super) use crate::testing::{at_ms as at, peer_name as name};
use crate::wire::bounded::Bounded;
use crate::wire::link::LinkState;
use crate::wire::link::TableEntry;
use crate::wire::session::{Locations, NEIGHBOURS_MAX, Record, Report};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Peer `n` has key n…, name `peer-n` and, unless it moves, address n << 32
pub(super) fn key(n: u8) -> Key {
    Key([n; 32])
}

pub(super) fn address(n: u8) -> Address {
    Address(u64::from(n) << 32)
}

pub(super) fn grant_at(n: u8, place: Address, epoch: u64) -> Grant {
    let session = SessionId([n; 16]);
    Grant {
        network: NetworkId([9; 32]),
        name: name(n),
        key: key(n),
        address: place,
        session,
        epoch: Epoch::new(0, epoch),
    }
}

pub(super) fn grant(n: u8) -> Grant {
    grant_at(n, address(n), 1)
}

pub(super) fn record_of(grant: &Grant) -> Record {
    let Grant { name, key, address, epoch, .. } = grant.clone();
    Record { name, key, address, epoch, locations: Locations::new() }
}

pub(super) fn rewire(epoch: u64, neighbours: &[u8]) -> Rewire {
    rewire_of(epoch, neighbours.iter().map(|n| record_of(&grant(*n))))
}

pub(super) fn rewire_of(epoch: u64, records: impl IntoIterator<Item = Record>) -> Rewire {
    Rewire {
        epoch: Epoch::new(0, epoch),
        members: 8,
        degree: 4,
        neighbours: Bounded::truncated(records),
        apart: Bounded::new(),
    }
}

pub(super) fn table(epoch: u64, entries: &[(u8, bool)]) -> Table {
    let entry = |(n, up): &(u8, bool)| TableEntry { address: address(*n), up: *up, name: name(*n) };
    Table {
        epoch: Epoch::new(0, epoch),
        entries: Bounded::truncated(entries.iter().map(entry)),
        unseen: Bounded::new(),
    }
}

/// A table of a peer that never had links with `unseen`
pub(super) fn table_without(unseen: &[u8], table: Table) -> Table {
    Table { unseen: Bounded::truncated(unseen.iter().map(|n| address(*n))), ..table }
}

pub(super) fn delta(changes: &[(u8, bool)]) -> Delta {
    let change = |(n, up): &(u8, bool)| LinkState { address: address(*n), up: *up };
    Delta { changes: Bounded::truncated(changes.iter().map(change)) }
}

pub(super) fn opened(link: u64, n: u8, direction: Direction) -> Opened {
    Opened { link: LinkId(link), key: key(n), direction, boot: 1, grant: Some(grant(n)) }
}

pub(super) fn lost() -> LinkEnd {
    LinkEnd::Lost(Reason::truncated("connection reset"))
}

pub(super) fn bye(status: Status) -> LinkEnd {
    LinkEnd::Bye(status, Reason::truncated(status.text()))
}

/// Everything put out since the last call, in order; what must hold always is checked
pub(super) fn drain(core: &mut Neighbourhood) -> Vec<NeighbourhoodOutput> {
    check(core);
    std::iter::from_fn(|| core.poll_output()).collect()
}

/// Without events
pub(super) fn acts(core: &mut Neighbourhood) -> Vec<NeighbourhoodOutput> {
    drain(core).into_iter().filter(|output| !matches!(output, NeighbourhoodOutput::Event(_))).collect()
}

pub(super) fn is_send(act: &(u64, NeighbourhoodOutput)) -> bool {
    matches!(act, (_, NeighbourhoodOutput::Send { .. }))
}

/// Frames, each with its link
pub(super) fn sent(core: &mut Neighbourhood) -> Vec<(LinkId, Frame)> {
    let sends = drain(core).into_iter();
    sends
        .filter_map(
            |output| if let NeighbourhoodOutput::Send { link, frame } = output { Some((link, frame)) } else { None },
        )
        .collect()
}

pub(super) fn events(core: &mut Neighbourhood) -> Vec<Event> {
    drain(core)
        .into_iter()
        .filter_map(|output| if let NeighbourhoodOutput::Event(event) = output { Some(event) } else { None })
        .collect()
}

pub(super) fn check(core: &Neighbourhood) {
    assert!(core.links.len() <= LINKS_MAX && core.neighbours.len() <= NEIGHBOURS_MAX);
    assert!(core.table.entries.len() <= NEIGHBOURS_MAX);
    assert!(core.links.values().filter(|link| !link.is_accepted()).count() <= WAITING_MAX);
    for (place, neighbour) in &core.neighbours {
        let links = || core.links.values().filter(|link| link.key == neighbour.record.key);
        let up = links().any(|link| link.is_up() && link.standing == Standing::Neighbour);
        assert_eq!(neighbour.trying.is_none(), up, "{place}");
        assert!(
            links().any(|link| !link.is_leaving()) || neighbour.dial != Dial::Idle,
            "{place} is neither linked nor dialled"
        );
        assert!(links().count() <= 2);
    }
    assert!(core.grant.is_some() || core.links.is_empty() && core.neighbours.is_empty());
}

/// What is under way
#[derive(Debug)]
enum Delivery {
    Knock { from: u8, to: u8 },
    Opened { to: u8, opened: Opened },
    DialFailed { to: u8, key: Key },
    Frame { to: u8, link: LinkId, frame: Frame },
    Closed { to: u8, link: LinkId, end: LinkEnd },
}

pub(super) struct Peer {
    pub(super) core: Neighbourhood,
    pub(super) boot: u64,
    pub(super) grant: Grant,
    /// The far end of each link
    pub(super) links: BTreeMap<LinkId, (u8, LinkId)>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) peers: BTreeMap<u8, Peer>,
    pub(super) latency: Duration,
    pub(super) config: NeighbourhoodConfig,
    /// Pairs, the smaller first, whose dials vanish
    pub(super) cut: BTreeSet<(u8, u8)>,
    pub(super) reports: Vec<(Instant, u8, Report)>,
    pub(super) events: Vec<(Instant, u8, Event)>,
    pub(super) dials: Vec<(Instant, u8, Key)>,
    pub(super) steps: u64,
    queue: BTreeMap<(Instant, u64), Delivery>,
    links: u64,
    epoch: u64,
    seed: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            peers: BTreeMap::new(),
            latency: ms(20),
            config: NeighbourhoodConfig::default(),
            cut: BTreeSet::new(),
            reports: Vec::new(),
            events: Vec::new(),
            dials: Vec::new(),
            steps: 0,
            queue: BTreeMap::new(),
            links: 0,
            epoch: 0,
            seed,
        }
    }

    /// Logs `n` in, alone for now; its place is the usual one
    pub(super) fn join(&mut self, n: u8) {
        self.join_at(n, address(n), 1);
    }

    pub(super) fn join_at(&mut self, n: u8, place: Address, boot: u64) {
        self.epoch += 1;
        let grant = grant_at(n, place, self.epoch);
        let mut core = Neighbourhood::new(key(n), self.config.clone(), self.seed ^ u64::from(n));
        core.handle_login(self.now, &grant, &rewire_of(self.epoch, []));
        self.peers.insert(n, Peer { core, boot, grant, links: BTreeMap::new() });
        self.drain(n);
    }

    /// A new session of a live peer, elsewhere
    pub(super) fn relogin(&mut self, n: u8, place: Address, neighbours: &[u8]) {
        self.epoch += 1;
        let rewire = self.rewire_for(neighbours);
        let peer = self.peers.get_mut(&n).unwrap();
        peer.grant = grant_at(n, place, self.epoch);
        peer.core.handle_login(self.now, &peer.grant, &rewire);
        self.drain(n);
    }

    fn rewire_for(&self, neighbours: &[u8]) -> Rewire {
        let records = neighbours.iter().filter_map(|other| self.peers.get(other)).map(|peer| record_of(&peer.grant));
        let mut records: Vec<Record> = records.collect();
        records.sort_by_key(|record| record.address);
        rewire_of(self.epoch, records)
    }

    /// Pushes each peer its table under one new epoch; peers without a row keep theirs
    pub(super) fn push(&mut self, tables: &[(u8, &[u8])]) {
        self.epoch += 1;
        for (n, neighbours) in tables {
            let rewire = self.rewire_for(neighbours);
            if let Some(peer) = self.peers.get_mut(n) {
                peer.core.handle_rewire(self.now, &rewire);
                self.drain(*n);
            }
        }
    }

    /// Each linked to each
    pub(super) fn push_full_mesh(&mut self) {
        let all: Vec<u8> = self.peers.keys().copied().collect();
        let others = |n: u8| all.iter().copied().filter(|other| *other != n).collect::<Vec<u8>>();
        let rows: Vec<(u8, Vec<u8>)> = all.iter().map(|n| (*n, others(*n))).collect();
        let rows: Vec<(u8, &[u8])> = rows.iter().map(|(n, row)| (*n, row.as_slice())).collect();
        self.push(&rows);
    }

    pub(super) fn home(&mut self, reachable: bool) {
        for n in self.peers.keys().copied().collect::<Vec<u8>>() {
            self.peers.get_mut(&n).unwrap().core.handle_home(self.now, reachable);
            self.drain(n);
        }
    }

    pub(super) fn logout(&mut self, n: u8) {
        self.peers.get_mut(&n).unwrap().core.handle_logout(self.now);
        self.drain(n);
    }

    /// As kill -9: its kernel resets every link
    pub(super) fn kill(&mut self, n: u8) {
        let peer = self.peers.remove(&n).unwrap();
        for (to, link) in peer.links.into_values() {
            self.send(self.latency, Delivery::Closed { to, link, end: lost() });
        }
    }

    /// Breaks the link of two peers; each notices after its own time
    pub(super) fn break_link(&mut self, a: u8, b: u8, after: [Duration; 2]) {
        for (n, other, after) in [(a, b, after[0]), (b, a, after[1])] {
            for link in self.links_between(n, other) {
                self.send(after, Delivery::Closed { to: n, link, end: lost() });
            }
        }
    }

    pub(super) fn links_between(&self, n: u8, other: u8) -> Vec<LinkId> {
        let links = self.peers[&n].links.iter().filter(|(_, far)| far.0 == other);
        links.map(|(link, _)| *link).collect()
    }

    pub(super) fn core(&self, n: u8) -> &Neighbourhood {
        &self.peers[&n].core
    }

    /// Addresses of the neighbours whose links are up at `n`
    pub(super) fn live(&self, n: u8) -> Vec<Address> {
        self.core(n).live_links().map(|(address, _)| address).collect()
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.steps += 1;
            assert!(self.steps < 1_000_000, "no progress at {:?}", self.now);
            let delivery = self.queue.keys().next().map(|(at, _)| *at);
            let timeout = self.peers.iter().filter_map(|(n, peer)| Some((peer.core.next_timeout()?, *n))).min();
            match (delivery, timeout) {
                (Some(due), timeout) if due <= end && timeout.is_none_or(|(at, _)| due <= at) => self.deliver(),
                (_, Some((due, n))) if due <= end => {
                    self.now = self.now.max(due);
                    self.peers.get_mut(&n).unwrap().core.handle_timeout(self.now);
                    self.drain(n);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let Some(((due, _), delivery)) = self.queue.pop_first() else { return };
        self.now = self.now.max(due);
        let now = self.now;
        match delivery {
            Delivery::Knock { from, to } => self.accept(from, to),
            Delivery::Opened { to, opened } => {
                let Some(peer) = self.peers.get_mut(&to) else { return };
                if peer.links.contains_key(&opened.link) {
                    peer.core.handle_link_opened(now, opened);
                }
                self.drain(to);
            }
            Delivery::DialFailed { to, key } => {
                let Some(peer) = self.peers.get_mut(&to) else { return };
                peer.core.handle_dial_failed(now, key, Status::Unavailable, "connection refused");
                self.drain(to);
            }
            Delivery::Frame { to, link, frame } => {
                let Some(peer) = self.peers.get_mut(&to) else { return };
                if peer.links.contains_key(&link) {
                    peer.core.handle_frame(now, link, frame);
                }
                self.drain(to);
            }
            Delivery::Closed { to, link, end } => {
                let Some(peer) = self.peers.get_mut(&to) else { return };
                if peer.links.remove(&link).is_some() {
                    peer.core.handle_link_closed(now, link, end);
                }
                self.drain(to);
            }
        }
    }

    /// The listener's hello is there half a round trip before the dialler's is answered
    fn accept(&mut self, from: u8, to: u8) {
        if !self.peers.contains_key(&to) || !self.peers.contains_key(&from) {
            return self.send(self.latency, Delivery::DialFailed { to: from, key: key(to) });
        }
        let [near, far] = [self.links + 1, self.links + 2].map(LinkId);
        self.links += 2;
        for (n, link, other, end, direction, after) in [
            (from, near, to, far, Direction::Outgoing, self.latency),
            (to, far, from, near, Direction::Incoming, Duration::ZERO),
        ] {
            self.peers.get_mut(&n).unwrap().links.insert(link, (other, end));
            let other = &self.peers[&other];
            let (key, grant) = (other.grant.key, Some(other.grant.clone()));
            let opened = Opened { link, key, direction, boot: other.boot, grant };
            self.send(after, Delivery::Opened { to: n, opened });
        }
    }

    fn send(&mut self, after: Duration, delivery: Delivery) {
        self.steps += 1;
        self.queue.insert((self.now + after, self.steps), delivery);
    }

    fn drain(&mut self, n: u8) {
        let Some(peer) = self.peers.get_mut(&n) else { return };
        for output in drain(&mut peer.core) {
            self.carry_out(n, output);
        }
    }

    fn carry_out(&mut self, n: u8, output: NeighbourhoodOutput) {
        match output {
            NeighbourhoodOutput::Dial { key, .. } => {
                self.dials.push((self.now, n, key));
                let to = key.0[0];
                let is_cut = self.cut.contains(&(n.min(to), n.max(to)));
                match is_cut {
                    true => self.send(5 * SECOND, Delivery::DialFailed { to: n, key }),
                    false => self.send(self.latency, Delivery::Knock { from: n, to }),
                }
            }
            NeighbourhoodOutput::Send { link, frame } => {
                if let Some((to, link)) = self.peers[&n].links.get(&link).copied() {
                    self.send(self.latency, Delivery::Frame { to, link, frame });
                }
            }
            NeighbourhoodOutput::Close { link, status, reason } => {
                if let Some((to, link)) = self.peers.get_mut(&n).unwrap().links.remove(&link) {
                    let end = LinkEnd::Bye(status, Reason::truncated(&reason.to_string()));
                    self.send(self.latency, Delivery::Closed { to, link, end });
                }
            }
            NeighbourhoodOutput::Report(report) => self.reports.push((self.now, n, report)),
            NeighbourhoodOutput::Event(event) => self.events.push((self.now, n, event)),
            NeighbourhoodOutput::RoutesChanged | NeighbourhoodOutput::LossBeyond { .. } => {}
        }
    }
}
