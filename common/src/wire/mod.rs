//! The protocol on one screen.
//!
//! A link is one authenticated, encrypted byte stream. On it stand frames, nothing else:
//!
//! | bytes | |
//! |---|---|
//! | 1 | kind |
//! | 3 | length of the body, little endian |
//! | … | body |
//!
//! Version 1. Both sides send a [`Hello`](FrameKind::Hello) first. Between a peer and its supernode:
//!
//! ```text
//! peer      Hello ─────────►  Login ─────────►   Renew ──► …  LookUp │ List │ AskRemoved │ Report │ Relay ──►  Logout ──►
//! supernode   ◄──── Hello Challenge   ◄── Granted │ Refused   ◄── Renewed │ Found │ Listing │ Removed │ Rewire │ Packet  ◄── LoggedOut
//! ```
//!
//! Between neighbours, after both hellos (each with a grant): `Table` from both, then `Packet`, `Delta`, `Table`,
//! `Probe`/`ProbeReply`, `LookUp`/`Found`, `AskRemoved`/`Removed`, `AskRecords`/`Records` as they come. Either side may say [`Bye`](FrameKind::Bye) and close.
//! Between supernodes, after both hellos: `Present` from both, `Beat` once a second, `Reported`, `Claim`/`Claimed`, `Relay`
//! and `Packet` as they come.
//!
//! | kind | frame | size | priority | body |
//! |---|---|---|---|---|
//! | 1 | Hello | small | control | `"KITH"`, version (2 bytes), then [`session::Hello`] |
//! | 2 | Bye | small | control | status (2 bytes), then UTF-8: why |
//! | 3 | Challenge | small | control | [`session::Challenge`] |
//! | 4 | Login | small | control | [`session::Login`] |
//! | 5 | Granted | large | control | [`session::Granted`] |
//! | 6 | Refused | small | control | [`session::Refused`] |
//! | 7 | Renew | small | control | [`session::Renew`] |
//! | 8 | Renewed | small | control | [`session::Renewed`] |
//! | 9 | Logout | small | control | [`session::Logout`] |
//! | 10 | LoggedOut | small | control | [`session::LoggedOut`] |
//! | 11 | LookUp | small | control | [`session::LookUp`] |
//! | 12 | Found | small | control | [`session::Found`] |
//! | 13 | Rewire | large | control | [`session::Rewire`] |
//! | 14 | Report | small | control | [`session::Report`] |
//! | 16 | Table | small | control | [`link::Table`] |
//! | 17 | Delta | small | control | [`link::Delta`] |
//! | 18 | Probe | small | control | [`link::Probe`] |
//! | 19 | ProbeReply | small | control | [`link::ProbeReply`] |
//! | 20 | List | small | control | [`session::List`] |
//! | 21 | Listing | small | control | [`session::Listing`] |
//! | 22 | AskRemoved | small | control | [`removed::AskRemoved`] |
//! | 23 | Removed | large | control | [`removed::Removed`] |
//! | 24 | Supernodes | small | control | [`session::Supernodes`] |
//! | 26 | AskRecords | small | control | [`link::AskRecords`] |
//! | 27 | Records | small | control | [`link::Records`] |
//! | 32 | Packet | large | its class | [`packet`] |
//! | 33 | Relay | large | its class | [`packet`], from a peer to its supernode, or from that to the destination's |
//! | 40 | Present | small | control | [`backbone::Present`] |
//! | 41 | Beat | small | control | [`backbone::Beat`] |
//! | 42 | Reported | small | control | [`backbone::Reported`] |
//! | 43 | Claim | small | control | [`backbone::Claim`] |
//! | 44 | Claimed | small | control | [`backbone::Claimed`] |
//! | 46 | LogAsk | large | control | [`agreement::LogAsk`] |
//! | 47 | LogAnswer | large | control | [`agreement::LogAnswer`] |
//!
//! *Small* is at most [`SMALL_BYTES_MAX`], *large* at most [`LARGE_BYTES_MAX`]; a longer length ends the link before
//! anything is allocated. Bodies are fixed-size integers, little endian, in the order of the fields; an `Option` is a
//! byte 0 or 1 and then the value, an enum a `u32` variant and then its fields, a bounded collection a `u16` count and
//! then its values, a status its code as a `u16`. Bytes left over are an error. What is signed is the bytes as received.
//!
//! `golden.txt` beside this file has the bytes of every frame and variant, field by field, `golden-signed.txt` whole
//! conversations with real signatures. `docs/protocol.md` says all that a peer in another language must know besides.
//!
//! `Hello`'s first six bytes and `Bye` keep their form in every version, so that two versions can part with 426.

pub mod agreement;
pub mod backbone;
pub mod bounded;
mod codec;
pub mod content;
pub mod grant;
pub mod link;
pub mod packet;
pub mod removed;
pub mod session;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

pub use codec::{decode, encode};

use crate::status::Status;

pub const VERSION: u16 = 1;
/// Bytes of a frame before its body
pub const FRAME_HEADER_BYTES: usize = 4;
/// The longest body of a small frame: a full table of the longest names is 5 KiB
pub const SMALL_BYTES_MAX: usize = 16 * 1024;
/// The longest body of a large frame: control waits for one at most
pub const LARGE_BYTES_MAX: usize = 64 * 1024;

const MAGIC: [u8; 4] = *b"KITH";

/// Bytes that are not what they should be, or a value that has no bytes; whoever decodes counts it against the link
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// No frame has this kind
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// The body is not what its kind says
    #[error("malformed")]
    Malformed,
    /// Bytes are left over after the value
    #[error("trailing bytes")]
    Trailing,
    /// Over the bound of its kind
    #[error("too long")]
    TooLong,
    /// The first bytes are not Kith's
    #[error("not the kith protocol")]
    Magic,
    /// The other side speaks another version (status 426)
    #[error("version {0} of the protocol, this is version {VERSION}")]
    Version(u16),
}

/// The queue of a link that a frame waits in; a lower one goes first
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Keeps the mesh together
    Control,
    /// Pings, replies, what forwarders report
    Signal,
    /// The rest
    Data,
}

macro_rules! frames {
    ($($name:ident = $kind:literal, $max:ident, $body:ty;)*) => {
        /// The kinds of frames, numbered as in the table above
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameKind { $($name = $kind,)* }

        impl FrameKind {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            #[inline]
            const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($kind => Some(Self::$name),)* _ => None }
            }

            /// The longest body, in bytes
            #[inline]
            pub const fn body_bytes_max(self) -> usize {
                match self { $(Self::$name => $max,)* }
            }
        }

        /// A frame, decoded; packets stay bytes ([`packet::PacketRef`])
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame { $($name($body),)* }

        impl Frame {
            pub const fn kind(&self) -> FrameKind {
                match self { $(Self::$name(_) => FrameKind::$name,)* }
            }

            /// The frame with this kind and body
            ///
            /// # Errors
            /// [`WireError`] says what is wrong with the body.
            pub fn decode(kind: FrameKind, body: &[u8]) -> Result<Self, WireError> {
                if body.len() > kind.body_bytes_max() {
                    return Err(WireError::TooLong);
                }
                match kind { $(FrameKind::$name => <$body as Body>::decode_body(body).map(Self::$name),)* }
            }

            fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
                match self { $(Self::$name(body) => body.encode_body(out),)* }
            }
        }
    };
}

frames! {
    Hello = 1, SMALL_BYTES_MAX, session::Hello;
    Bye = 2, SMALL_BYTES_MAX, Bye;
    Challenge = 3, SMALL_BYTES_MAX, session::Challenge;
    Login = 4, SMALL_BYTES_MAX, session::Login;
    Granted = 5, LARGE_BYTES_MAX, session::Granted;
    Refused = 6, SMALL_BYTES_MAX, session::Refused;
    Renew = 7, SMALL_BYTES_MAX, session::Renew;
    Renewed = 8, SMALL_BYTES_MAX, session::Renewed;
    Logout = 9, SMALL_BYTES_MAX, session::Logout;
    LoggedOut = 10, SMALL_BYTES_MAX, session::LoggedOut;
    LookUp = 11, SMALL_BYTES_MAX, session::LookUp;
    Found = 12, SMALL_BYTES_MAX, session::Found;
    Rewire = 13, LARGE_BYTES_MAX, session::Rewire;
    Report = 14, SMALL_BYTES_MAX, session::Report;
    Table = 16, SMALL_BYTES_MAX, link::Table;
    Delta = 17, SMALL_BYTES_MAX, link::Delta;
    Probe = 18, SMALL_BYTES_MAX, link::Probe;
    ProbeReply = 19, SMALL_BYTES_MAX, link::ProbeReply;
    List = 20, SMALL_BYTES_MAX, session::List;
    Listing = 21, SMALL_BYTES_MAX, session::Listing;
    AskRemoved = 22, SMALL_BYTES_MAX, removed::AskRemoved;
    Removed = 23, LARGE_BYTES_MAX, removed::Removed;
    Supernodes = 24, SMALL_BYTES_MAX, session::Supernodes;
    AskRecords = 26, SMALL_BYTES_MAX, link::AskRecords;
    Records = 27, SMALL_BYTES_MAX, link::Records;
    Packet = 32, LARGE_BYTES_MAX, PacketBytes;
    Relay = 33, LARGE_BYTES_MAX, PacketBytes;
    Present = 40, SMALL_BYTES_MAX, backbone::Present;
    Beat = 41, SMALL_BYTES_MAX, backbone::Beat;
    Reported = 42, SMALL_BYTES_MAX, backbone::Reported;
    Claim = 43, SMALL_BYTES_MAX, backbone::Claim;
    Claimed = 44, SMALL_BYTES_MAX, backbone::Claimed;
    LogAsk = 46, LARGE_BYTES_MAX, agreement::LogAsk;
    LogAnswer = 47, LARGE_BYTES_MAX, agreement::LogAnswer;
}

impl Frame {
    /// The queue that it waits in
    pub fn priority(&self) -> Priority {
        match self {
            Self::Packet(packet) | Self::Relay(packet) => packet.as_ref().header().class.priority(),
            _ => Priority::Control,
        }
    }

    /// Appends the whole frame to `out`
    ///
    /// # Errors
    /// [`WireError::TooLong`] if the body is over the bound of its kind; `out` is as before.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        let encoded = self.encode_body(out).and_then(|()| finish_frame(self.kind(), start, out));
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    /// The whole frame's bytes
    ///
    /// # Errors
    /// As [`Frame::encode_into`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }
}

impl packet::Class {
    /// The queue of a link that packets of this class wait in
    pub const fn priority(self) -> Priority {
        match self {
            Self::Signal => Priority::Signal,
            Self::Data => Priority::Data,
        }
    }
}

/// Writes the header of a frame whose first four bytes were left free at `start` and whose body is the rest of `out`
///
/// # Errors
/// [`WireError::TooLong`] if the body is over the bound of its kind; `out` is as before.
#[inline]
pub fn finish_frame(kind: FrameKind, start: usize, out: &mut [u8]) -> Result<(), WireError> {
    let frame = out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut::<FRAME_HEADER_BYTES>());
    let (head, body) = frame.ok_or(WireError::Malformed)?;
    if body.len() > kind.body_bytes_max() {
        return Err(WireError::TooLong);
    }
    *head = ((body.len() as u32) << 8 | u32::from(kind as u8)).to_le_bytes();
    Ok(())
}

/// The kind and the body's length that a frame's first bytes say, checked against the kind's bound
///
/// # Errors
/// [`WireError::Kind`] or [`WireError::TooLong`]; the stream cannot be read on after either.
#[inline]
pub fn parse_frame_header(head: [u8; FRAME_HEADER_BYTES]) -> Result<(FrameKind, usize), WireError> {
    let kind = FrameKind::from_byte(head[0]).ok_or(WireError::Kind(head[0]))?;
    let len = (u32::from_le_bytes(head) >> 8) as usize;
    if len > kind.body_bytes_max() { Err(WireError::TooLong) } else { Ok((kind, len)) }
}

/// The kind and the body of the first whole frame of `bytes`, which are from the beginning of a frame on; `None` if its
/// end is not there
///
/// # Errors
/// As [`parse_frame_header`].
#[inline]
pub fn next_frame(bytes: &[u8]) -> Result<Option<(FrameKind, &[u8])>, WireError> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
    let (kind, len) = parse_frame_header(*head)?;
    Ok(rest.get(..len).map(|body| (kind, body)))
}

/// The last frame on a link
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye {
    /// The reason as a code
    pub status: Status,
    /// The reason in words
    pub reason: session::Reason,
}

/// The body of a packet or relay frame, checked
#[derive(Clone, PartialEq, Eq)]
pub struct PacketBytes(Vec<u8>);

impl PacketBytes {
    /// Takes `bytes` if they are a packet
    ///
    /// # Errors
    /// As [`packet::PacketRef::parse`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, WireError> {
        packet::PacketRef::parse(&bytes)?;
        Ok(Self(bytes))
    }

    pub fn as_ref(&self) -> packet::PacketRef<'_> {
        packet::PacketRef::of_checked(&self.0)
    }
}

impl std::fmt::Debug for PacketBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// How the body of a kind of frame is written and read
trait Body: Sized {
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError>;
    fn decode_body(bytes: &[u8]) -> Result<Self, WireError>;
}

macro_rules! plain_bodies {
    ($($body:ty),* $(,)?) => {
        $(impl Body for $body {
            fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
                codec::encode_into(self, out)
            }

            fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
                codec::decode(bytes)
            }
        })*
    };
}

plain_bodies!(
    session::Challenge,
    session::Login,
    session::Granted,
    session::Refused,
    session::Renew,
    session::Renewed,
    session::Logout,
    session::LoggedOut,
    session::LookUp,
    session::Found,
    session::Rewire,
    session::Report,
    session::List,
    session::Listing,
    session::Supernodes,
    link::Table,
    link::Delta,
    link::Probe,
    link::ProbeReply,
    link::AskRecords,
    link::Records,
    removed::AskRemoved,
    removed::Removed,
    backbone::Present,
    backbone::Beat,
    backbone::Reported,
    backbone::Claim,
    backbone::Claimed,
    agreement::LogAsk,
    agreement::LogAnswer,
);

impl Body for session::Hello {
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        codec::encode_into(self, out)
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
        let ([m0, m1, m2, m3, v0, v1], rest) = bytes.split_first_chunk().ok_or(WireError::Magic)?;
        if [*m0, *m1, *m2, *m3] != MAGIC {
            return Err(WireError::Magic);
        }
        match u16::from_le_bytes([*v0, *v1]) {
            VERSION => codec::decode(rest),
            other => Err(WireError::Version(other)),
        }
    }
}

impl Body for Bye {
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&self.status.code().to_le_bytes());
        out.extend_from_slice(self.reason.as_bytes());
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
        let ([a, b], text) = bytes.split_first_chunk().ok_or(WireError::Malformed)?;
        // A later version may know more codes; what it says is still worth showing.
        let status = Status::from_code(u16::from_le_bytes([*a, *b])).unwrap_or(Status::Failed);
        Ok(Self { status, reason: session::Reason::truncated(&String::from_utf8_lossy(text)) })
    }
}

impl Body for PacketBytes {
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
        Self::new(bytes.to_vec())
    }
}

impl Encode for Status {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.code().encode(encoder)
    }
}

impl<Context> Decode<Context> for Status {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::from_code(u16::decode(decoder)?).ok_or(DecodeError::Other("not a status"))
    }
}

bincode::impl_borrow_decode!(Status);
