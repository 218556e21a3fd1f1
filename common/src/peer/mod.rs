//! A whole peer: its cores put together, and what passes between them.
//!
//! ```text
//! links ────► opened, frames, closed ─┐          ┌─► session ──────► log in, renew, log out
//! packets ──► those that end here ────┤          ├─► neighbourhood ► links to hold, tables to tell ─► routes
//! users ────► ping, look up, log in ──┼─► Peer ──┼─► mail ─────────► pings, replies, fates, named paths
//! clock ────► timeouts ───────────────┘          ├─► names ────────► look-ups, floods
//!                                                └─► PeerOutput
//! ```
//!
//! Here is only the wiring: what each core wants is done here, handed to another core, or passed on to the shell. Cores
//! know nothing of each other; what one may read of another is lent to it with the input.
//!
//! The shell dials and carries frames, and shows people what became of what they asked for. It has a forwarder, which
//! decides by [`PeerOutput::Routes`] what becomes of others' packets and of those that [`PeerOutput::Transmit`] hands to
//! it. Messages and calls go over connections, which are put together with a peer elsewhere: a peer finds names for
//! them, and confirms who is whose.
//!
//! Every core inside has bounds of its own; the wiring holds nothing that grows.

mod dials;
mod healing;
mod links;
mod outputs;
mod removals;
mod routes;
mod stay;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::outputs::PeerOutput;
pub use self::stay::{RETURN_AFTER, STAY_AGE_MAX, Stay};

use self::dials::Dials;
use self::routes::Snapshot;
use self::stay::Stays;
use crate::crypto::Signer;
use crate::healing::Healer;
use crate::id::{Key, MessageId, Name, NetworkId};
use crate::link::LinkId;
use crate::mail::{Mail, NotLoggedIn, Own};
use crate::names::{Lists, Resolver};
use crate::rate::Strangers;
use crate::removed::Learner;
use crate::routing::Routes;
use crate::routing::forward::FirstHop;
use crate::routing::neighbourhood::{Neighbourhood, NeighbourhoodConfig};
use crate::session::membership::{Home, Membership, MembershipConfig, Standing};
use crate::time::{Instant, earliest, held_up};
use crate::wire::content::{Content, PathHop, PayloadKind, Undeliverable};
use crate::wire::grant::Grant;
use crate::wire::session::{Listening, Record, Subject, Which};
use crate::wire::{Frame, PacketBytes};

/// What a peer takes of what arrives: the forwarder is to deliver packets of these kinds
pub const PAYLOADS: [PayloadKind; 3] = [PayloadKind::Message, PayloadKind::Undeliverable, PayloadKind::Hop];

/// What a peer is told before it starts
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name, its supernodes, and what it says to them
    pub session: MembershipConfig,
    /// Time limits of its links
    pub neighbourhood: NeighbourhoodConfig,
    /// How often it has started, this time included
    pub boot: u64,
    /// How long what a supernode said of a name is remembered, usually [`REMEMBER`](crate::names::REMEMBER); zero: not at
    /// all
    pub remember: Duration,
    /// What [`PeerOutput::KeepStay`] has put on the disk, if it is no older than [`STAY_AGE_MAX`]
    pub stay: Option<Stay>,
}

#[derive(Debug)]
pub struct Peer<S> {
    signer: S,
    boot: u64,
    session: Membership,
    neighbourhood: Neighbourhood,
    names: Resolver,
    lists: Lists,
    mail: Mail,
    removed: Learner,
    healer: Healer,
    stays: Stays,
    /// The session's links with supernodes, by its own numbers for them: two at most
    home_links: BTreeMap<u64, LinkId>,
    dials: Dials,
    routes: Snapshot,
    /// Whoever opens a link that it may not have
    strangers: Strangers,
    outputs: VecDeque<PeerOutput>,
}

impl<S: Signer> Peer<S> {
    /// A peer that begins to look for a supernode at `now`
    ///
    /// Ids and jitter come from `rng`. `remembered` are names from the disk, each with its age, as
    /// [`PeerOutput::Save`] and [`PeerOutput::Erase`] keep them there.
    pub fn new(
        now: Instant,
        config: PeerConfig,
        signer: S,
        mut rng: ChaCha20Rng,
        remembered: impl IntoIterator<Item = (Record, Duration)>,
    ) -> Self {
        let PeerConfig { session, neighbourhood, boot, remember, stay } = config;
        let mut names = Resolver::new(rng.next_u64(), remember);
        names.restore(now, remembered);
        Self {
            session: Membership::new(session, rng.next_u64(), now),
            neighbourhood: Neighbourhood::new(signer.key(), neighbourhood, rng.next_u64()),
            names,
            lists: Lists::default(),
            mail: Mail::new(rng),
            removed: Learner::default(),
            healer: Healer::default(),
            stays: Stays::new(now, stay),
            signer,
            boot,
            home_links: BTreeMap::new(),
            dials: Dials::default(),
            routes: Snapshot::new(),
            strangers: Strangers::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Begins a send; [`PeerOutput::Done`] follows, within [`SEND_TIMEOUT`](crate::mail::SEND_TIMEOUT) and the time that it
    /// takes to name those on its path; a traced one a second later at most
    ///
    /// `traced`: forwarders report on its packets, and the outcome tells what they said.
    ///
    /// # Errors
    /// [`NotLoggedIn`]: there will be no outcome.
    pub fn send(&mut self, now: Instant, to: Name, content: Content, traced: bool) -> Result<MessageId, NotLoggedIn> {
        self.mail.send(now, to, content, traced)
    }

    /// Asks anew where `name` is; answered by one [`PeerOutput::LookedUp`] for all who have asked for it by then
    pub fn look_up(&mut self, now: Instant, name: Name) {
        let local = self.local(&name);
        self.names.look_up(now, name, local);
    }

    /// Asks where the holder of `name` is, and for its key; answered by one [`PeerOutput::Resolved`] for all who have asked by
    /// then. Memory and the own table will not do if it is to be `fresh`: then the supernode is asked, or, without one, whoever
    /// is near.
    pub fn resolve(&mut self, now: Instant, name: Name, fresh: bool) {
        // A neighbour's table has no keys.
        let local = self.local(&name).filter(|local| local.record.is_some());
        self.names.handle_ask(now, Subject::Name(name), fresh, local);
    }

    /// Names the hops of a path that have no name: those that are known near by at once, the others by the supernode while
    /// there is one; answered by one [`PeerOutput::PathNamed`] with the ticket, once all are found or will not be
    pub fn name_path(&mut self, ticket: u64, path: Vec<PathHop>) {
        self.mail.name_path(&self.neighbourhood, ticket, path);
    }

    /// Hands a packet of this peer's own to the supernode, which relays it; whether there is one
    pub fn relay(&mut self, packet: PacketBytes) -> bool {
        let home = self.home_link();
        if let Some(home) = home {
            self.send_frame(home, Frame::Relay(packet));
        }
        home.is_some()
    }

    /// The peer listens there from now on; the next login tells it
    pub fn set_listening(&mut self, listening: Listening) {
        self.session.set_listening(listening);
    }

    /// Asks the supernode for names; answered by one [`PeerOutput::Listed`] with the number that this returns
    pub fn list(&mut self, now: Instant, which: Which) -> u64 {
        self.lists.ask(now, which)
    }

    /// Somebody wants to be logged in; nothing changes if that is so or under way
    pub fn log_in(&mut self, now: Instant) {
        self.session.handle_login(now);
        self.stays.handle_login(now);
    }

    /// Somebody wants to be logged out; [`PeerOutput::LoggedOut`] follows within
    /// [`LOGOUT_WAIT`](crate::session::LOGOUT_WAIT) unless that is so already
    pub fn log_out(&mut self, now: Instant) {
        self.session.handle_logout(now);
    }

    /// The answer to [`PeerOutput::Transmit`]: the packet with this id was handed to a neighbour
    ///
    /// One that met a full queue there is lost as it might be at any other hop: hurrying would add to the jam, and the
    /// next transmission, at its time, goes by another neighbour.
    pub fn handle_sent(&mut self, packet: u64, first_hop: &FirstHop) {
        self.mail.handle_sent(packet, first_hop.to, first_hop.choice);
    }

    /// The answer to [`PeerOutput::Transmit`]: there was nobody to hand this packet to
    pub fn handle_unsent(&mut self, now: Instant, packet: PacketBytes) {
        self.mail.handle_unsent(now, packet);
    }

    /// A packet of this peer's own came back inside the forwarder, and nobody is left to try
    pub fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) {
        self.mail.handle_undeliverable(now, report);
    }

    /// Every input of links or of the clock begins so: if this process stood still, nobody else is to blame for it
    pub(super) fn check_pace(&mut self, now: Instant) {
        if let Some(late) = held_up(now, self.next_timeout()) {
            self.session.handle_held_up(now);
            self.neighbourhood.handle_held_up(now, late);
        }
    }

    /// This process was kept waiting for a processor for so long since it said so last; say it before other inputs while
    /// this peer [dials](Self::is_dialling)
    pub fn handle_kept_waiting(&mut self, now: Instant, by: Duration) {
        self.neighbourhood.handle_kept_waiting(now, by);
    }

    /// Whether a neighbour is dialled, or to be dialled
    pub fn is_dialling(&self) -> bool {
        self.neighbourhood.is_dialling()
    }

    /// Carries out what is due; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_pace(now);
        self.session.handle_timeout(now);
        self.neighbourhood.handle_timeout(now);
        self.mail.handle_timeout(now);
        self.names.handle_timeout(now);
        self.lists.handle_timeout(now);
        self.ask_due_removals(now);
        self.heal(now);
        self.handle_stay_timeout(now);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.session.next_timeout(),
            self.neighbourhood.next_timeout(),
            self.mail.next_timeout(),
            self.names.next_timeout(),
            self.lists.next_timeout(),
            self.removed.next_timeout(),
            self.healer.next_timeout(),
            self.stays.next_timeout(),
        ];
        timeouts.into_iter().fold(None, earliest)
    }
}

impl<S: Signer> Peer<S> {
    pub fn key(&self) -> Key {
        self.signer.key()
    }

    /// Its place and name; `None` without a session, which outlives its link to the supernode
    pub const fn own(&self) -> Option<&Own> {
        self.mail.own()
    }

    /// Where the session stands, for people
    pub fn standing(&self) -> Standing {
        self.session.standing()
    }

    /// The home, while logged in, and why it is this one
    pub fn chosen_home(&self) -> Option<Home> {
        self.session.chosen_home()
    }

    /// How many supernodes can be tried
    pub fn known_supernodes(&self) -> usize {
        self.session.known_supernodes()
    }

    /// The network, from the config or from the first login
    pub const fn network(&self) -> Option<NetworkId> {
        self.session.network()
    }

    /// The supernode's link, while there is a session on it
    pub fn home_link(&self) -> Option<LinkId> {
        self.home_links.get(&self.session.home()?).copied()
    }

    /// Its links and its neighbours' tables
    pub const fn neighbourhood(&self) -> &Neighbourhood {
        &self.neighbourhood
    }

    /// The routes that [`PeerOutput::Routes`] said last; `None` without a session
    pub const fn routes(&self) -> Option<&Arc<Routes>> {
        self.routes.routes()
    }

    pub const fn mail(&self) -> &Mail {
        &self.mail
    }

    /// Whether a table of the directory's says that the session of this grant lasts: the own one, or, while no supernode can
    /// be asked, a neighbour's
    pub fn confirms(&self, Grant { name, key, address, .. }: &Grant) -> bool {
        self.neighbourhood.confirms(name, key, *address, self.home_link().is_none())
    }

    pub const fn names(&self) -> &Resolver {
        &self.names
    }
}
