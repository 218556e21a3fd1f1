//! What the log and its snapshots are on a disk.

use super::*;
use crate::id::InviteId;
use crate::invite::Token;
use crate::wire::WireError;

#[test]
fn command_bytes_are_as_published() {
    let (id, home) = (SessionId([0xab; 16]), SupernodeId(3));
    let login = LogIn {
        name: "alice".parse().unwrap(),
        key: Key([0x11; 32]),
        session: id,
        resumes: Some(home),
        offers: Some(id),
        salt: [0x22; 16],
        locations: at_port(7401),
        home,
        right: Right::Invite(InviteId([0x44; 8])),
    };
    let (ab, three) = ("ab".repeat(16), format!("03{}", "00".repeat(7)));
    let location = "01001600".to_owned() + "2f6970342f31302e302e302e312f7463702f37343031";
    let vectors = [
        (Command::Configure { degree: 16 }, "050000000010".to_owned()),
        (
            Command::LogIn(login),
            format!(
                "05010000000500616c696365{}{ab}01{three}01{ab}{}{location}03000000000000000200000044{}",
                "11".repeat(32),
                "22".repeat(16),
                "44".repeat(7)
            ),
        ),
        (
            Command::Suspect { session: id, home, reason: SuspectReason::Reported },
            format!("0502000000{ab}{three}00000000"),
        ),
        (
            Command::Suspect { session: id, home, reason: SuspectReason::HomeLost },
            format!("0502000000{ab}{three}01000000"),
        ),
        (
            Command::Suspect { session: id, home, reason: SuspectReason::Silent },
            format!("0502000000{ab}{three}02000000"),
        ),
        (Command::Clear { session: id, home }, format!("0503000000{ab}{three}")),
        (
            Command::UnreachablePair { reporter: Address(1), other: Address(2) },
            "050400000001000000000000000200000000000000".to_owned(),
        ),
        (
            Command::ExpirePair { a: Address(1), b: Address(2), parted: 3 },
            "0505000000010000000000000002000000000000000300000000000000".to_owned(),
        ),
        (Command::LogOut { session: id }, format!("0506000000{ab}")),
        (Command::Expire { session: id, home }, format!("0507000000{ab}{three}")),
        (
            Command::Invite { token: Token([0x55; 16]), name: None, uses: 2, minutes: Some(60) },
            format!("0509000000{}0002000000013c000000", "55".repeat(16)),
        ),
        (Command::Minute, "050a000000".to_owned()),
        (Command::Remove { name: "alice".parse().unwrap() }, "050b0000000500616c696365".to_owned()),
        (Command::Incarnate { incarnation: 0x0102_0304 }, "050c00000004030201".to_owned()),
        (Command::Release { name: "alice".parse().unwrap() }, "05080000000500616c696365".to_owned()),
    ];
    for (command, expected) in vectors {
        let bytes = command.to_bytes().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{command:?}");
        assert_eq!(Command::from_bytes(&bytes), Ok(command));
    }
}

#[test]
fn damaged_commands_are_refused_with_their_fault() {
    let bytes = Command::Configure { degree: 16 }.to_bytes().unwrap();
    assert_eq!(Command::from_bytes(&[]), Err(CommandError::Bytes(WireError::Malformed)));
    assert_eq!(Command::from_bytes(&[&[1], &bytes[1..]].concat()), Err(CommandError::Version(1)));
    assert_eq!(Command::from_bytes(&bytes[..5]), Err(CommandError::Bytes(WireError::Malformed)));
    assert_eq!(Command::from_bytes(&[&bytes[..], &[0]].concat()), Err(CommandError::Bytes(WireError::Trailing)));
    assert_eq!(Command::from_bytes(&[COMMAND_VERSION; 2000]), Err(CommandError::Bytes(WireError::TooLong)));
}

#[test]
fn longest_command_is_within_its_bound() {
    let text = "x".repeat(100);
    let login = LogIn {
        name: "n".repeat(63).parse().unwrap(),
        locations: Bounded::truncated(std::iter::repeat_n(Location::truncated(&text), 9)),
        ..login(1, 1)
    };
    let bytes = Command::LogIn(login.clone()).to_bytes().unwrap();
    assert!(bytes.len() <= COMMAND_BYTES_MAX);
    assert_eq!(Command::from_bytes(&bytes), Ok(Command::LogIn(login)));
}

#[test]
fn snapshot_bytes_are_as_published() {
    let mut directory = Directory::new(0);
    directory.feed(Command::LogIn(LogIn { name: "alice".parse().unwrap(), ..login(0, 0) }));
    directory.feed(suspect(0));
    let hex: String = directory.snapshot().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let place = address(&directory, 0);
    let place: String = place.0.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let (zero, one, two) = ("00".repeat(8), format!("01{}", "00".repeat(7)), format!("02{}", "00".repeat(7)));
    let expected = [
        format!("05 4100 {two} {two} 10 {one} {one} {zero} {zero} {zero} {zero}"),
        format!("3000 0500616c696365 00000000{} 01 c0a8000000000000", "ee".repeat(28)),
        format!("5300 {} 0500616c696365 {place} {one} {two}", "00".repeat(16)),
        format!("01001300{} {one} 01 00000000", "2f6970342f31302e302e302e312f7463702f30"),
    ];
    assert_eq!(hex, expected.concat().replace(' ', ""));
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut directory = of(6);
    let (a, b) = (address(&directory, 0), address(&directory, 1));
    directory.feed(Command::UnreachablePair { reporter: a, other: b });
    let bytes = directory.snapshot().unwrap();
    for len in 0..bytes.len() {
        assert!(Directory::restore(0, &bytes[..len]).is_err(), "cut after {len} bytes");
    }
    let longer = [&bytes[..], &[0, 0]].concat();
    assert_eq!(Directory::restore(0, &longer).err(), Some(RestoreError::Bytes(WireError::Trailing)));
    let newer = [&[9], &bytes[1..]].concat();
    assert_eq!(Directory::restore(0, &newer).err(), Some(RestoreError::Version(9)));
    let small = Limits { sessions: 5, ..LIMITS };
    let over = RestoreError::Inconsistent("more than a directory holds");
    assert_eq!(Directory::restore_within(small, 0, &bytes).err(), Some(over));
}
