//! What supernodes agree on: accounts, sessions, locations, the ring's membership, suspects and unreachable pairs.
//!
//! A [`Directory`] is fed by one log of [`Command`]s and nothing else; equal logs make equal directories, so that
//! replicating it is replicating the log. Ask [`Directory::answer`] first: what it answers needs no place in the log.
//! Otherwise propose the command to the log; once it is committed, [`Directory::apply`] it, tell the outcome to whoever
//! proposed it, and send each touched peer its [`Directory::neighbourhood`]. Which commands time demands is each
//! supernode's own judgement, and stands with [`crate::supernode`].
//!
//! | command | changes | touches |
//! |---|---|---|
//! | Configure | the degree | everybody |
//! | Incarnate | which incarnation epochs are of | nobody: it comes before anybody is told a table |
//! | LogIn | account and session; clears suspicion and pairs | x, its neighbours |
//! | Suspect, Clear | whether the peer is in the ring | x, its neighbours |
//! | UnreachablePair, ExpirePair | who is absent to whom | both, and whoever steps in |
//! | LogOut, Expire | ends the session; the name stays its key's | x, its neighbours |
//! | Release | ends the session and frees the name | x, its neighbours |
//! | Remove | ends the session and bars the key; the name stays its own | x, its neighbours |
//! | Invite | which newcomers may come, and until when | nobody |
//! | Minute | ends invites, and frees names that were never used | nobody |
//!
//! A command that touches somebody makes a new epoch: its index in the log, and the log's incarnation, which is drawn
//! anew whenever the log may be an older copy of itself. The incarnation is no part of a snapshot: whoever keeps one keeps
//! it beside. A refused command changes nothing.

mod change;
mod command;
mod invites;
mod listing;
mod mesh;
mod outcome;
mod pairs;
mod snapshot;
#[cfg(test)]
mod tests;
mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub use command::{COMMAND_BYTES_MAX, COMMAND_VERSION, Command, CommandError, LogIn, Right, SuspectReason};
pub use invites::{INVITES_MAX, Invite};
pub use outcome::{Account, Applied, Ended, Entry, LoggedIn, Outcome, Refusal, Session};
pub use pairs::{PAIRS_MAX, PAIRS_PER_PEER_MAX, Pair};
pub use snapshot::{RestoreError, SNAPSHOT_VERSION};
pub use unused::{STAY as UNUSED_STAY, TERM as UNUSED_TERM};

use crate::id::{Address, Epoch, InviteId, Key, Name, SessionId, ShortId, SupernodeId};
use crate::lift::DEGREE_DEFAULT;
use crate::mutant::{self, Mutant};
use crate::removed::{REMOVED_MAX, RemovedKeys};
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::session::{NEIGHBOURS_MAX, Record, Rewire};
use invites::Invites;
use mesh::Mesh;
use unused::Unused;

/// Names that can be registered; the next one is refused with 429 until an operator releases one
pub const ACCOUNTS_MAX: usize = 1 << 20;

/// Peers that can be logged in at once, as many as routing was designed for; the next one is refused with 429
pub const SESSIONS_MAX: usize = 1 << 20;

/// The bounds, which belong to the log's meaning: replicas with other ones would differ
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    accounts: usize,
    sessions: usize,
    pairs: usize,
    removed: usize,
}

const LIMITS: Limits =
    Limits { accounts: ACCOUNTS_MAX, sessions: SESSIONS_MAX, pairs: PAIRS_MAX, removed: REMOVED_MAX };

/// The state that a log of commands makes
#[derive(Clone, Debug)]
pub struct Directory {
    limits: Limits,
    applied: u64,
    epoch: Epoch,
    accounts: BTreeMap<Name, Account>,
    sessions: BTreeMap<SessionId, Session>,
    by_key: BTreeMap<Key, SessionId>,
    by_address: BTreeMap<Address, SessionId>,
    by_home: BTreeMap<SupernodeId, BTreeSet<SessionId>>,
    mesh: Mesh,
    invites: Invites,
    removed: RemovedKeys,
    unused: Unused,
}

impl Directory {
    /// Before the first command: nobody, at degree [`DEGREE_DEFAULT`]
    ///
    /// The `incarnation` is the log's, so that its supernodes all give the same; see [`Epoch::incarnation`].
    pub fn new(incarnation: u32) -> Self {
        Self::with_limits(incarnation, LIMITS)
    }

    fn with_limits(incarnation: u32, limits: Limits) -> Self {
        Self {
            limits,
            applied: 0,
            epoch: Epoch::new(incarnation, 0),
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_home: BTreeMap::new(),
            mesh: Mesh::new(DEGREE_DEFAULT, limits.pairs),
            invites: Invites::default(),
            removed: RemovedKeys::default(),
            unused: Unused::default(),
        }
    }

    /// The index of the last command; 0 before the first
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// Of the last command that changed anybody's table
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The epoch that a command at `index` makes if it changes a table
    const fn epoch_at(&self, index: u64) -> Epoch {
        Epoch::new(self.epoch.incarnation, index)
    }

    /// d: the network's degree
    pub const fn degree(&self) -> u8 {
        self.mesh.degree()
    }

    /// Where the peer of this name is
    ///
    /// # Errors
    /// [`Status::NotFound`] if nobody registered the name; [`Status::Gone`] if its owner is logged out, or suspected to
    /// be gone: a suspect is not in the ring, so no packet finds it until it is heard again.
    pub fn look_up(&self, name: &Name) -> Result<Record, Status> {
        let account = self.accounts.get(name);
        let account = account.filter(|account| account.session.is_some() || !mutant::is(Mutant::GoneIsNotFound));
        let session = account.ok_or(Status::NotFound)?.session.and_then(|id| self.session(id));
        let session = session.filter(|s| s.suspect.is_none() || mutant::is(Mutant::LookUpFindsSuspect));
        session.map(Session::record).ok_or(Status::Gone)
    }

    /// The session at the place with this upper half; none if two are, which addresses' distances make all but impossible
    pub(crate) fn by_short(&self, short: ShortId) -> Option<&Session> {
        let low = u64::from(short.0) << 32;
        let mut found = self.by_address.range(Address(low)..=Address(low | u64::from(u32::MAX)));
        match (found.next(), found.next()) {
            (Some((_, id)), None) => self.session(*id),
            _ => None,
        }
    }

    /// The session at this place
    pub fn by_address(&self, address: Address) -> Option<&Session> {
        self.by_address.get(&address).and_then(|id| self.session(*id))
    }

    /// The session of this key
    pub(crate) fn by_key(&self, key: &Key) -> Option<&Session> {
        self.by_key.get(key).and_then(|id| self.session(*id))
    }

    /// The session with this id
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions, in the order of their ids
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &Session> {
        self.sessions.values()
    }

    /// The supernodes that sessions are at home at, in the order of their ids, each with how many
    pub fn homes(&self) -> impl Iterator<Item = (SupernodeId, usize)> + '_ {
        self.by_home.iter().map(|(home, sessions)| (*home, sessions.len()))
    }

    /// The sessions at home at this supernode behind this one, in the order of their ids
    pub fn at_home(&self, home: SupernodeId, behind: Option<SessionId>) -> impl Iterator<Item = SessionId> + '_ {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_home.get(&home).into_iter().flat_map(move |sessions| sessions.range((from, Bound::Unbounded))).copied()
    }

    /// The invite with this id, also one that is used up or has expired
    pub fn invite(&self, id: &InviteId) -> Option<&Invite> {
        self.invites.get(id)
    }

    /// The invites that still let somebody in
    pub fn invites(&self) -> impl Iterator<Item = &Invite> {
        self.invites.good()
    }

    /// Whether something ends after some more minutes, so that they must be counted: an invite, or a name's trial
    pub fn counts_minutes(&self) -> bool {
        self.invites.has_ending() || !self.unused.is_empty()
    }

    /// Minutes for which a supernode led the log while they were counted
    pub const fn minute(&self) -> u64 {
        self.invites.minute()
    }

    /// Names that were taken and not used yet, and become free if they are not by their term, [`UNUSED_TERM`]
    pub fn unused(&self) -> usize {
        self.unused.len()
    }

    /// Whether this key is barred for good
    pub fn is_removed(&self, key: &Key) -> bool {
        self.removed.contains(key)
    }

    /// All keys that are barred for good, in the order of their removals
    pub const fn removed(&self) -> &RemovedKeys {
        &self.removed
    }

    /// The owner of this name
    pub fn account(&self, name: &Name) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// All names with their owners, in the order of names
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (&Name, &Account)> {
        self.accounts.iter()
    }

    /// Everybody with a session, suspects too, in the order of addresses
    pub fn members(&self) -> impl ExactSizeIterator<Item = Address> + '_ {
        self.by_address.keys().copied()
    }

    /// Members out of the ring, in the order of their sessions' ids
    pub fn suspects(&self) -> impl Iterator<Item = &Session> {
        self.sessions().filter(|session| session.suspect.is_some())
    }

    /// Members − suspects: who is in the ring, in the order of addresses
    pub fn ring(&self) -> impl Iterator<Item = Address> + '_ {
        self.mesh.ring().iter()
    }

    /// The unreachable pairs, oldest first
    pub fn pairs(&self) -> impl Iterator<Item = Pair> + '_ {
        self.mesh.pairs().iter().map(|(_, pair)| pair)
    }

    /// The index of the command that made the two an unreachable pair, if they are one
    pub fn parted_at(&self, pair: Pair) -> Option<u64> {
        self.mesh.pairs().index_of(pair)
    }

    /// Whether the two are an unreachable pair
    pub(crate) fn are_apart(&self, pair: Pair) -> bool {
        self.mesh.pairs().contains(pair)
    }

    /// How many unreachable pairs there are
    pub fn pairs_len(&self) -> usize {
        self.mesh.pairs().len()
    }

    /// Whether the two are linked, by the tables; what one neighbour reports of another counts, of strangers it does not
    pub fn are_neighbours(&self, a: Address, b: Address) -> bool {
        self.mesh.neighbours(a).contains(&b)
    }

    /// The whole table of the peer at `address`, with the epoch of its last change; `None` if it is not in the ring
    pub fn neighbourhood(&self, address: Address) -> Option<Rewire> {
        let session = self.by_address(address).filter(|session| session.suspect.is_none())?;
        let neighbours = self.mesh.neighbours(address);
        if neighbours.len() > NEIGHBOURS_MAX {
            tracing::warn!(%address, links = neighbours.len(), reason = "a table holds no more", "neighbours left out");
        }
        let records = neighbours.into_iter().filter_map(|neighbour| self.by_address(neighbour)).map(Session::record);
        Some(Rewire {
            epoch: session.rewired,
            members: self.mesh.ring().len() as u64,
            degree: self.degree(),
            neighbours: Bounded::truncated(records),
            apart: Bounded::truncated(self.mesh.parted_from(address).filter(|_| !mutant::is(Mutant::PartingNotTold))),
        })
    }
}
