//! Which names there are: page by page, or those that somebody who mistyped one may have meant.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Account, Directory, Session};
use crate::id::{Address, Name};
use crate::status::Status;
use crate::wire::bounded::Bounded;
use crate::wire::session::{LISTED_MAX, List, Listed, Listing, Presence, Which};

/// Names like another one that are told at most: a line of a terminal holds no more
const LIKE_MAX: usize = 3;

/// The longest text whose neighbours are tried one by one: some 2,400 texts, each looked up, take a millisecond
const MISTYPED_BYTES_MAX: usize = 32;

/// The shortest beginning that says something of the whole
const BEGINNING_BYTES_MIN: usize = 3;

/// All that a name consists of
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";

impl Directory {
    /// The answer to a peer's question for names
    pub fn list(&self, list: &List) -> Listing {
        let listed: Vec<Listed> = match &list.which {
            Which::After(after) => {
                let page = self.accounts_after(after.as_ref()).take(LISTED_MAX);
                page.map(|(name, account)| self.listed(name, account)).collect()
            }
            Which::Like(name) => {
                let like = self.like(name.as_str());
                like.iter().filter_map(|name| Some(self.listed(name, self.account(name)?))).collect()
            }
        };
        Listing {
            query: list.query,
            status: Status::Delivered,
            names: self.accounts.len() as u64,
            members: self.mesh.ring().len() as u64,
            listed: Bounded::truncated(listed),
        }
    }

    /// The names behind this one with their owners, or all, in the order of names
    pub fn accounts_after(&self, after: Option<&Name>) -> impl Iterator<Item = (&Name, &Account)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.accounts.range::<Name, _>((start, Bound::Unbounded))
    }

    /// The sessions of the ring behind this place, or all, in the order of addresses; the ring ends at its zero
    pub fn ring_after(&self, after: Option<Address>) -> impl Iterator<Item = &Session> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let members = self.by_address.range((start, Bound::Unbounded));
        members.filter_map(|(_, id)| self.session(*id)).filter(|session| session.suspect.is_none())
    }

    fn listed(&self, name: &Name, account: &Account) -> Listed {
        let presence = match account.session.and_then(|session| self.session(session)) {
            None => Presence::Away,
            Some(session) if session.suspect.is_some() => Presence::Suspect,
            Some(session) => Presence::Here(session.address),
        };
        Listed { name: name.clone(), presence }
    }

    /// Names one slip away from `text`, then those that begin with it or that it begins with; at most [`LIKE_MAX`]
    ///
    /// A slip is found by trying them all: so the cost is the text's, and not that of a million names.
    fn like(&self, text: &str) -> BTreeSet<Name> {
        let slips = slips(text.as_bytes());
        let mistyped = slips.iter().filter_map(|slip| self.accounts.get_key_value(std::str::from_utf8(slip).ok()?));
        let from = (Bound::Excluded(text), Bound::Unbounded);
        let longer = self.accounts.range::<str, _>(from).take_while(|(name, _)| name.as_str().starts_with(text));
        let beginnings = (BEGINNING_BYTES_MIN..text.len()).rev().filter_map(|end| text.get(..end));
        let shorter = beginnings.filter_map(|beginning| self.accounts.get_key_value(beginning));
        mistyped.chain(longer).chain(shorter).map(|(name, _)| name.clone()).take(LIKE_MAX).collect()
    }
}

/// Every text that becomes `text` by one letter too many, too few, wrong, or two that changed places
fn slips(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut slips = BTreeSet::new();
    if text.len() > MISTYPED_BYTES_MAX {
        return slips;
    }
    for at in 0..=text.len() {
        let (before, after) = text.split_at(at);
        let with = |letters: &[u8], rest: &[u8]| [before, letters, rest].concat();
        let rest = after.get(1..);
        slips.extend(LETTERS.iter().map(|letter| with(&[*letter], after)));
        slips.extend(rest.map(|rest| with(&[], rest)));
        slips.extend(rest.into_iter().flat_map(|rest| LETTERS.iter().map(move |letter| with(&[*letter], rest))));
        if let [first, second, rest @ ..] = after {
            slips.insert(with(&[*second, *first], rest));
        }
    }
    // That nobody has this name is known already.
    slips.remove(text);
    slips
}
