//! Which names a peer is told.

use super::*;
use crate::wire::session::{LISTED_MAX, List, Listing, Presence, Which};

fn named(names: &[&str]) -> Directory {
    let mut directory = Directory::new(0);
    for (i, text) in names.iter().enumerate() {
        directory.enter(LogIn { name: text.parse().unwrap(), ..login(i as u32, 0) });
    }
    directory
}

fn list(directory: &Directory, which: Which) -> Listing {
    directory.list(&List { query: 5, which })
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.listed.iter().map(|listed| listed.name.as_str()).collect()
}

fn like(directory: &Directory, text: &str) -> Vec<String> {
    let listing = list(directory, Which::Like(text.parse().unwrap()));
    names(&listing).into_iter().map(str::to_owned).collect()
}

#[test]
fn pages_hold_every_name_once_and_the_last_one_is_short() {
    let directory = of(2 * LISTED_MAX as u32 + 1);
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let listing = list(&directory, Which::After(after));
        assert_eq!((listing.query, listing.names, listing.members), (5, 201, 201));
        after = listing.listed.last().map(|listed| listed.name.clone());
        let is_last = listing.listed.len() < LISTED_MAX;
        pages.push(listing);
        if is_last {
            break;
        }
    }
    assert_eq!(pages.iter().map(|page| page.listed.len()).collect::<Vec<_>>(), [LISTED_MAX, LISTED_MAX, 1]);
    let told: Vec<&str> = pages.iter().flat_map(names).collect();
    let all: Vec<&str> = directory.accounts().map(|(name, _)| name.as_str()).collect();
    assert_eq!(told, all);
}

#[test]
fn ring_behind_a_place_is_whoever_comes_after_it_and_no_suspect() {
    let mut directory = of(9);
    directory.feed(suspect(4));
    let ring: Vec<Address> = directory.ring().collect();
    let after = |at: Option<Address>| directory.ring_after(at).map(|session| session.address).collect::<Vec<_>>();
    assert_eq!((ring.len(), after(None)), (8, ring.clone()));
    for (i, at) in ring.iter().enumerate() {
        assert_eq!(after(Some(*at)), ring[i + 1..]);
    }
    let suspected = address(&directory, 4);
    assert_eq!(after(Some(suspected)), ring.iter().copied().filter(|at| *at > suspected).collect::<Vec<_>>());
}

#[test]
fn names_of_those_who_are_away_and_of_suspects_are_told_as_such() {
    let mut directory = of(3);
    directory.feed(Command::LogOut { session: session(0, 0) });
    directory.feed(suspect(1));
    let listing = list(&directory, Which::After(None));
    let presences: Vec<Presence> = listing.listed.iter().map(|listed| listed.presence).collect();
    assert_eq!(presences, [Presence::Away, Presence::Suspect, Presence::Here(address(&directory, 2))]);
    assert_eq!((listing.names, listing.members), (3, 1));
}

#[test]
fn slip_of_one_letter_and_a_beginning_find_the_name_that_was_meant() {
    let directory = named(&["heidi", "carol", "host-of-heidi"]);
    for slip in ["heid", "heidii", "hiedi", "heide", "eidi", "xheidi"] {
        assert_eq!(like(&directory, slip), ["heidi"], "{slip}");
    }
    assert_eq!(like(&directory, "host"), ["host-of-heidi"]);
    assert_eq!(like(&directory, "carol-at-work"), ["carol"]);
    assert_eq!(like(&directory, "helga"), [""; 0]);
    // Longer texts have too many neighbours to try.
    assert_eq!(like(&directory, &"h".repeat(63)), [""; 0]);
}

#[test]
fn like_one_name_are_three_at_most() {
    let directory = named(&["bob-1", "bob-2", "bob-3", "bob-4", "bob-5"]);
    assert_eq!(like(&directory, "bob").len(), 3);
}
