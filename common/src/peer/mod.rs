//! A whole peer: its cores put together, and the packets between them.
//!
//! ```text
//! links ────► opened, frames, closed ─┐          ┌─► session ──────► log in, renew, log out
//! packets ──► those that end here ────┤          ├─► neighbourhood ► links to hold, tables to tell ─► routes
//! users ────► send, look up, log in ──┼─► Peer ──┼─► outbox ───────► transmit, relay, fates
//! in-box, functions ► their answers ──┤          ├─► names ────────► look-ups, floods
//! clock ────► timeouts ───────────────┘          └─► Output
//! ```
//!
//! A peer signs what it sends and checks what comes: a message counts if a member of the network signed it and it came
//! from that member's address. What a forwarder or a stranger says unsigned is a hint at most.
//!
//! The shell dials and carries frames, forwards packets for others by [`Output::Routes`], keeps messages on disk,
//! evaluates functions, and shows people what became of what they asked for. It answers [`Output::Keep`] and
//! [`Output::Evaluate`], each by its ticket and once; the reply to the sender leaves then.
//!
//! Bounds: messages that wait for the disk ([`STORING_MAX`]) or for a function ([`EVALUATING_MAX`]); one more is
//! answered with 429. Fates that wait for names ([`UNNAMED_MAX`]); one more is told without. Grants that were verified,
//! and first hops of replies, are forgotten at their bounds. Every core inside has bounds of its own.

mod grants;
mod links;
mod outputs;
mod packets;
mod paths;
mod receive;
mod replies;
#[cfg(test)]
mod tests;
mod traces;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::outputs::{Arrival, Outcome, Output};
pub use self::paths::UNNAMED_MAX;
pub use self::receive::{EVALUATING_MAX, STORING_MAX};
pub use self::traces::{Attempt, Trace, TracedHop};

use self::grants::Grants;
use self::paths::Unnamed;
use self::receive::Arrived;
use self::replies::Replies;
use self::traces::Traces;
use crate::crypto::Signer;
use crate::id::{Address, Key, MessageId, Name, NetworkId};
use crate::link::LinkId;
use crate::mail::outbox::Outbox;
use crate::names::Resolver;
use crate::routing::neighbourhood::{self, Neighbourhood};
use crate::routing::{RouteCache, Routes};
use crate::session::membership::{Membership, MembershipConfig, Standing};
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::bounded::Bytes;
use crate::wire::content::{Content, DATA_BYTES_MAX};
use crate::wire::grant::SignedGrant;
use crate::wire::session::{Record, Subject};

/// What a peer is told before it starts
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name, its supernodes, and what it says to them
    pub session: MembershipConfig,
    /// Time limits of its links
    pub neighbourhood: neighbourhood::Config,
    /// How often it has started, this time included
    pub boot: u64,
}

/// What a peer is in its session
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its place
    pub address: Address,
    /// Its name
    pub name: Name,
    /// The supernode's word for both
    pub signed: SignedGrant,
}

/// There is no session to send in; nothing has changed
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not logged in")]
pub struct NotLoggedIn;

/// The link to the supernode
#[derive(Clone, Copy, Debug)]
struct Home {
    link: LinkId,
    /// The session's number for it
    attempt: u64,
}

/// What a dial is for
#[derive(Clone, Copy, Debug)]
enum DialFor {
    /// The session's attempt
    Home(u64),
    /// A neighbour
    Neighbour(Key),
}

/// A peer
#[derive(Debug)]
pub struct Peer<S> {
    signer: S,
    boot: u64,
    session: Membership,
    neighbourhood: Neighbourhood,
    outbox: Outbox,
    names: Resolver,
    grants: Grants,
    /// Of the present tables; `None` while there is no session
    routes: Option<Arc<Routes>>,
    are_routes_stale: bool,
    generation: u64,
    cache: RouteCache,
    own: Option<Own>,
    home: Option<Home>,
    /// Dials that have not ended: as many as the session and the neighbourhood have out
    dials: BTreeMap<u64, DialFor>,
    next_dial: u64,
    storing: BTreeMap<u64, Arrived>,
    evaluating: BTreeMap<u64, Arrived>,
    next_ticket: u64,
    replies: Replies,
    traces: Traces,
    unnamed: Vec<Unnamed>,
    /// Names that users look up: each is a question of the resolver's, or its answer is among the outputs
    looking_up: BTreeSet<Name>,
    rng: ChaCha20Rng,
    outputs: VecDeque<Output>,
}

impl<S: Signer> Peer<S> {
    /// A peer that begins to look for a supernode at `now`
    ///
    /// Ids and jitter come from `rng`. `remembered` are names from the disk, each with its age, as
    /// [`Output::Save`] and [`Output::Erase`] keep them there.
    pub fn new(
        now: Instant,
        config: Config,
        signer: S,
        mut rng: ChaCha20Rng,
        remembered: impl IntoIterator<Item = (Record, Duration)>,
    ) -> Self {
        let Config { session, neighbourhood, boot } = config;
        let mut names = Resolver::new(rng.next_u64());
        names.restore(now, remembered);
        Self {
            session: Membership::new(session, rng.next_u64(), now),
            neighbourhood: Neighbourhood::new(signer.key(), neighbourhood, rng.next_u64()),
            outbox: Outbox::new(),
            names,
            signer,
            boot,
            grants: Grants::default(),
            routes: None,
            are_routes_stale: false,
            generation: 0,
            cache: RouteCache::new(),
            own: None,
            home: None,
            dials: BTreeMap::new(),
            next_dial: 0,
            storing: BTreeMap::new(),
            evaluating: BTreeMap::new(),
            next_ticket: 0,
            replies: Replies::default(),
            traces: Traces::default(),
            unnamed: Vec::new(),
            looking_up: BTreeSet::new(),
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// Begins a send: data, a signal or a call; [`Output::Done`] follows, within
    /// [`SEND_TIMEOUT`](crate::mail::outbox::SEND_TIMEOUT) and the time that it takes to name those on its path
    ///
    /// `traced`: forwarders report on its packets, and the outcome tells what they said.
    ///
    /// # Errors
    /// [`NotLoggedIn`]: there will be no outcome.
    pub fn send(&mut self, now: Instant, to: Name, content: Content, traced: bool) -> Result<MessageId, NotLoggedIn> {
        if self.own.is_none() {
            return Err(NotLoggedIn);
        }
        let id = self.random_id();
        if traced {
            self.traces.begin(id);
        }
        self.outbox.handle_send(now, id, to, content);
        Ok(id)
    }

    /// Asks anew where `name` is; answered by one [`Output::LookedUp`] for all who have asked for it by then
    pub fn look_up(&mut self, now: Instant, name: Name) {
        self.looking_up.insert(name.clone());
        self.resolve(now, Subject::Name(name), true);
    }

    /// Somebody wants to be logged in; nothing changes if that is so or under way
    pub fn log_in(&mut self, now: Instant) {
        self.session.handle_login(now);
    }

    /// Somebody wants to be logged out; [`Output::LoggedOut`] follows within
    /// [`LOGOUT_WAIT`](crate::session::LOGOUT_WAIT) unless that is so already
    pub fn log_out(&mut self, now: Instant) {
        self.session.handle_logout(now);
    }

    /// The answer to [`Output::Keep`]: what the sender is told, 200 if the message is on disk
    pub fn handle_kept(&mut self, now: Instant, ticket: u64, status: Status, reason: &str) {
        if let Some(arrived) = self.storing.remove(&ticket) {
            self.reply(now, &arrived, status, reason);
        }
    }

    /// The answer to [`Output::Evaluate`]: with 200 the result, else the reason
    pub fn handle_evaluated(&mut self, now: Instant, ticket: u64, status: Status, body: Bytes<DATA_BYTES_MAX>) {
        if let Some(arrived) = self.evaluating.remove(&ticket) {
            self.reply_with(now, &arrived, status, body);
        }
    }

    /// Carries out what is due; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.neighbourhood.handle_timeout(now);
        self.outbox.handle_timeout(now);
        self.names.handle_timeout(now);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.session.next_timeout(),
            self.neighbourhood.next_timeout(),
            self.outbox.next_timeout(),
            self.names.next_timeout(),
        ];
        timeouts.into_iter().fold(None, earliest)
    }

    fn random_id(&mut self) -> MessageId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        MessageId(bytes)
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

/// Readings
impl<S: Signer> Peer<S> {
    /// Its identity
    pub fn key(&self) -> Key {
        self.signer.key()
    }

    /// Its place and name; `None` without a session, which outlives its link to the supernode
    pub const fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// Where the session stands, for people
    pub fn standing(&self) -> Standing {
        self.session.standing()
    }

    /// The network, from the config or from the first login
    pub const fn network(&self) -> Option<NetworkId> {
        self.session.network()
    }

    /// Frames of supernodes that came in a wrong state
    pub const fn violations(&self) -> u64 {
        self.session.violations()
    }

    /// The supernode's link, while there is a session on it
    pub fn home_link(&self) -> Option<LinkId> {
        let attempt = self.session.home()?;
        self.home.filter(|home| home.attempt == attempt).map(|home| home.link)
    }

    /// Its links and its neighbours' tables
    pub const fn neighbourhood(&self) -> &Neighbourhood {
        &self.neighbourhood
    }

    /// The routes that [`Output::Routes`] said last; `None` without a session
    pub const fn routes(&self) -> Option<&Arc<Routes>> {
        self.routes.as_ref()
    }

    /// Sends under way
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Names remembered
    pub const fn names(&self) -> &Resolver {
        &self.names
    }
}
