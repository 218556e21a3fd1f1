//! What a neighbourhood knows, for forwarding and for people.

use std::sync::Arc;

use super::Neighbourhood;
use super::link::{Link, RemoteTable, Standing};
use super::neighbour::{Dial, Neighbour};
use super::output::{LinkStatus, NeighbourStatus};
use crate::id::{Address, Epoch, Key, Name, ShortId};
use crate::link::LinkId;
use crate::routing::NeighbourView;
use crate::wire::session::{Locations, Record};

impl Neighbourhood {
    /// Our place, while logged in
    pub(crate) fn own_address(&self) -> Option<Address> {
        self.grant.as_ref().map(|grant| grant.address)
    }

    /// n̂ as of the last rewire; 0 before the first
    pub const fn members(&self) -> u64 {
        self.members
    }

    /// d as of the last rewire; 0 before the first
    pub const fn degree(&self) -> u8 {
        self.degree
    }

    /// The epoch of the last rewire
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Peers in its own table, whether their links are up or not
    pub fn wanted(&self) -> usize {
        self.neighbours.len()
    }

    /// Links of any kind, at most [`LINKS_MAX`](super::LINKS_MAX)
    pub fn links_open(&self) -> usize {
        self.links.len()
    }

    /// Every neighbour with its table, in the order of addresses: those of the own table, up or down, and whoever else
    /// is linked to us for now
    pub fn views(&self) -> Vec<NeighbourView> {
        let view = |address: Address, name: &Name, last: Option<&RemoteTable>| {
            let link = self.live_link(address);
            let table = link.and_then(|link| link.table.as_ref()).or(last);
            NeighbourView {
                address,
                up: link.is_some(),
                held: link.is_some_and(|link| link.held_until.is_some()),
                name: name.clone(),
                table: table.map(|table| table.links.clone()).unwrap_or_default(),
                unseen: table.map(|table| table.unseen.clone()).unwrap_or_default(),
            }
        };
        let wanted = self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_sure());
        let wanted = wanted.map(|(at, neighbour)| view(*at, &neighbour.record.name, neighbour.last_table.as_ref()));
        let others = self.others().map(|link| view(link.address(), &link.grant.name, None));
        let mut views: Vec<NeighbourView> = wanted.chain(others).collect();
        views.sort_by_key(|view| view.address);
        views
    }

    /// Of whom this peer cannot say whether they are there, in the order of addresses
    pub fn unseen(&self) -> Arc<[Address]> {
        self.table.unseen.as_slice().into()
    }

    /// From whom the last rewire has parted this peer
    pub fn parted_from(&self) -> impl Iterator<Item = Address> + '_ {
        self.apart.iter().copied()
    }

    /// The link in use of each neighbour that has one, in the order of addresses
    pub fn live_links(&self) -> impl Iterator<Item = (Address, LinkId)> + '_ {
        self.live.iter().map(|(address, link)| (*address, *link))
    }

    /// The link in use of this neighbour, if one is up
    pub(crate) fn link_to(&self, neighbour: Address) -> Option<LinkId> {
        self.live.get(&neighbour).copied()
    }

    /// The neighbour whose link in use this is
    pub fn neighbour_on(&self, link: LinkId) -> Option<Address> {
        let address = self.links.get(&link)?.address();
        self.link_to(address).filter(|live| *live == link).map(|_| address)
    }

    /// Every neighbour for people, in the order of addresses
    pub fn neighbours(&self) -> Vec<NeighbourStatus> {
        let wanted = self.neighbours.values().map(|neighbour| self.status_of(neighbour));
        let others = self.others().map(|link| NeighbourStatus {
            name: link.grant.name.clone(),
            key: link.key,
            address: link.address(),
            locations: Locations::new(),
            state: if link.is_leaving() { LinkStatus::Leaving } else { LinkStatus::Up },
            since: link.up_since.unwrap_or(link.opened),
            link: Some(link.id),
            held_until: link.held_until,
            direction: Some(link.direction),
            is_wanted: false,
        });
        let mut all: Vec<NeighbourStatus> = wanted.chain(others).collect();
        all.sort_by_key(|status| status.address);
        all
    }

    /// The name of the peer at this place: our own, a neighbour's, or one that a neighbour's table tells
    pub fn name_of(&self, id: ShortId) -> Option<Name> {
        let own = self.grant.iter().map(|grant| (grant.address, &grant.name));
        let mut known = own.chain(self.known());
        known.find(|(address, _)| address.short() == id).map(|(_, name)| name.clone())
    }

    /// Where the peer of this name is: ourselves, a neighbour (then with its record), or in a neighbour's table
    pub fn find(&self, name: &Name) -> Option<(Address, Option<Record>)> {
        let mut sure = self.neighbours.values().filter(|neighbour| neighbour.is_sure());
        if let Some(neighbour) = sure.find(|neighbour| neighbour.record.name == *name) {
            return Some((neighbour.record.address, Some(neighbour.record.clone())));
        }
        let own = self.grant.iter().map(|grant| (grant.address, &grant.name));
        let mut known = own.chain(self.known());
        known.find(|(_, known)| *known == name).map(|(address, _)| (address, None))
    }

    /// Whether our table has this key under this name at this place; or, while there is no home that can be asked
    /// (`is_cut`), a neighbour's has, which has no keys, but then no two peers have one place. A neighbour may itself be
    /// without a home for long, and what guests and stand-ins say of themselves and of others does not count at all
    pub(crate) fn confirms(&self, name: &Name, key: &Key, address: Address, is_cut: bool) -> bool {
        let is_stand_in = |place: &Address| self.neighbours.get(place).is_some_and(|neighbour| neighbour.stands_in);
        if let Some(neighbour) = self.neighbours.get(&address).filter(|_| !is_stand_in(&address)) {
            return neighbour.record.name == *name && neighbour.record.key == *key;
        }
        let tables = self.live.values().filter_map(|id| self.links.get(id)).filter(|_| is_cut);
        let tables = tables.filter(|link| link.standing == Standing::Neighbour && !is_stand_in(&link.address()));
        let tables = tables.filter_map(|link| link.table.as_ref());
        tables.flat_map(RemoteTable::known).any(|(place, known)| place == address && known == name)
    }

    fn live_link(&self, address: Address) -> Option<&Link> {
        self.live.get(&address).and_then(|id| self.links.get(id))
    }

    /// Those linked to us that are not in the own table: guests, and neighbours that leave
    fn others(&self) -> impl Iterator<Item = &Link> {
        let others = self.live.iter().filter(|(address, _)| !self.neighbours.contains_key(address));
        others.filter_map(|(_, id)| self.links.get(id))
    }

    /// Names near by, the surest first
    fn known(&self) -> impl Iterator<Item = (Address, &Name)> {
        let wanted = self.neighbours.values().filter(|neighbour| neighbour.is_sure());
        let wanted = wanted.map(|neighbour| (neighbour.record.address, &neighbour.record.name));
        let others = self.others().map(|link| (link.address(), &link.grant.name));
        let live = self.live.values().filter_map(|id| self.links.get(id)?.table.as_ref());
        let last = self.neighbours.values().filter_map(|neighbour| neighbour.last_table.as_ref());
        wanted.chain(others).chain(live.chain(last).flat_map(RemoteTable::known))
    }

    fn status_of(&self, neighbour: &Neighbour) -> NeighbourStatus {
        let link = self.live_link(neighbour.record.address);
        let opens = || self.links.values().any(|link| link.key == neighbour.record.key && !link.is_leaving());
        let state = match (neighbour.trying, neighbour.dial) {
            (None, _) => LinkStatus::Up,
            (Some(_), Dial::Running) => LinkStatus::Dialling,
            (Some(_), _) if opens() => LinkStatus::Dialling,
            (Some(_), Dial::At(at)) => LinkStatus::Down { reason: neighbour.reason.clone(), redial_at: Some(at) },
            (Some(_), Dial::Idle) => LinkStatus::Down { reason: neighbour.reason.clone(), redial_at: None },
        };
        NeighbourStatus {
            name: neighbour.record.name.clone(),
            key: neighbour.record.key,
            address: neighbour.record.address,
            locations: neighbour.record.locations.clone(),
            state,
            since: neighbour.since,
            link: link.map(|link| link.id),
            held_until: link.and_then(|link| link.held_until),
            direction: link.map(|link| link.direction),
            is_wanted: true,
        }
    }
}
