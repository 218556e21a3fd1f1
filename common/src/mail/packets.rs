//! Packets around pings and replies of this peer's own.

use crate::crypto::Signer;
use crate::id::Address;
use crate::status::Status;
use crate::wire::content::{Message, Payload, SignedMessage};
use crate::wire::packet::{self, Class, Header, TTL_DEFAULT};
use crate::wire::{self, PacketBytes};

use super::Own;

/// Why no packet can be made of one: what its sender is told
pub(super) type Refusal = (Status, &'static str);

const TOO_LARGE: Refusal = (Status::TooLarge, "larger than a packet may be");

/// Signs a ping or a reply and puts it into a packet with the number `id`
///
/// # Errors
/// [`Refusal`]: it is larger than a packet may be, which none is that this peer makes.
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
    let payload = payload.ok_or(TOO_LARGE)?;
    // Pings and replies are small, and overtake data.
    let (source, class) = (own.address, Class::Signal);
    let header = Header { destination, source, id, ttl: TTL_DEFAULT, class, congested: false, traced };
    let bytes = packet::new_packet(&header, &payload).ok().and_then(|bytes| PacketBytes::new(bytes).ok());
    bytes.ok_or(TOO_LARGE)
}
