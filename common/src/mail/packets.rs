//! Packets around messages of this peer's own.

use crate::crypto::Signer;
use crate::id::Address;
use crate::status::Status;
use crate::wire::content::{Content, Message, Payload, SignedMessage};
use crate::wire::packet::{self, Class, Header, TTL_DEFAULT};
use crate::wire::{self, PacketBytes};

use super::Own;

/// Why no packet can be made of a message: what its sender is told
pub(super) type Refusal = (Status, &'static str);

/// Signs a message and puts it into a packet with the number `id`
///
/// # Errors
/// [`Refusal`]: with its signatures it is larger than a packet may be.
pub(super) fn pack(
    message: &Message,
    own: &Own,
    signer: &impl Signer,
    destination: Address,
    id: u64,
    traced: bool,
) -> Result<PacketBytes, Refusal> {
    let signed = SignedMessage::sign(message, own.signed.clone(), signer).ok();
    let payload = signed.and_then(|signed| wire::encode(&Payload::Message(Box::new(signed))).ok());
    let payload = payload.ok_or((Status::TooLarge, "over 56 KiB"))?;
    let (source, class) = (own.address, class_of(&message.content));
    let header = Header { destination, source, id, ttl: TTL_DEFAULT, class, congested: false, traced };
    let bytes = packet::new_packet(&header, &payload).ok().and_then(|bytes| PacketBytes::new(bytes).ok());
    bytes.ok_or((Status::TooLarge, "over 60 KiB with its signatures"))
}

/// Data may be large; signals and replies are small, and overtake it
const fn class_of(content: &Content) -> Class {
    match content {
        Content::Data(_) => Class::Data,
        Content::Signal(_) | Content::Reply(_) => Class::Signal,
    }
}
