//! How many connections and links there may be, and from where.

use std::net::IpAddr;
use std::time::Duration;

use super::crowd::{Crowd, Household};
use super::lobby::{Lobby, LobbyId};
use crate::time::Instant;
use crate::wire::FrameKind;

/// Bounds on connections and links
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Links at once, both directions
    pub links_max: usize,
    /// Of these, kept for links that this node dials, so that strangers cannot use them up; fewer than `links_max`
    pub outgoing_reserved: usize,
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
            links_per_ip_max: 256,
            pending_max: 64,
            pending_reserved: 8,
            pending_per_ip_max: 8,
            dials_max: 64,
        }
    }
}

impl Limits {
    /// The same with another bound on links; a quarter of them at most is kept for those that this node dials
    #[must_use]
    pub fn with_links_max(self, links_max: usize) -> Self {
        Self { links_max, outgoing_reserved: self.outgoing_reserved.min(links_max / 4), ..self }
    }

    /// A supernode's: one link a peer at home here, and after an outage all of them at once, many behind one address; a
    /// crowd that connects and says nothing must not keep them out
    pub const fn of_supernode() -> Self {
        Self {
            links_max: 4096,
            // It dials nobody.
            outgoing_reserved: 0,
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
    outgoing: usize,
    dials: usize,
}

impl Usage {
    /// Nobody is here yet
    pub fn new(limits: Limits) -> Self {
        Self { limits, lobby: Lobby::new(limits), incoming: 0, incoming_crowd: Crowd::default(), outgoing: 0, dials: 0 }
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

    /// A link that came in; every `Ok` is followed by one [`Usage::end_incoming`]
    ///
    /// # Errors
    /// Which limit keeps it out; nothing is counted then.
    pub(crate) fn begin_incoming(&mut self, ip: Option<IpAddr>) -> Result<(), Refusal> {
        // Links that were dialled beyond the reserve count as well, or both directions together would pass the bound.
        if self.incoming >= self.limits.links_max.saturating_sub(self.limits.outgoing_reserved.max(self.outgoing)) {
            return Err(Refusal::Links);
        }
        if let Some(household) = counted(ip) {
            if self.incoming_crowd.full_network(household, self.limits.links_per_ip_max).is_some() {
                return Err(Refusal::LinksOfIp);
            }
            self.incoming_crowd.add(household);
        }
        self.incoming += 1;
        Ok(())
    }

    /// A link that came in has said its last words
    pub(crate) fn end_incoming(&mut self, ip: Option<IpAddr>) {
        self.incoming -= 1;
        if let Some(household) = counted(ip) {
            self.incoming_crowd.remove(household);
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
            links_per_ip_max: 3,
            pending_max: 6,
            pending_reserved: 0,
            pending_per_ip_max: 2,
            dials_max: 1,
        })
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
                assert_eq!(Usage::new(few).begin_incoming(NEAR), Ok(()), "{few:?}");
                assert_eq!(Usage::new(few).begin_dial(), Ok(()), "{few:?}");
            }
        }
    }

    #[test]
    fn supernode_takes_as_many_peers_as_it_has_links() {
        let mut usage = Usage::new(Limits::of_supernode());
        let came = (0..).take_while(|_| usage.begin_incoming(NEAR).is_ok()).count();
        assert_eq!(came, Limits::of_supernode().links_max);
    }

    #[test]
    fn incoming_links_leave_room_for_outgoing_ones() {
        let mut usage = usage();
        for _ in 0..8 {
            assert_eq!(usage.begin_incoming(NEAR), Ok(()));
        }
        assert_eq!(usage.begin_incoming(NEAR), Err(Refusal::Links));
        assert_eq!([usage.begin_outgoing(), usage.begin_outgoing()], [Ok(()); 2]);
        assert_eq!(usage.begin_outgoing(), Err(10));
        assert_eq!(usage.begin_dial(), Err(10));
        usage.end_incoming(NEAR);
        assert_eq!(usage.begin_outgoing(), Ok(()), "an outgoing one may take the place");
        assert_eq!(usage.begin_incoming(NEAR), Err(Refusal::Links));
    }

    #[test]
    fn links_of_one_ip_are_bounded_and_forgotten() {
        let mut usage = usage();
        for _ in 0..3 {
            assert_eq!(usage.begin_incoming(FAR), Ok(()));
        }
        assert_eq!(usage.begin_incoming(FAR), Err(Refusal::LinksOfIp));
        for _ in 0..3 {
            usage.end_incoming(FAR);
        }
        assert!(usage.incoming_crowd.is_empty());
    }

    #[test]
    fn addresses_of_one_network_are_counted_together() {
        let mut usage = usage();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(usage.begin_incoming(ip("2001:db8::1")), Ok(()));
        assert_eq!(usage.begin_incoming(ip("2001:db8::2")), Ok(()));
        assert_eq!(usage.begin_incoming(ip("2001:db8:0:0:ffff::3")), Ok(()));
        assert_eq!(usage.begin_incoming(ip("2001:db8::4")), Err(Refusal::LinksOfIp));
        assert_eq!([1, 2, 3].map(|i| usage.begin_incoming(ip(&format!("2001:db8:0:{i}::1")))), [Ok(()); 3]);
        assert_eq!(usage.begin_incoming(ip("2001:db8:0:4::1")), Err(Refusal::LinksOfIp), "the /56 is full");
        assert_eq!(usage.begin_incoming(ip("2001:db8:1::1")), Ok(()));
    }

    #[test]
    fn dials_are_bounded() {
        let mut usage = usage();
        assert_eq!([usage.begin_dial(), usage.begin_dial()], [Ok(()), Err(0)]);
        usage.end_dial();
        assert_eq!(usage.begin_dial(), Ok(()));
    }
}
