//! The whole directory as bytes, so that the log can be cut.
//!
//! A snapshot is [`SNAPSHOT_VERSION`] and then items, each a `u16` length (little endian) and its encoding: one head,
//! the accounts in the order of names, the sessions in the order of ids, the pairs from the oldest, the invites in the
//! order of ids, the barred keys in the order of their removals. Equal directories have equal snapshots, and one that holds
//! anything in another order is refused.

use bincode::{Decode, Encode};

use super::command::SuspectReason;
use super::invites::Invites;
use super::mesh::Mesh;
use super::outcome::{Account, Session};
use super::pairs::{Pair, Pairs};
use super::{Directory, Invite, LIMITS, Limits};
use crate::id::{Address, Epoch, Key, Name, SessionId, SupernodeId};
use crate::invite::Token;
use crate::lift;
use crate::mutant::{self, Mutant};
use crate::wire::session::Locations;
use crate::wire::{self, WireError};

/// The first byte of a snapshot
pub const SNAPSHOT_VERSION: u8 = 5;

/// The version before, which did not say which names were used: all were
const VERSION_BEFORE: u8 = 4;

/// Bytes that are no snapshot; no directory was made of them
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Another version of the program wrote it
    #[error("the snapshot has version {0}, this is version {SNAPSHOT_VERSION}")]
    Version(u8),
    /// The bytes end too early, or are no items
    #[error("the snapshot is damaged: {0}")]
    Bytes(#[from] WireError),
    /// The items do not make a directory
    #[error("the snapshot is damaged: {0}")]
    Inconsistent(&'static str),
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
struct Head {
    applied: u64,
    epoch: u64,
    degree: u8,
    accounts: u64,
    sessions: u64,
    pairs: u64,
    invites: u64,
    minute: u64,
    removed: u64,
}

#[derive(Clone, Debug, Encode, Decode)]
struct AccountItem {
    name: Name,
    key: Key,
    /// The minute at which its trial ends, if it is on trial
    unused_until: Option<u64>,
}

/// As [`VERSION_BEFORE`] has it
#[derive(Clone, Debug, Encode, Decode)]
struct AccountItemBefore {
    name: Name,
    key: Key,
}

/// The key is the account's
#[derive(Clone, Debug, Encode, Decode)]
struct SessionItem {
    id: SessionId,
    name: Name,
    address: Address,
    epoch: u64,
    rewired: u64,
    locations: Locations,
    home: SupernodeId,
    suspect: Option<SuspectReason>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct InviteItem {
    token: Token,
    name: Option<Name>,
    uses: u32,
    until: Option<u64>,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
struct PairItem {
    index: u64,
    low: Address,
    high: Address,
}

impl Directory {
    /// Everything, as bytes: some 70 a name and 150 a session
    ///
    /// # Errors
    /// None of a directory: every item is bounded.
    pub fn snapshot(&self) -> Result<Vec<u8>, WireError> {
        let mut out = vec![SNAPSHOT_VERSION];
        let pairs = self.mesh.pairs();
        let head = Head {
            applied: self.applied,
            epoch: self.epoch.index,
            degree: self.degree(),
            accounts: self.accounts.len() as u64,
            sessions: self.sessions.len() as u64,
            pairs: pairs.len() as u64,
            invites: self.invites.iter().len() as u64,
            minute: self.invites.minute(),
            removed: self.removed.len() as u64,
        };
        write(&head, &mut out)?;
        for (name, account) in &self.accounts {
            let unused_until = self.unused.end_of(name);
            write(&AccountItem { name: name.clone(), key: account.key, unused_until }, &mut out)?;
        }
        for session in self.sessions.values() {
            write(&SessionItem::of(session), &mut out)?;
        }
        for (index, Pair { low, high }) in pairs.iter() {
            write(&PairItem { index, low, high }, &mut out)?;
        }
        for (_, Invite { token, name, uses, until }) in self.invites.iter() {
            write(&InviteItem { token: *token, name: name.clone(), uses: *uses, until: *until }, &mut out)?;
        }
        for key in self.removed.iter() {
            write(key, &mut out)?;
        }
        Ok(out)
    }

    /// The directory that [`Directory::snapshot`] wrote
    ///
    /// # Errors
    /// [`RestoreError`] says whether the bytes are of another version or damaged. Memory is taken as items are read, so
    /// a lying count takes none.
    pub fn restore(incarnation: u32, bytes: &[u8]) -> Result<Self, RestoreError> {
        Self::restore_within(LIMITS, incarnation, bytes)
    }

    pub(super) fn restore_within(limits: Limits, incarnation: u32, bytes: &[u8]) -> Result<Self, RestoreError> {
        let (version, rest) = bytes.split_first().ok_or(WireError::Malformed)?;
        if ![VERSION_BEFORE, SNAPSHOT_VERSION].contains(version) {
            return Err(RestoreError::Version(*version));
        }
        let mut items = Items(rest);
        let head: Head = items.next()?;
        head.check(limits)?;
        let mut directory = Self::with_limits(incarnation, limits);
        (directory.applied, directory.epoch.index) = (head.applied, head.epoch);
        directory.read_accounts(*version, head.accounts, &mut items)?;
        directory.read_sessions(head.sessions, &mut items)?;
        let pairs = directory.read_pairs(head.pairs, &mut items)?;
        directory.read_invites(&head, &mut items)?;
        directory.read_removed(head.removed, &mut items)?;
        let present = directory.sessions.values().filter(|session| session.suspect.is_none());
        let ring = present.map(|session| session.address).collect();
        directory.mesh = Mesh::restored(head.degree, directory.members().collect(), ring, pairs);
        if items.0.is_empty() { Ok(directory) } else { Err(WireError::Trailing.into()) }
    }

    fn read_accounts(&mut self, version: u8, count: u64, items: &mut Items<'_>) -> Result<(), RestoreError> {
        for _ in 0..count {
            let AccountItem { name, key, unused_until } = if version == VERSION_BEFORE {
                let AccountItemBefore { name, key } = items.next()?;
                AccountItem { name, key, unused_until: None }
            } else {
                items.next()?
            };
            if self.accounts.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(RestoreError::Inconsistent("names out of order"));
            }
            if let Some(end) = unused_until {
                self.unused.restore(name.clone(), end);
            }
            self.accounts.insert(name, Account { key, session: None });
        }
        Ok(())
    }

    fn read_sessions(&mut self, count: u64, items: &mut Items<'_>) -> Result<(), RestoreError> {
        for _ in 0..count {
            let item: SessionItem = items.next()?;
            if self.sessions.last_key_value().is_some_and(|(last, _)| *last >= item.id) {
                return Err(RestoreError::Inconsistent("sessions out of order"));
            }
            let account = self.accounts.get(&item.name).filter(|account| account.session.is_none());
            let key = account.ok_or(RestoreError::Inconsistent("a session without a name of its own"))?.key;
            if self.by_key.contains_key(&key) || self.by_address.contains_key(&item.address) {
                return Err(RestoreError::Inconsistent("two sessions of one key or at one place"));
            }
            if item.epoch > item.rewired || item.rewired > self.epoch.index {
                return Err(RestoreError::Inconsistent("a session newer than its table, or than the directory"));
            }
            self.insert(item.into_session(self.epoch.incarnation, key));
        }
        Ok(())
    }

    fn read_invites(&mut self, head: &Head, items: &mut Items<'_>) -> Result<(), RestoreError> {
        self.invites = Invites::at(head.minute);
        for _ in 0..head.invites {
            let InviteItem { token, name, uses, until } = items.next()?;
            let invite = Invite { token, name, uses, until };
            if !self.invites.restore(invite) {
                return Err(RestoreError::Inconsistent("too many invites, or out of order"));
            }
        }
        Ok(())
    }

    fn read_removed(&mut self, count: u64, items: &mut Items<'_>) -> Result<(), RestoreError> {
        for _ in 0..count {
            let key: Key = items.next()?;
            if self.by_key.contains_key(&key) {
                return Err(RestoreError::Inconsistent("a session of a barred key"));
            }
            if !self.removed.push(key) {
                return Err(RestoreError::Inconsistent("a barred key twice"));
            }
        }
        Ok(())
    }

    fn read_pairs(&self, count: u64, items: &mut Items<'_>) -> Result<Pairs, RestoreError> {
        let mut pairs = Pairs::new(self.limits.pairs);
        let mut last = 0;
        for _ in 0..count {
            let PairItem { index, low, high } = items.next()?;
            let pair = Pair { low, high };
            let known = pair.ends().iter().all(|end| self.by_address.contains_key(end));
            if index <= last || index > self.applied || low >= high || !known || !pairs.in_the_way_of(pair).is_empty() {
                return Err(RestoreError::Inconsistent("an unreachable pair that cannot be"));
            }
            if pairs.contains(pair) {
                return Err(RestoreError::Inconsistent("an unreachable pair twice"));
            }
            pairs.insert(index, pair);
            last = index;
        }
        Ok(pairs)
    }
}

/// Of one incarnation, and with the same in them: equal directories have equal snapshots
impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.snapshot() == other.snapshot()
    }
}

impl Eq for Directory {}

impl Head {
    fn check(&self, limits: Limits) -> Result<(), RestoreError> {
        let within = |count: u64, max: usize| usize::try_from(count).is_ok_and(|count| count <= max);
        let bounded = within(self.accounts, limits.accounts)
            && within(self.sessions, limits.sessions)
            && within(self.pairs, limits.pairs)
            && within(self.removed, limits.removed);
        if !bounded {
            return Err(RestoreError::Inconsistent("more than a directory holds"));
        }
        if !lift::is_degree(self.degree) || self.epoch > self.applied {
            return Err(RestoreError::Inconsistent("a degree or an epoch that cannot be"));
        }
        Ok(())
    }
}

impl SessionItem {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id,
            name: session.name.clone(),
            address: session.address,
            epoch: session.epoch.index,
            rewired: session.rewired.index,
            locations: session.locations.clone(),
            home: session.home,
            suspect: session.suspect,
        }
    }

    fn into_session(self, incarnation: u32, key: Key) -> Session {
        let Self { id, name, address, epoch, rewired, locations, home, suspect } = self;
        let (epoch, rewired) = (Epoch::new(incarnation, epoch), Epoch::new(incarnation, rewired));
        let suspect = suspect.filter(|_| !mutant::is(Mutant::SuspectsForgotten));
        Session { id, name, key, address, epoch, rewired, locations, home, suspect }
    }
}

fn write<T: Encode>(item: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let bytes = wire::encode(item)?;
    let len = u16::try_from(bytes.len()).map_err(|_| WireError::TooLong)?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&bytes);
    Ok(())
}

struct Items<'a>(&'a [u8]);

impl Items<'_> {
    fn next<T: Decode<()>>(&mut self) -> Result<T, WireError> {
        let (len, rest) = self.0.split_first_chunk::<2>().ok_or(WireError::Malformed)?;
        let (item, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))).ok_or(WireError::Malformed)?;
        self.0 = rest;
        wire::decode(item)
    }
}
