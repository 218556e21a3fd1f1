//! Every count is held to its bound by the decoder: the largest is read, one more is not.

use kith_common::id::{Address, Epoch, Name, ShortId};
use kith_common::wire::agreement::{COMMANDS_PER_ENTRY, Configuration, Proposals};
use kith_common::wire::backbone::Beat;
use kith_common::wire::bounded::{Bounded, Bytes, Text};
use kith_common::wire::content::{Call, PathHop, Payload, Receipt, Reply, Undeliverable, VALUE_BYTES_MAX};
use kith_common::wire::grant::{SignedCertificate, SignedGrant};
use kith_common::wire::link::{AskRecords, Delta, LinkState, RECORDS_MAX, Records, Table, TableEntry, UNSEEN_MAX};
use kith_common::wire::packet::{ENTRIES_MAX, PAYLOAD_BYTES_MAX};
use kith_common::wire::removed::{KEYS_PER_PAGE, Removed, SignedMark};
use kith_common::wire::session::{
    LISTED_MAX, LOCATIONS_MAX, Listed, Listing, Location, Locations, NEIGHBOURS_MAX, Presence, Reason, Record, Rewire,
    SUPERNODES_MAX, Supernodes,
};
use kith_common::wire::{WireError, decode, encode};

use super::values::{BOB, name, record, removed};

/// A collection of a larger type has the same form, so it makes what the bound must refuse
fn list<T: bincode::Encode>(values: Vec<T>) -> Vec<u8> {
    encode(&Bounded::<T, 65_535>::try_from(values).unwrap()).unwrap()
}

fn bytes(len: usize) -> Vec<u8> {
    encode(&Bytes::<65_535>::try_from(vec![b'a'; len]).unwrap()).unwrap()
}

fn check<T: bincode::Decode<()>>(what: &str, max: usize, with: impl Fn(usize) -> Vec<u8>) {
    assert!(decode::<T>(&with(max)).is_ok(), "{max} {what}");
    assert_eq!(decode::<T>(&with(max + 1)).err(), Some(WireError::Malformed), "{} {what}", max + 1);
}

#[test]
fn counts_over_the_bound_are_refused() {
    let prefixed = |prefix: usize, counted: Vec<u8>| [vec![0; prefix], counted].concat();
    let entry = TableEntry { address: BOB, up: true, name: name("bob") };
    let state = LinkState { address: BOB, up: true };
    let location = Location::truncated("/ip4/192.0.2.7/tcp/7400");
    let hop = PathHop { short: ShortId(1), relay: false, name: None };
    let followed = |head: Vec<u8>, counted: Vec<u8>| [head, counted].concat();
    let entries = |n| prefixed(12, list(vec![entry.clone(); n]));
    check::<Table>("entries", NEIGHBOURS_MAX, |n| followed(entries(n), vec![0; 2]));
    check::<Table>("unseen", UNSEEN_MAX, |n| followed(entries(1), list(vec![BOB; n])));
    check::<Delta>("changes", NEIGHBOURS_MAX, |n| list(vec![state; n]));
    check::<AskRecords>("places", RECORDS_MAX, |n| list(vec![BOB; n]));
    check::<Records>("records", RECORDS_MAX, |n| list(vec![record(); n]));
    check::<Listing>("names of a listing", LISTED_MAX, |n| {
        let listed = Listed { name: name("bob"), presence: Presence::Away };
        [vec![0; 8], vec![200, 0], vec![0; 16], list(vec![listed; n])].concat()
    });
    let end = encode(&removed().end).unwrap();
    check::<Removed>("keys of a page", KEYS_PER_PAGE, |n| {
        [vec![0; 20], list(vec![[8u8; 32]; n]), end.clone()].concat()
    });
    check::<Supernodes>("supernodes", SUPERNODES_MAX, |n| prefixed(8, list(vec![[0u8; 12]; n])));
    check::<Proposals>("commands of an entry", COMMANDS_PER_ENTRY, |n| list(vec![[0u8; 26]; n]));
    check::<Configuration>("groups of voters", 2, |n| followed(list(vec![0u16; n]), vec![0; 2]));
    check::<Configuration>("supernodes of a configuration", SUPERNODES_MAX, |n| prefixed(2, list(vec![[0u8; 10]; n])));
    check::<Beat>("supernodes that one sees", SUPERNODES_MAX, |n| prefixed(3, list(vec![0u64; n])));
    check::<SignedMark>("bytes of a mark", 64, |n| [bytes(n), vec![0; 64], bytes(0), vec![0; 64]].concat());
    let neighbours = |n| prefixed(21, list(vec![record(); n]));
    check::<Rewire>("neighbours", NEIGHBOURS_MAX, |n| followed(neighbours(n), vec![0; 2]));
    check::<Rewire>("parted", NEIGHBOURS_MAX, |n| followed(neighbours(1), list(vec![BOB; n])));
    check::<Locations>("locations", LOCATIONS_MAX, |n| list(vec![location.clone(); n]));
    check::<Record>("locations of a record", LOCATIONS_MAX, |n| {
        let head = encode(&(name("bob"), [0u8; 32], Address(1), Epoch::new(0, 1))).unwrap();
        [head, list(vec![location.clone(); n])].concat()
    });
    check::<Reply>("hops of a reply", ENTRIES_MAX, |n| {
        [vec![0; 16], vec![200, 0], list(vec![hop.clone(); n]), bytes(0)].concat()
    });
    check::<Receipt>("hops of a receipt", ENTRIES_MAX, |n| followed(list(vec![hop.clone(); n]), bytes(0)));
    check::<Undeliverable>("hops of a packet", ENTRIES_MAX, |n| {
        [vec![0; 16], vec![0xf7, 1], vec![0; 4], list(vec![hop.clone(); n])].concat()
    });
    check::<Call>("arguments", 64, |n| {
        let argument = Bytes::<1>::try_from(vec![1]).unwrap();
        [bytes(4), list(vec![argument; n])].concat()
    });
}

#[test]
fn texts_and_bytes_over_the_bound_are_refused() {
    check::<Name>("bytes of a name", Name::BYTES_MAX, bytes);
    check::<Location>("bytes of a location", 100, bytes);
    check::<Reason>("bytes of a reason", 200, bytes);
    check::<Call>("bytes of a function's name", 64, |n| [bytes(n), vec![0; 2]].concat());
    check::<SignedCertificate>("bytes of a certificate", 128, |n| [bytes(n), vec![0; 64]].concat());
    check::<SignedGrant>("bytes of a grant", 256, |n| [bytes(n), vec![0; 64], bytes(0), vec![0; 64]].concat());
    check::<Call>("bytes of an argument", VALUE_BYTES_MAX, |n| [bytes(4), vec![1, 0], bytes(n)].concat());
    check::<Reply>("bytes of a reply's reason", 200, |n| [vec![0; 16], vec![200, 0], vec![0; 2], bytes(n)].concat());
    check::<Receipt>("bytes of a receipt's reason", 200, |n| [vec![0; 2], bytes(n)].concat());
    check::<Payload>("bytes of a datagram", PAYLOAD_BYTES_MAX - 6, |n| [vec![3, 0, 0, 0], bytes(n)].concat());
    check::<Payload>("bytes of a signed message", 11_264, |n| {
        [vec![0; 4], bytes(0), vec![0; 64], bytes(0), vec![0; 64], bytes(n), vec![0; 64]].concat()
    });
}

#[test]
fn count_without_values_is_refused() {
    assert_eq!(decode::<Delta>(&[64, 0]), Err(WireError::Malformed));
    assert_eq!(decode::<Delta>(&[0xff, 0xff]), Err(WireError::Malformed));
    assert_eq!(decode::<Location>(&[100, 0, b'/']), Err(WireError::Malformed));
}

#[test]
fn texts_with_control_characters_or_bad_utf8_are_refused() {
    let text = |text: &[u8]| {
        let bytes = encode(&Bytes::<100>::try_from(text.to_vec()).unwrap()).unwrap();
        decode::<Reason>(&bytes).map(|reason| reason.to_string())
    };
    assert_eq!(text("grüß dich ☂".as_bytes()).as_deref(), Ok("grüß dich ☂"));
    for bad in ["\u{1b}[2J", "a\nb", "a\rb", "\0", "\t", "\u{7f}", "\u{9b}31m"] {
        assert_eq!(text(bad.as_bytes()), Err(WireError::Malformed), "{bad:?}");
    }
    for bad in [&[0xff][..], &[0xc3], &[0xed, 0xa0, 0x80], &[0xc0, 0x80]] {
        assert_eq!(text(bad), Err(WireError::Malformed), "{bad:?}");
    }
}

#[test]
fn text_is_cut_between_characters_and_cleaned() {
    assert_eq!(&*Text::<4>::truncated("aüöb"), "aü");
    assert_eq!(&*Text::<5>::truncated("aüöb"), "aüö");
    assert_eq!(&*Text::<20>::truncated("a\u{1b}[2J"), "a\u{fffd}[2J");
    assert!(Text::<4>::try_from("abcde".to_owned()).is_err());
    assert!(Text::<4>::try_from("a\n".to_owned()).is_err());
}

#[test]
fn names_of_a_wrong_form_are_refused() {
    for bad in ["", "Alice", "-a", "a-", "a.b", "a b", "ä"] {
        let bytes = encode(&Bytes::<100>::try_from(bad.as_bytes().to_vec()).unwrap()).unwrap();
        assert_eq!(decode::<Name>(&bytes), Err(WireError::Malformed), "{bad:?}");
    }
}

#[test]
fn collections_refuse_more_than_they_hold() {
    assert_eq!(Bounded::<u8, 2>::try_from(vec![1, 2, 3]).unwrap_err().to_string(), "3 is more than the 2 that fit");
    assert!(Bytes::<2>::try_from(vec![1, 2, 3]).is_err());
    assert_eq!(&*Bounded::<u8, 2>::truncated([1, 2, 3]), [1, 2]);
}
