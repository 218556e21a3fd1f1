//! What packets carry: signed pings and their replies, trace reports, datagrams; and what connections carry in these.

use bincode::{Decode, Encode};

use super::WireError;
use super::bounded::{Bounded, Bytes, Text};
use super::codec;
use super::grant::{Grant, GrantError, SignedGrant};
use super::packet::{ENTRIES_MAX, PAYLOAD_BYTES_MAX, PacketRef};
use super::session::{REASON_BYTES_MAX, Reason};
use crate::crypto::{self, Signature, Signer, Verifier};
use crate::id::{Address, MessageId, Name, ShortId};
use crate::status::Status;

/// Bytes that one argument of a call has at most, and a function's result: it should be a message if it is more
pub const VALUE_BYTES_MAX: usize = 56 * 1024;

/// Bytes of a signed message with everything but its grant and signature: a reply with the longest path has 10.4 KiB
const BODY_BYTES_MAX: usize = 11 * 1024;

/// A forwarder on a path, with the longest name
const HOP_BYTES_MAX: usize = 4 + 1 + 1 + 2 + Name::BYTES_MAX;
const REPLY_BYTES_MAX: usize = 16 + 2 + 2 + ENTRIES_MAX * HOP_BYTES_MAX + 2 + REASON_BYTES_MAX;

const _: () = assert!(16 + 2 + Name::BYTES_MAX + 4 + REPLY_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX + 1024 <= PAYLOAD_BYTES_MAX);

/// The payload of a packet
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Payload {
    /// A ping or the reply to one, signed
    Message(Box<SignedMessage>),
    /// From a forwarder to the source: a hint what became of a packet, unsigned
    Undeliverable(Undeliverable),
    /// From a forwarder to the source of a traced packet, unsigned
    Hop(Hop),
    /// Bytes for whoever listens; the connections', and the benchmark's
    Datagram(Bytes<PAYLOAD_BYTES_MAX_OF_DATAGRAM>),
}

/// Which [`Payload`] a packet carries, by the `u32` that its bytes begin with
///
/// A node hands what arrives for it to whoever takes packets of that kind, and looks no further into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum PayloadKind {
    Message = 0,
    Undeliverable = 1,
    Hop = 2,
    Datagram = 3,
}

impl PayloadKind {
    /// Every kind, each at its number
    pub const ALL: [Self; 4] = [Self::Message, Self::Undeliverable, Self::Hop, Self::Datagram];

    /// What `packet` says that it carries; `None` if no payload begins like that
    #[inline]
    pub fn of(packet: &PacketRef<'_>) -> Option<Self> {
        let [kind, 0, 0, 0] = packet.payload().first_chunk::<4>()? else { return None };
        Self::ALL.get(usize::from(*kind)).copied()
    }
}

/// A datagram's bytes: a payload less the variant and the count
const PAYLOAD_BYTES_MAX_OF_DATAGRAM: usize = PAYLOAD_BYTES_MAX - 6;

/// What one peer signs for another: a ping, or the reply to one; messages of people and programs travel over connections
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Random; the reply names it
    pub id: MessageId,
    /// The name that the sender means
    pub to: Name,
    pub content: Content,
}

/// What it says
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// Something for the peer itself
    Signal(Signal),
    /// The fate of an earlier ping
    Reply(Reply),
}

/// A signal, for the peer itself
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Signal {
    /// Answered by a [`Reply`] at once
    Ping,
}

/// The request to evaluate a function, as it travels over an end-to-end connection
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Call {
    pub function: Text<64>,
    pub arguments: Bounded<Bytes<VALUE_BYTES_MAX>, 64>,
}

/// What a pipe is for, as it travels over an end-to-end connection
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Opening {
    /// Who is to take it, at the peer that is asked
    pub service: Text<64>,
    /// What that is told, in its own words
    pub argument: Bytes<1024>,
}

/// Bytes of a message that travels over an end-to-end connection, at most: files beyond are copied in pieces
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a message's receipt says beside its status, as it travels over an end-to-end connection
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The way that the last packet before it had taken, both ends left out
    pub path: Bounded<PathHop, ENTRIES_MAX>,
    /// Why it was not kept, for people; empty if it was
    pub reason: Reason,
}

/// The answer to a ping
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// The ping that is answered
    pub to: MessageId,
    /// What became of it
    pub status: Status,
    /// The way it took, both ends left out
    pub path: Bounded<PathHop, ENTRIES_MAX>,
    /// Why it has that status, for people; empty if all is well
    pub reason: Reason,
}

/// One forwarder on a path
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PathHop {
    pub short: ShortId,
    /// Whether it was a supernode's relay instead of a neighbour
    pub relay: bool,
    /// Its name, if whoever reports the path knows it
    pub name: Option<Name>,
}

impl PathHop {
    /// Whether it is somebody whose name is to be found out; a supernode has none
    pub const fn is_unnamed(&self) -> bool {
        self.name.is_none() && !self.relay
    }
}

/// A message's bytes as they were signed, with the sender's grant
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedMessage {
    grant: SignedGrant,
    body: Bytes<BODY_BYTES_MAX>,
    signature: Signature,
}

impl SignedMessage {
    /// Signs `message`
    ///
    /// # Errors
    /// [`WireError::TooLong`] if its parts together are longer than any that is decoded.
    pub fn sign(message: &Message, grant: SignedGrant, sender: &impl Signer) -> Result<Self, WireError> {
        let body = codec::encode(message)?;
        let signature = sender.sign(&crypto::tagged(crypto::MESSAGE, &[&body]));
        Ok(Self { grant, body: body.try_into().map_err(|_| WireError::TooLong)?, signature })
    }

    /// The sender's grant, not yet verified
    pub const fn grant(&self) -> &SignedGrant {
        &self.grant
    }

    /// The message, if the holder of `grant`, which is this message's own and verified, signed it (about 50 µs)
    ///
    /// # Errors
    /// [`GrantError`] says what is wrong with it.
    pub fn verify(&self, grant: &Grant, verifier: &impl Verifier) -> Result<Message, GrantError> {
        if !verifier.verify(&grant.key, &crypto::tagged(crypto::MESSAGE, &[&self.body]), &self.signature) {
            return Err(GrantError::Signature);
        }
        codec::decode(&self.body).map_err(|_| GrantError::Malformed)
    }
}

/// Why a packet did not arrive
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Undeliverable {
    /// The packet's id
    pub packet: u64,
    pub destination: Address,
    /// 503 with a cause, or what the supernode that was to relay it says (410)
    pub status: Status,
    pub cause: Cause,
    /// The way it had taken
    pub path: Bounded<PathHop, ENTRIES_MAX>,
}

/// Why a packet was given up
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Cause {
    /// Nobody was left to try
    NoCandidate,
    /// Its hops were spent
    TtlSpent,
    /// Two neighbours of the destination found their links to it down
    DestinationDown,
    /// The supernode knows no session at that address
    NoSession,
    /// A queue on the way was full
    Congested,
}

/// One forwarder's report on a traced packet
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hop {
    /// The packet's id
    pub packet: u64,
    /// How many forwarders had it before
    pub index: u8,
    pub name: Name,
    pub address: Address,
    pub next: Address,
    pub choice: Choice,
}

/// Why a next hop was chosen
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Choice {
    /// It is the destination
    Destination,
    /// It has a link to the destination
    KnowsDestination,
    /// Its table comes nearest to the ball of the destination: the expected hops from there, in hundredths
    NearestBall(u32),
    /// Nobody was left to try here: back to where it came from
    Back,
    /// A supernode relayed it
    Relay,
}
