//! How many connections and links there may be, and from where.

use std::net::IpAddr;
use std::time::Duration;

use super::crowd::{Crowd, Household};
use super::lobby::{Lobby, LobbyId};
use crate::time::Instant;
use crate::wire::FrameKind;
use crate::wire::session::{Purpose, SUPERNODES_MAX};

/// Links that a supernode keeps for others: two to each of [`SUPERNODES_MAX`], as a new one may come before the old one is known
/// to be gone
pub const BACKBONE_RESERVED: usize = 2 * SUPERNODES_MAX;

/// Bounds on connections and links
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Links at once, both directions
    pub links_max: usize,
    /// Of these, kept for links that this node dials, so that strangers cannot use them up; fewer than `links_max`
    pub outgoing_reserved: usize,
    /// Of these, kept for links between supernodes, whoever dials them, so that peers cannot use them up: without them a
    /// supernode that is full could take part in nothing. 0 for whoever is none: such a link is one like others there
    pub backbone_reserved: usize,
    /// Incoming links from one IP address; IPv6: from one /64, twice as many from one /56, four times as many from one /48;
    /// loopback is exempt
    pub links_per_ip_max: usize,
    /// Incoming connections that have not said hello
    pub pending_max: usize,
    /// Of these, kept for those whose address has had a session since the start: strangers cannot use them up
    pub pending_reserved: usize,
    /// As [`Limits::links_per_ip_max`], of those that have not said hello
    pub pending_per_ip_max: usize,
    /// Dials at once
    pub dials_max: usize,
}

impl Default for Limits {
    /// A peer's: as many as a table may have, which is twice what hardly any has (docs/figures.md), since a rewire holds
    /// old and new at once
    fn default() -> Self {
        Self {
            links_max: 64,
            outgoing_reserved: 16,
            backbone_reserved: 0,
            links_per_ip_max: 256,
            pending_max: 64,
            pending_reserved: 8,
            pending_per_ip_max: 8,
            dials_max: 64,
        }
    }
}

impl Limits {
    /// The same with another bound on links; a quarter of them at most is kept for those that this node dials, and as much for
    /// other supernodes
    #[must_use]
    pub fn with_links_max(self, links_max: usize) -> Self {
        let (outgoing_reserved, backbone_reserved) =
            (self.outgoing_reserved.min(links_max / 4), self.backbone_reserved.min(links_max / 4));
        Self { links_max, outgoing_reserved, backbone_reserved, ..self }
    }

    /// A supernode's: one link a peer at home here, and after an outage all of them at once, many behind one address; a
    /// crowd that connects and says nothing must not keep them out
    pub const fn of_supernode() -> Self {
        Self {
            links_max: 4096,
            // It dials other supernodes alone.
            outgoing_reserved: 0,
            backbone_reserved: BACKBONE_RESERVED,
            links_per_ip_max: 256,
            pending_max: 512,
            pending_reserved: 64,
            pending_per_ip_max: 32,
            dials_max: 64,
        }
    }
}

/// The longest that a step of a dial may be given: a dial has three, and whoever waits for its end waits for all of them
pub const STEP_MAX: Duration = Duration::from_secs(20);
/// When a dial is over in any case, should the shell never say: its steps, and a second more
pub const DIAL_MAX: Duration = Duration::from_secs(3 * STEP_MAX.as_secs() + 1);

/// How long each step may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Names resolved and connected, over all locations together: a lost SYN costs 1 s, a second 2 s more; at most
    /// [`STEP_MAX`], as the two after it
    pub dial: Duration,
    /// The TLS handshake
    pub handshake: Duration,
    /// Both hellos
    pub hello: Duration,
    /// A frame, once its first byte came
    pub frame: Duration,
    /// A write of at most a chunk
    pub write: Duration,
    /// The last words of a link
    pub bye: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let five = Duration::from_secs(5);
        let ten = Duration::from_secs(10);
        Self { dial: five, handshake: five, hello: five, frame: ten, write: ten, bye: Duration::from_millis(500) }
    }
}

/// Why a connection is not let in
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`Limits::pending_max`] is reached, and nobody there is silent
    #[error("too many handshakes at once")]
    Pending,
    /// [`Limits::pending_per_ip_max`] is reached, and nobody of this network is silent
    #[error("too many handshakes at once from this network")]
    PendingOfIp,
    /// What [`Limits::links_max`] leaves for incoming links is used up
    #[error("no more links")]
    Links,
    /// [`Limits::links_per_ip_max`] is reached
    #[error("no more links from this network")]
    LinksOfIp,
}

/// How many places of each kind are held
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// By connections that have come in and have not said hello
    pub pending: usize,
    /// By dials
    pub dials: usize,
    /// By links that came in, until they have said their last words
    pub incoming: usize,
    /// By links that were dialled, likewise
    pub outgoing: usize,
}

/// The present count of what [`Limits`] bounds
pub struct Usage {
    limits: Limits,
    lobby: Lobby,
    incoming: usize,
    incoming_crowd: Crowd,
    /// Of those that came in, links of other supernodes, or of whoever says that it is one
    backbone: usize,
    backbone_crowd: Crowd,
    outgoing: usize,
    dials: usize,
}

/// What a link that came in is counted as
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// One like others
    Any,
    /// Of another supernode, by its word: if it cannot prove that, it is gone within seconds
    Supernode,
}

impl Usage {
    /// Nobody is here yet
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lobby: Lobby::new(limits),
            incoming: 0,
            incoming_crowd: Crowd::default(),
            backbone: 0,
            backbone_crowd: Crowd::default(),
            outgoing: 0,
            dials: 0,
        }
    }

    /// A connection came; every `Ok` is followed by one [`Usage::end_pending`], and others may have lost their
    /// places in any case, as [`Usage::poll_put_out`] says
    ///
    /// # Errors
    /// Which limit keeps it out; it is not counted then.
    pub(crate) fn begin_pending(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<LobbyId, Refusal> {
        self.lobby.begin(now, ip)
    }

    /// A connection's first byte came: it keeps its place until it ends
    pub fn on_first_byte(&mut self, place: LobbyId) {
        self.lobby.on_first_byte(place);
    }

    /// A connection has said hello, or is gone
    pub(crate) fn end_pending(&mut self, place: LobbyId) {
        self.lobby.end(place);
    }

    /// Whose connection is to be dropped, to make room; drain after every `Usage::begin_pending`
    pub fn poll_put_out(&mut self) -> Option<LobbyId> {
        self.lobby.poll_put_out()
    }

    /// A frame goes to whoever dialled from `ip`: a grant, or a table, says that the other side is a member, and members
    /// find a place again; whether this one says so
    pub fn on_sent(&mut self, kind: FrameKind, ip: Option<IpAddr>) -> bool {
        let is_to_member = matches!(kind, FrameKind::Granted | FrameKind::Table);
        if is_to_member {
            self.lobby.remember(ip);
        }
        is_to_member
    }

    /// A dial begins; every `Ok` is followed by one [`Usage::end_dial`]
    ///
    /// # Errors
    /// How many links there are, if there may be no dial; nothing is counted then.
    pub(crate) const fn begin_dial(&mut self) -> Result<(), usize> {
        // A dial that could not become a link would cost the other side a handshake for nothing.
        if self.dials >= self.limits.dials_max || self.links() >= self.limits.links_max {
            return Err(self.links());
        }
        self.dials += 1;
        Ok(())
    }

    /// A dial has made a link, or none
    pub(crate) const fn end_dial(&mut self) {
        self.dials -= 1;
    }

    /// A link that came in for this purpose; every `Ok` is followed by one [`Usage::end_incoming`]
    ///
    /// # Errors
    /// Which limit keeps it out; nothing is counted then.
    pub(crate) fn begin_incoming(&mut self, ip: Option<IpAddr>, purpose: Purpose) -> Result<Guest, Refusal> {
        let Limits { backbone_reserved, links_per_ip_max, .. } = self.limits;
        let is_supernode = purpose == Purpose::Backbone && backbone_reserved > 0;
        let guest = if is_supernode { Guest::Supernode } else { Guest::Any };
        if self.is_full_for(guest) {
            return Err(Refusal::Links);
        }
        let (crowd, most) = match guest {
            Guest::Any => (&mut self.incoming_crowd, links_per_ip_max),
            // Peers behind one address keep no supernode out, and nobody who claims to be one has the reserve for itself.
            Guest::Supernode => (&mut self.backbone_crowd, links_per_ip_max.min(backbone_reserved.div_ceil(2))),
        };
        if let Some(household) = counted(ip) {
            if crowd.full_network(household, most).is_some() {
                return Err(Refusal::LinksOfIp);
            }
            crowd.add(household);
        }
        self.incoming += 1;
        self.backbone += usize::from(guest == Guest::Supernode);
        Ok(guest)
    }

    /// Whether such a link has no place
    fn is_full_for(&self, guest: Guest) -> bool {
        let Limits { links_max, outgoing_reserved, backbone_reserved, .. } = self.limits;
        match guest {
            Guest::Supernode => self.links() >= links_max,
            // Links beyond the reserves that they are for count as well, or all together would pass the bound.
            Guest::Any => {
                let kept = (outgoing_reserved + backbone_reserved).max(self.outgoing + self.backbone);
                self.incoming - self.backbone >= links_max.saturating_sub(kept)
            }
        }
    }

    /// A link that came in has said its last words
    pub(crate) fn end_incoming(&mut self, ip: Option<IpAddr>, guest: Guest) {
        self.incoming -= 1;
        self.backbone -= usize::from(guest == Guest::Supernode);
        let crowd = if guest == Guest::Supernode { &mut self.backbone_crowd } else { &mut self.incoming_crowd };
        if let Some(household) = counted(ip) {
            crowd.remove(household);
        }
    }

    /// A link that was dialled; every `Ok` is followed by one [`Usage::end_outgoing`]
    ///
    /// # Errors
    /// How many links there are, if there may be no more; nothing is counted then.
    pub(crate) const fn begin_outgoing(&mut self) -> Result<(), usize> {
        if self.links() >= self.limits.links_max {
            return Err(self.links());
        }
        self.outgoing += 1;
        Ok(())
    }

    /// A link that was dialled has said its last words
    pub(crate) const fn end_outgoing(&mut self) {
        self.outgoing -= 1;
    }

    /// How many of each are counted
    pub(super) fn held(&self) -> Held {
        let Self { ref lobby, dials, incoming, outgoing, .. } = *self;
        Held { pending: lobby.len(), dials, incoming, outgoing }
    }

    const fn links(&self) -> usize {
        self.incoming + self.outgoing
    }
}

/// Whose links are counted together; labs and supernodes of one machine share the loopback address, so it is nobody's
pub(crate) fn counted(ip: Option<IpAddr>) -> Option<Household> {
    ip.filter(|ip| !ip.to_canonical().is_loopback()).map(|ip| Household::of(Some(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const NEAR: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn usage() -> Usage {
        Usage::new(Limits {
            links_max: 10,
            outgoing_reserved: 2,
            backbone_reserved: 0,
            links_per_ip_max: 3,
            pending_max: 6,
            pending_reserved: 0,
            pending_per_ip_max: 2,
            dials_max: 1,
        })
    }

    fn came(usage: &mut Usage, ip: Option<IpAddr>) -> Result<(), Refusal> {
        usage.begin_incoming(ip, Purpose::Home).map(|guest| assert_eq!(guest, Guest::Any))
    }

    fn supernode_came(usage: &mut Usage, ip: Option<IpAddr>) -> Result<Guest, Refusal> {
        usage.begin_incoming(ip, Purpose::Backbone)
    }

    #[test]
    fn granted_link_makes_its_address_known() {
        let mut usage = Usage::new(Limits { pending_max: 2, pending_reserved: 1, ..Limits::default() });
        let stranger = usage.begin_pending(Instant::ZERO, FAR).unwrap();
        usage.on_first_byte(stranger);
        assert_eq!(usage.begin_pending(Instant::ZERO, NEAR), Err(Refusal::Pending));
        usage.on_sent(FrameKind::Challenge, NEAR);
        assert_eq!(usage.begin_pending(Instant::ZERO, NEAR), Err(Refusal::Pending));
        usage.on_sent(FrameKind::Granted, NEAR);
        assert!(usage.begin_pending(Instant::ZERO, NEAR).is_ok());
    }

    #[test]
    fn however_few_links_there_may_be_some_come_in() {
        for limits in [Limits::default(), Limits::of_supernode()] {
            assert_eq!(limits.with_links_max(limits.links_max), limits);
            for links_max in [1, 4, 16, 64] {
                let few = limits.with_links_max(links_max);
                assert_eq!(came(&mut Usage::new(few), NEAR), Ok(()), "{few:?}");
                assert_eq!(Usage::new(few).begin_dial(), Ok(()), "{few:?}");
            }
        }
    }

    #[test]
    fn supernode_takes_as_many_peers_as_it_has_links_but_for_those_of_other_supernodes() {
        let mut usage = Usage::new(Limits::of_supernode());
        let peers = (0..).take_while(|_| came(&mut usage, NEAR).is_ok()).count();
        assert_eq!(peers, Limits::of_supernode().links_max - BACKBONE_RESERVED);
        assert_eq!(usage.begin_dial(), Ok(()));
        assert_eq!(usage.begin_outgoing(), Ok(()));
        let others = (0..).take_while(|_| supernode_came(&mut usage, NEAR).is_ok()).count();
        assert_eq!(others, BACKBONE_RESERVED - 1, "those that it dials are of the same places");
        assert_eq!(supernode_came(&mut usage, NEAR), Err(Refusal::Links));
        usage.end_incoming(NEAR, Guest::Supernode);
        assert_eq!(came(&mut usage, NEAR), Err(Refusal::Links), "the place is kept");
        usage.end_incoming(NEAR, Guest::Any);
        assert_eq!(came(&mut usage, NEAR), Ok(()));
    }

    #[test]
    fn supernodes_beyond_their_places_have_those_that_peers_leave() {
        let limits = Limits { links_max: 4, ..Limits::of_supernode() }.with_links_max(4);
        let mut usage = Usage::new(limits);
        assert_eq!(limits.backbone_reserved, 1);
        assert_eq!([(); 3].map(|()| supernode_came(&mut usage, NEAR)), [Ok(Guest::Supernode); 3]);
        assert_eq!([came(&mut usage, NEAR), came(&mut usage, NEAR)], [Ok(()), Err(Refusal::Links)]);
    }

    #[test]
    fn peers_behind_an_address_keep_no_supernode_out_and_who_claims_to_be_one_has_half_of_the_places() {
        let mut usage = Usage::new(Limits { links_per_ip_max: 100, ..Limits::of_supernode() });
        let peers = (0..).take_while(|_| came(&mut usage, FAR).is_ok()).count();
        let claims = (0..).take_while(|_| supernode_came(&mut usage, FAR).is_ok()).count();
        assert_eq!((peers, claims), (100, BACKBONE_RESERVED / 2));
        assert_eq!(supernode_came(&mut usage, FAR), Err(Refusal::LinksOfIp));
        (0..claims).for_each(|_| usage.end_incoming(FAR, Guest::Supernode));
        assert!(usage.backbone_crowd.is_empty() && usage.backbone == 0);
    }

    #[test]
    fn peer_has_no_places_for_supernodes() {
        let mut usage = usage();
        assert_eq!([(); 8].map(|()| supernode_came(&mut usage, NEAR)), [Ok(Guest::Any); 8]);
        assert_eq!(supernode_came(&mut usage, NEAR), Err(Refusal::Links), "those that it dials have the rest");
    }

    #[test]
    fn incoming_links_leave_room_for_outgoing_ones() {
        let mut usage = usage();
        for _ in 0..8 {
            assert_eq!(came(&mut usage, NEAR), Ok(()));
        }
        assert_eq!(came(&mut usage, NEAR), Err(Refusal::Links));
        assert_eq!([usage.begin_outgoing(), usage.begin_outgoing()], [Ok(()); 2]);
        assert_eq!(usage.begin_outgoing(), Err(10));
        assert_eq!(usage.begin_dial(), Err(10));
        usage.end_incoming(NEAR, Guest::Any);
        assert_eq!(usage.begin_outgoing(), Ok(()), "an outgoing one may take the place");
        assert_eq!(came(&mut usage, NEAR), Err(Refusal::Links));
    }

    #[test]
    fn links_of_one_ip_are_bounded_and_forgotten() {
        let mut usage = usage();
        for _ in 0..3 {
            assert_eq!(came(&mut usage, FAR), Ok(()));
        }
        assert_eq!(came(&mut usage, FAR), Err(Refusal::LinksOfIp));
        for _ in 0..3 {
            usage.end_incoming(FAR, Guest::Any);
        }
        assert!(usage.incoming_crowd.is_empty());
    }

    #[test]
    fn addresses_of_one_network_are_counted_together() {
        let mut usage = usage();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(came(&mut usage, ip("2001:db8::1")), Ok(()));
        assert_eq!(came(&mut usage, ip("2001:db8::2")), Ok(()));
        assert_eq!(came(&mut usage, ip("2001:db8:0:0:ffff::3")), Ok(()));
        assert_eq!(came(&mut usage, ip("2001:db8::4")), Err(Refusal::LinksOfIp));
        assert_eq!([1, 2, 3].map(|i| came(&mut usage, ip(&format!("2001:db8:0:{i}::1")))), [Ok(()); 3]);
        assert_eq!(came(&mut usage, ip("2001:db8:0:4::1")), Err(Refusal::LinksOfIp), "the /56 is full");
        assert_eq!(came(&mut usage, ip("2001:db8:1::1")), Ok(()));
    }

    #[test]
    fn dials_are_bounded() {
        let mut usage = usage();
        assert_eq!([usage.begin_dial(), usage.begin_dial()], [Ok(()), Err(0)]);
        usage.end_dial();
        assert_eq!(usage.begin_dial(), Ok(()));
    }
}
