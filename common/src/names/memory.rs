//! What was found before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Key, Name, ShortId};
use crate::time::Instant;
use crate::wire::session::Record;

/// Records that are remembered; at the bound the one that would expire first is forgotten. About 2 MiB at most
pub const RECORDS_MAX: usize = 4_096;
/// How long a supernode's word is remembered unless it is configured: sends go on for a day without supernodes
pub const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// How long a flood's answer is remembered at most: nobody vouches for it, and asking again costs every neighbour
/// something
pub const REMEMBER_HEARSAY: Duration = Duration::from_secs(60);
/// An unchanged record is written to disk this often at most, or 24 times while it is remembered where that is sooner; so
/// much of its time may be lost by a restart
pub const WRITE_EVERY: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recalled {
    pub(super) record: Record,
    pub(super) age: Duration,
    /// A flood's answer
    pub(super) hearsay: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Record,
    expires: Instant,
    written: Option<Instant>,
    /// From when it was learnt until it expires
    lifetime: Duration,
}

impl Entry {
    fn is_hearsay(&self) -> bool {
        self.written.is_none()
    }

    fn recall(&self, now: Instant) -> Option<Recalled> {
        let hearsay = self.is_hearsay();
        (self.expires > now).then(|| Recalled { record: self.record.clone(), age: self.age(now), hearsay })
    }

    fn age(&self, now: Instant) -> Duration {
        self.lifetime.saturating_sub(self.expires - now)
    }
}

/// What has to change on disk
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Written {
    pub(super) save: Option<Record>,
    pub(super) erase: Vec<Name>,
}

#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// How long a supernode's word is remembered; none: nothing is
    remember: Duration,
    entries: BTreeMap<Name, Entry>,
    by_expiry: BTreeSet<(Instant, Name)>,
}

impl Memory {
    pub(super) const fn new(remember: Duration) -> Self {
        Self { remember, entries: BTreeMap::new(), by_expiry: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn recall(&self, now: Instant, name: &Name) -> Option<Recalled> {
        self.entries.get(name)?.recall(now)
    }

    /// A linear search: only the printing of paths asks for it
    pub(super) fn recall_short(&self, now: Instant, short: ShortId) -> Option<Recalled> {
        self.entries.values().filter(|entry| entry.record.address.short() == short).find_map(|entry| entry.recall(now))
    }

    /// What is worth keeping on disk, with its age
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (&Record, Duration)> {
        let kept = self.entries.values().filter(move |entry| !entry.is_hearsay() && entry.expires > now);
        kept.map(move |entry| (&entry.record, entry.age(now)))
    }

    /// Takes a record back from disk, or says that it must go there, too, as it is too old
    pub(super) fn restore(&mut self, now: Instant, record: Record, age: Duration) -> Written {
        if age >= self.remember {
            return Written { save: None, erase: vec![record.name] };
        }
        let (lifetime, expires) = (self.remember, now + (self.remember - age));
        Written { save: None, erase: self.insert(now, Entry { record, expires, written: Some(now), lifetime }) }
    }

    /// Remembers what a supernode said
    pub(super) fn learn(&mut self, now: Instant, record: &Record) -> Written {
        let written = self.entries.get(&record.name).filter(|known| known.record == *record).and_then(|k| k.written);
        if self.remember.is_zero() {
            return Written::default();
        }
        let written = written.filter(|at| now - *at < WRITE_EVERY.min(self.remember / 24));
        let (lifetime, expires) = (self.remember, now + self.remember);
        let entry = Entry { record: record.clone(), expires, written: written.or(Some(now)), lifetime };
        let save = written.is_none().then(|| record.clone());
        Written { save, erase: self.insert(now, entry) }
    }

    /// Remembers a flood's answer, unless a supernode's is known
    pub(super) fn overhear(&mut self, now: Instant, record: &Record) -> Written {
        let lifetime = REMEMBER_HEARSAY.min(self.remember);
        if lifetime.is_zero() || self.recall(now, &record.name).is_some_and(|known| !known.hearsay) {
            return Written::default();
        }
        let entry = Entry { record: record.clone(), expires: now + lifetime, written: None, lifetime };
        Written { save: None, erase: self.insert(now, entry) }
    }

    pub(super) fn forget(&mut self, name: &Name) -> Written {
        Written { save: None, erase: self.remove(name).into_iter().collect() }
    }

    pub(super) fn forget_keys(&mut self, keys: &[Key]) -> Written {
        let keys: BTreeSet<&Key> = keys.iter().collect();
        let gone = self.entries.iter().filter(|(_, entry)| keys.contains(&entry.record.key));
        let gone: Vec<Name> = gone.map(|(name, _)| name.clone()).collect();
        Written { save: None, erase: gone.iter().filter_map(|name| self.remove(name)).collect() }
    }

    /// Puts `new` in, and returns whose records on disk went for it
    fn insert(&mut self, now: Instant, new: Entry) -> Vec<Name> {
        let name = new.record.name.clone();
        // A successor on disk replaces this one there; hearsay has none.
        let replaced = self.remove(&name).filter(|_| new.is_hearsay());
        let mut erased: Vec<Name> = replaced.into_iter().collect();
        while let Some((expires, oldest)) = self.by_expiry.first().cloned() {
            if expires > now && self.entries.len() < RECORDS_MAX {
                break;
            }
            erased.extend(self.remove(&oldest));
        }
        self.by_expiry.insert((new.expires, name.clone()));
        self.entries.insert(name, new);
        erased
    }

    /// Takes an entry out; its name, if it is on disk
    fn remove(&mut self, name: &Name) -> Option<Name> {
        let entry = self.entries.remove(name)?;
        self.by_expiry.remove(&(entry.expires, name.clone()));
        (!entry.is_hearsay()).then(|| name.clone())
    }
}
