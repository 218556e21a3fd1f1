//! Sayings: what one end of a connection says to the other that may get lost, in one QUIC datagram (RFC 9221) each.
//!
//! | | bytes | |
//! |---|---|---|
//! | kind | 1 | 1 ping, 2 pong, 3 an application's |
//! | of a ping: number | 8 | little endian, drawn: nobody can answer what has not come to him |
//! | … padding | | zeros, as many as whoever pings wants |
//! | of a pong | | what stood behind the kind of the ping |
//! | of an application: channel | 2 | little endian |
//! | … | | any bytes |
//!
//! QUIC neither sends them again nor holds back a later one for an earlier one. Where more wait than there is room for, the oldest
//! go first ([`DATAGRAMS_BYTES_MAX`](crate::settings::DATAGRAMS_BYTES_MAX)): of a live picture the latest is wanted.

use bytes::Bytes;

const PING: u8 = 1;
const PONG: u8 = 2;
const APP: u8 = 3;

/// Bytes of the shortest ping: its kind, and its number
pub const PING_BYTES_MIN: usize = 9;

/// Bytes of the longest ping: what is left of [`DATAGRAM_BYTES`](crate::settings::DATAGRAM_BYTES) beside what QUIC says
/// around it, with some to spare
pub const PING_BYTES_MAX: usize = 5_900;

const _: () = assert!(PING_BYTES_MAX + 64 <= crate::settings::DATAGRAM_BYTES as usize);

/// What has come
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Saying {
    /// To be answered with this pong
    Ping {
        pong: Bytes,
    },
    /// A ping of this number is answered
    Pong {
        number: u64,
    },
    App {
        channel: u16,
        bytes: Bytes,
    },
}

/// Why nothing was said
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSaid {
    /// Or the other end is not known on it yet; [`Stack::reach`](crate::Stack::reach) makes one
    #[error("no connection with that peer stands")]
    NoConnection,
    #[error("longer than the {most} bytes that may be said at once")]
    TooLong { most: usize },
}

/// A ping of so many bytes in all
pub(crate) fn ping(number: u64, size: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(size.max(PING_BYTES_MIN));
    bytes.push(PING);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(size.max(PING_BYTES_MIN), 0);
    bytes.into()
}

/// What an application says on one of its channels
pub(crate) fn app(channel: u16, bytes: &[u8]) -> Bytes {
    [&[APP], &channel.to_le_bytes()[..], bytes].concat().into()
}

/// Bytes that stand before what an application says
pub(crate) const APP_HEAD: usize = 3;

/// What was said; `None`: rubbish, or what a later version says
pub(crate) fn parsed(said: &Bytes) -> Option<Saying> {
    let (kind, rest) = said.split_first()?;
    match *kind {
        PING if said.len() >= PING_BYTES_MIN => Some(Saying::Ping { pong: [&[PONG], rest].concat().into() }),
        PONG => Some(Saying::Pong { number: u64::from_le_bytes(*rest.first_chunk()?) }),
        APP => {
            let channel = u16::from_le_bytes(*rest.first_chunk()?);
            Some(Saying::App { channel, bytes: said.slice(APP_HEAD..) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `golden.txt` has them
    fn hex(bytes: &Bytes) -> String {
        kith_common::hex::encode(bytes)
    }

    #[test]
    fn sayings_are_as_the_protocol_has_them() {
        let ping = ping(0x0102_0304_0506_0708, 12);
        assert_eq!(hex(&ping), "010807060504030201000000");
        let Some(Saying::Ping { pong }) = parsed(&ping) else { panic!() };
        assert_eq!(hex(&pong), "020807060504030201000000");
        assert_eq!(parsed(&pong), Some(Saying::Pong { number: 0x0102_0304_0506_0708 }));
        let app = app(0x0102, b"hello");
        assert_eq!(hex(&app), "03020168656c6c6f");
        assert_eq!(parsed(&app), Some(Saying::App { channel: 0x0102, bytes: Bytes::from_static(b"hello") }));
    }

    #[test]
    fn every_beginning_of_a_saying_and_every_other_kind_is_rubbish_or_read() {
        for whole in [ping(7, PING_BYTES_MIN), app(7, b"")] {
            for cut in 0..whole.len() {
                assert_eq!(parsed(&whole.slice(..cut)), None, "{cut} bytes");
            }
            assert!(parsed(&whole).is_some());
        }
        for kind in (0..=u8::MAX).filter(|kind| ![PING, PONG, APP].contains(kind)) {
            assert_eq!(parsed(&vec![kind; 40].into()), None, "{kind}");
        }
    }

    #[test]
    fn ping_is_as_long_as_is_wanted_and_no_shorter_than_its_number() {
        assert_eq!([0, 9, 64, 5_900].map(|size| ping(1, size).len()), [9, 9, 64, 5_900]);
    }
}
