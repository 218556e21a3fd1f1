//! The vectors: they are what is written, they are read, and nothing near them is.

use std::collections::{BTreeMap, BTreeSet};

use kith_common::fuzzing;
use kith_common::wire::{
    FRAME_HEADER_BYTES, Frame, FrameKind, LARGE_BYTES_MAX, SMALL_BYTES_MAX, VERSION, WireError, parse_frame_header,
};

use super::values::{decode_frame, hello, values};

/// `Bye` keeps its form in every version: its text is the rest of the body, so no length is wrong
fn is_open_ended(name: &str) -> bool {
    name.ends_with("Bye")
}

#[test]
fn bytes_are_as_published() {
    let published = fuzzing::golden().unwrap();
    let mut published: BTreeMap<String, Vec<u8>> =
        published.into_iter().map(|vector| (vector.name, vector.bytes)).collect();
    for value in values() {
        let expected = published.remove(value.name);
        assert_eq!(Some(hex(&value.bytes)), expected.as_deref().map(hex), "{}", value.name);
        assert_eq!((value.decode)(&value.bytes), Ok(true), "{}", value.name);
    }
    assert_eq!(published.keys().collect::<Vec<_>>(), Vec::<&String>::new(), "vectors without a value");
}

/// Sixteen bytes a line, so that a difference can be found
fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(16).map(|line| line.iter().map(|byte| format!("{byte:02x} ")).collect()).collect()
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    let frames = values().into_iter().filter(|value| value.name.starts_with("frame "));
    let kinds: BTreeSet<FrameKind> = frames.map(|frame| decode_frame(&frame.bytes).unwrap().kind()).collect();
    assert_eq!(kinds, FrameKind::ALL.iter().copied().collect());
}

#[test]
fn trailing_bytes_are_refused() {
    for value in values().into_iter().filter(|value| !is_open_ended(value.name)) {
        for extra in [0, 1, 0xff] {
            let longer = [value.bytes.as_slice(), &[extra]].concat();
            assert!((value.decode)(&longer).is_err(), "{} and {extra:02x}", value.name);
        }
    }
}

#[test]
fn truncated_bytes_are_refused_at_every_length() {
    for value in values() {
        let end = if is_open_ended(value.name) { FRAME_HEADER_BYTES + 2 } else { value.bytes.len() };
        for len in 0..end {
            assert!((value.decode)(&value.bytes[..len]).is_err(), "{} cut to {len}", value.name);
        }
    }
}

#[test]
fn header_with_a_length_over_its_bound_is_refused_before_the_body() {
    for kind in FrameKind::ALL {
        let max = kind.body_bytes_max();
        assert!([SMALL_BYTES_MAX, LARGE_BYTES_MAX].contains(&max));
        let head = |len: usize| ((len as u32) << 8 | *kind as u32).to_le_bytes();
        assert_eq!(parse_frame_header(head(max)), Ok((*kind, max)));
        assert_eq!(parse_frame_header(head(max + 1)), Err(WireError::TooLong));
        assert_eq!(parse_frame_header(head(0xff_ffff)), Err(WireError::TooLong));
        assert_eq!(Frame::decode(*kind, &vec![0; max + 1]), Err(WireError::TooLong));
    }
}

#[test]
fn unknown_kinds_are_refused() {
    let known: BTreeSet<u8> = FrameKind::ALL.iter().map(|kind| *kind as u8).collect();
    for kind in (0..=255).filter(|kind| !known.contains(kind)) {
        assert_eq!(parse_frame_header([kind, 0, 0, 0]), Err(WireError::Kind(kind)));
    }
}

#[test]
fn hello_of_another_version_is_told_apart_from_rubbish() {
    let ours = Frame::Hello(hello()).to_bytes().unwrap();
    for version in [0, VERSION + 1, u16::MAX] {
        let mut other = ours.clone();
        other[8..10].copy_from_slice(&version.to_le_bytes());
        assert_eq!(decode_frame(&other), Err(WireError::Version(version)));
        // Whatever a later version puts behind it, the answer is 426.
        assert_eq!(decode_frame(&other[..10]), Err(WireError::Version(version)));
    }
    let mut rubbish = ours;
    rubbish[4..8].copy_from_slice(b"GET ");
    assert_eq!(decode_frame(&rubbish), Err(WireError::Magic));
}

#[test]
fn variants_and_statuses_beyond_the_last_are_refused() {
    let published = fuzzing::golden().unwrap();
    let bytes = |name: &str| published.iter().find(|vector| vector.name == name).unwrap().bytes.clone();
    // Vector, offset of the variant, the first that does not exist
    let cases = [
        ("frame Hello of a supernode", 10, 2),
        ("frame Hello of a supernode", 14, 3),
        ("frame LookUp of a name", 13, 2),
        ("frame Report of isolation", 4, 3),
        ("frame List of names like one", 12, 2),
        ("message with a ping", 21, 2),
        ("message with a ping", 25, 1),
        ("payload Datagram", 0, 4),
        ("frame LogAsk to read", 20, 7),
        ("frame LogAsk to take a supernode out", 24, 2),
        ("frame LogAnswer of a conflict", 12, 15),
        ("causes", 16, 5),
        ("choices", 20, 5),
        ("statuses", 0, 201),
        ("frame Refused", 4, 999),
    ];
    for (name, offset, unknown) in cases {
        let mut changed = bytes(name);
        changed[offset..offset + 2].copy_from_slice(&u16::to_le_bytes(unknown));
        let value = values().into_iter().find(|value| value.name == name).unwrap();
        assert_eq!((value.decode)(&changed), Err(WireError::Malformed), "{name}");
    }
}

#[test]
fn flags_other_than_zero_and_one_are_refused() {
    // Vector, offset of an Option or a bool
    let cases = [
        ("frame Hello of a peer to its supernode", 58),
        ("frame Hello of a peer to its supernode", 59),
        ("frame Challenge", 206),
        ("frame Found with nothing", 14),
        ("frame Delta", 14),
    ];
    for (name, offset) in cases {
        let value = values().into_iter().find(|value| value.name == name).unwrap();
        let mut changed = value.bytes.clone();
        assert!(changed[offset] <= 1, "{name} has no flag at {offset}");
        changed[offset] = 2;
        assert!((value.decode)(&changed).is_err(), "{name}");
    }
}

#[test]
fn good_bye_with_an_unknown_status_is_still_read() {
    let bytes = [&[2, 5, 0, 0, 0xe7, 3][..], b"hi\n"].concat();
    let Ok(Frame::Bye(bye)) = decode_frame(&bytes) else { panic!("{bytes:?}") };
    assert_eq!((bye.status.code(), &*bye.reason), (500, "hi\u{fffd}"));
}
