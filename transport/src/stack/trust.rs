//! Whose key a name has, for whoever has relied on it: a name that has another key later is nobody's until the user says whose.
//!
//! The directory says who has a name, and may be wrong: an operator gives a name free and somebody else takes it, or whoever
//! runs a supernode hands it out twice. Whoever has talked to somebody before need not believe that the next one is the same.
//!
//! | what happens | what is done |
//! |---|---|
//! | somebody who was called, sent to or piped to by name answers, and the directory confirms its session | its key is *pinned* to the name |
//! | the directory says that a pinned name has another key | whoever wants it ends, or waits, with 421 |
//! | memory, or a peer near by, says so | the directory is asked |
//! | whoever shows a grant with a pinned name holds another key | its connection ends with 421, whoever has made it |
//! | the user pins another key, or forgets the pin | what waits for the name goes on |
//!
//! Whoever only calls here, or sends something here, is pinned by nobody: strangers could fill the book of pins.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kith_common::crypto::Signer;
use kith_common::id::{Key, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::names::Answer;
use kith_common::status::Status;
use kith_common::time::Instant;

use super::{Stack, StackOutput};
use crate::output::ConnectionId;

/// Names whose keys are pinned at most: more than a person knows, and less than 3 MB. At the bound nobody new is pinned, which
/// an event says, until the user forgets some
pub const PINS_MAX: usize = 16_384;

/// The key that a name must have
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub key: Key,
    /// Another one that the name was found with last, since this process has started
    pub refused: Option<Key>,
}

/// The keys that names must have, and those that are to be pinned once the directory has confirmed them
#[derive(Debug, Default)]
pub(super) struct Trust {
    pins: BTreeMap<Name, Pin>,
    /// Who has answered, and is not confirmed yet; as many as there are connections
    unconfirmed: BTreeMap<Key, Name>,
    /// Whether it was said that nobody new is pinned
    is_full_told: bool,
}

impl Trust {
    /// Whether whoever has this name, and holds this key, is not whom this peer knows by that name
    pub(super) fn is_another(&self, name: &Name, key: &Key) -> bool {
        self.pins.get(name).is_some_and(|pin| pin.key != *key) && !mutant::is(Mutant::PinsIgnored)
    }

    /// A pinned name was found with another key; whether that is news
    fn refuse(&mut self, name: &Name, key: Key) -> Option<Key> {
        let pin = self.pins.get_mut(name)?;
        (pin.refused.replace(key) != Some(key)).then_some(pin.key)
    }

    /// From now on this name must have this key
    fn pin(&mut self, name: Name, key: Key, reason: &'static str) -> Result<(), TooManyPins> {
        if !self.pins.contains_key(&name) && self.pins.len() >= PINS_MAX {
            return Err(TooManyPins);
        }
        tracing::info!(event = "key_pinned", %name, %key, reason);
        self.pins.insert(name, Pin { key, refused: None });
        Ok(())
    }

    /// There is no connection with this key any more
    pub(super) fn forget(&mut self, key: &Key) {
        self.unconfirmed.remove(key);
    }
}

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// Pins that were [told](StackOutput::Pinned) to an earlier process, or [set](Self::pin) there; before anything else is asked of
    /// this one
    pub fn restore_pins(&mut self, pins: impl IntoIterator<Item = (Name, Key)>) {
        if mutant::is(Mutant::PinsForgotten) {
            return;
        }
        let pins = pins.into_iter().map(|(name, key)| (name, Pin { key, refused: None }));
        self.trust.pins.extend(pins);
    }

    /// The pins of names behind `after`, in their order
    pub fn pins(&self, after: Option<&Name>) -> impl Iterator<Item = (&Name, &Pin)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.trust.pins.range::<Name, _>((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The key that a name must have
    pub fn pin_of(&self, name: &Name) -> Option<&Pin> {
        self.trust.pins.get(name)
    }

    /// The user says whose a name is: whoever has it by another key loses its connection
    ///
    /// # Errors
    /// [`TooManyPins`]: nothing has changed.
    pub fn pin(&mut self, now: Instant, name: Name, key: Key) -> Result<(), TooManyPins> {
        self.trust.pin(name.clone(), key, "the user says so")?;
        self.close_others(now, &name, &key);
        // What is on its way to the holder of another key is not for him.
        let others: Vec<Key> = self.calls.handle_trusted(&name, Some(&key));
        let others = others.into_iter().chain(self.messages.handle_trusted(now, &name, Some(&key)));
        self.close_distrusted(now, &others.collect::<Vec<_>>());
        self.settle(now);
        Ok(())
    }

    /// The user says that a name may have any key again, until somebody is relied on; the key that it had to have
    pub fn unpin(&mut self, now: Instant, name: &Name) -> Option<Key> {
        let pin = self.trust.pins.remove(name)?;
        tracing::info!(event = "key_unpinned", %name, key = %pin.key, reason = "the user says so");
        self.messages.handle_trusted(now, name, None);
        self.trust.is_full_told = false;
        self.settle(now);
        Some(pin.key)
    }

    fn close_others(&mut self, now: Instant, name: &Name, key: &Key) {
        let Some(transport) = &self.transport else { return };
        let others: Vec<Key> = transport.known_as(name).filter(|other| *other != key).copied().collect();
        self.close_distrusted(now, &others);
    }

    fn close_distrusted(&mut self, now: Instant, keys: &[Key]) {
        let Some(transport) = &mut self.transport else { return };
        keys.iter().for_each(|key| transport.close(now, key, Status::AnotherKey.code().into()));
    }

    /// Whether a confirmation is one to pin a key by
    pub(super) fn note_sure(&mut self, connection: ConnectionId, confirms: bool) {
        if confirms && self.peer.home_link().is_some() {
            self.checks.note_sure(connection);
        }
    }

    /// Whoever was asked for by this name has answered, and holds this key
    pub(super) fn rely(&mut self, now: Instant, name: Name, key: Key) {
        let is_pinned = self.trust.pins.contains_key(&name) || mutant::is(Mutant::FirstNotPinned);
        if is_pinned || key == self.peer.key() {
            return;
        }
        let Some(transport) = self.transport.as_ref().filter(|transport| transport.is_connected(&key)) else { return };
        let standing = transport.standing_with(&key).and_then(|id| Some((id, transport.grant_on(id)?)));
        // Memory may have the name of somebody who has another by now.
        let standing = standing.filter(|(_, grant)| grant.name == name);
        let renewed = standing.map(|(connection, grant)| (connection, self.peer.confirms(grant)));
        self.trust.unconfirmed.insert(key, name.clone());
        if let Some((connection, confirms)) = renewed {
            // It may have been let in while nobody could be asked.
            if !self.checks.is_sure(connection) {
                self.renew(now, connection, confirms);
            }
            self.handle_checked(now, connection, &key, &name);
        }
    }

    /// A session that was shown on a connection, with this name, may be confirmed by now
    pub(super) fn handle_checked(&mut self, now: Instant, connection: ConnectionId, key: &Key, name: &Name) {
        if self.trust.unconfirmed.get(key) == Some(name) && self.checks.is_sure(connection) {
            self.trust.unconfirmed.remove(key);
            if !self.trust.pins.contains_key(name) {
                self.pin_first(now, name.clone(), *key);
            }
        }
    }

    fn pin_first(&mut self, now: Instant, name: Name, key: Key) {
        if let Err(reason) = self.trust.pin(name.clone(), key, "it was relied on for the first time") {
            if !std::mem::replace(&mut self.trust.is_full_told, true) {
                tracing::warn!(event = "key_not_pinned", %name, %key, %reason);
            }
            return;
        }
        self.outputs.push_back(StackOutput::Pinned { name: name.clone(), key });
        // Who had the name before, or has it no more, is not to be heard under it.
        self.close_others(now, &name, &key);
    }

    /// What an answer of the look-up is worth to whoever wants the holder of a name
    pub(super) fn trusted<'a>(&mut self, answer: Result<&'a Answer, Status>) -> Result<Cow<'a, Answer>, Status> {
        let answer = answer?;
        let Some(key) = answer.record.as_ref().map(|record| record.key) else { return Ok(Cow::Borrowed(answer)) };
        let is_sure = answer.is_sure();
        if !self.trust.is_another(&answer.name, &key) {
            if is_sure && let Some(pin) = self.trust.pins.get_mut(&answer.name) {
                pin.refused = None;
            }
            return Ok(Cow::Borrowed(answer));
        }
        if is_sure {
            self.tell_refused(&answer.name, key);
            return Err(Status::AnotherKey);
        }
        // What is remembered may be of before the user has said so, and what a peer near by says may be a lie.
        Ok(Cow::Owned(Answer { record: None, ..answer.clone() }))
    }

    /// Whoever is at the other end is not whom this peer knows by its name
    pub(super) fn refuse_another(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(transport) = &mut self.transport {
            transport.refuse(now, connection, Status::AnotherKey.code());
        }
    }

    fn tell_refused(&mut self, name: &Name, key: Key) {
        if let Some(pinned) = self.trust.refuse(name, key) {
            tracing::warn!(event = "key_refused", %name, %key, %pinned, reason = "its name was relied on with the other key");
            self.outputs.push_back(StackOutput::KeyRefused { name: name.clone(), key, pinned });
        }
    }
}

/// There are [`PINS_MAX`] pins: one must be forgotten first
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{PINS_MAX} names are pinned already: forget one first")]
pub struct TooManyPins;
