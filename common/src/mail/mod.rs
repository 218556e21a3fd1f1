//! The mail room: every ping has a fate, and every ping that comes is answered; and what an in-box keeps.
//!
//! ```text
//! users ──────► pings, traces ──────────┐          ┌─► outbox ─► transmit, relay, send again ─► fates
//! packets ────► those that end here ────┼─► Mail ──┼─► replies: by whom they left before
//! look-ups ───► names and places ───────┤          ├─► traces, paths: whom packets met, by name
//! clock ──────► timeouts ───────────────┘          └─► MailOutput
//! ```
//!
//! A ping and its reply are signed messages in packets of their own: what shows whether a peer is there must not need a
//! connection with it. A peer signs what it sends and checks what comes: that counts if a member of the network signed it
//! and it came from that member's address. What a forwarder or a stranger says unsigned is a hint at most.
//! What people and programs say to each other travels over connections, and is none of this core's business, except that
//! those on a receipt's path are named here as those on a reply's path are ([`Mail::name_path`]).
//!
//! * `outbox` sends and sends again until it knows what became of a ping: exactly one [`Fate`] each.
//! * A ping that comes is answered each time that it comes, as the answer before may have been lost.
//! * [`Inbox`] is a policy by itself, which [`Mail`] does not use: it tells a message that has come over a connection from
//!   its duplicate, and says which are kept. It is asked where the disk is written.
//!
//! Whoever drives this core lends it the signer and the neighbourhood ([`Lent`]), carries packets to where first hops are
//! decided, and questions to [`names`](crate::names), and brings the answers. Each of these may be lost, late, or come
//! twice.
//!
//! Bounds: sends under way ([`IN_FLIGHT_MAX`]). Paths that wait for names; one more is told without. Grants that were
//! verified, and first hops of replies, are forgotten at their bounds.

mod grants;
mod inbox;
mod lent;
mod outbox;
mod output;
mod packets;
mod paths;
mod replies;
mod seen;
#[cfg(test)]
mod tests;
mod traces;

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::inbox::{Inbox, Kept, NotStored, OVERHEAD_BYTES, Offer, Place, Plan, Totals};
pub use self::lent::{Lent, Origin};
pub use self::outbox::{Fate, IN_FLIGHT_MAX, Reason, SEND_TIMEOUT};
pub use self::output::{Arrival, MailOutput, Outcome};
pub use self::paths::path_of;
pub use self::seen::{Fingerprint, SEEN_MAX, Seen, SenderTag};
pub use self::traces::{KnownAddress, Stop, Trace};

use self::grants::Grants;
use self::outbox::{Outbox, Target};
use self::packets::{Refusal, pack};
use self::paths::{Pathed, Paths};
use self::replies::{Arrived, Replies};
use self::traces::Traces;
use crate::crypto::{Signer, Verifier};
use crate::id::{Address, MessageId, Name, NetworkId};
use crate::names::Answer;
use crate::routing::neighbourhood::Neighbourhood;
use crate::status::Status;
use crate::time::{Instant, earliest};
use crate::wire::bounded::Bounded;
use crate::wire::content::{Choice, Content, Message, PathHop, Payload, Reply, Signal, SignedMessage, Undeliverable};
use crate::wire::grant::{Grant, GrantError, SignedGrant};
use crate::wire::packet::{Header, PacketRef};
use crate::wire::session::{Reason as Words, Subject};
use crate::wire::{self, PacketBytes};

/// Who a peer is in its session: whom what it signs comes from, and whom what ends here is for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Only what its members sign is believed
    pub network: NetworkId,
    /// Packets to any other place do not end here
    pub address: Address,
    /// Pings of any other name are answered with 404
    pub name: Name,
    /// The supernode's word for all three
    pub signed: SignedGrant,
}

/// There is no session to send in; nothing has changed
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not logged in")]
pub struct NotLoggedIn;

/// The pings that are under way from this peer, and the paths that it has to name
#[derive(Debug)]
pub struct Mail {
    own: Option<Own>,
    /// Whether there is a supernode that relays, and that knows names
    is_home_up: bool,
    grants: Grants,
    outbox: Outbox,
    traces: Traces,
    paths: Paths,
    replies: Replies,
    rng: ChaCha20Rng,
    outputs: VecDeque<MailOutput>,
}

impl Mail {
    /// Nothing is under way; ids of messages and packets, which nobody should guess, come from `rng`
    pub fn new(rng: ChaCha20Rng) -> Self {
        Self {
            own: None,
            is_home_up: false,
            grants: Grants::default(),
            outbox: Outbox::default(),
            traces: Traces::default(),
            paths: Paths::default(),
            replies: Replies::default(),
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// This peer in its session; `None` without one
    pub const fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// Sends that have no fate yet, at most [`IN_FLIGHT_MAX`]
    pub fn in_flight(&self) -> usize {
        self.outbox.len()
    }

    /// There is a session
    pub fn handle_login(&mut self, own: Own) {
        self.own = Some(own);
    }

    /// The session is over: sends that have to be transmitted again end with it
    pub fn handle_logout(&mut self) {
        self.own = None;
    }

    /// The link to the supernode came or went
    pub(crate) fn handle_home(&mut self, is_up: bool) {
        self.is_home_up = is_up;
    }

    /// The grant, if a supernode of `network` signed it; a conversation costs no second look at its signatures
    ///
    /// # Errors
    /// [`GrantError`]: nothing has changed.
    pub(crate) fn verify_grant(
        &mut self,
        network: &NetworkId,
        signed: &SignedGrant,
        verifier: &impl Verifier,
    ) -> Result<Grant, GrantError> {
        self.grants.verify(network, signed, verifier)
    }

    /// Names those on a path; answered by one [`MailOutput::PathNamed`] with the ticket, once all are found or will not be
    pub fn name_path(&mut self, near: &Neighbourhood, ticket: u64, path: Vec<PathHop>) {
        self.name(near, Pathed::Path { ticket, path });
    }

    /// Begins a send; [`MailOutput::Done`] follows, within [`SEND_TIMEOUT`] and the time that it takes to name those on
    /// its path; a traced one a second later at most
    ///
    /// `traced`: forwarders report on its packets, and the outcome tells what they said; it waits a moment for reports that
    /// the answer has overtaken.
    ///
    /// # Errors
    /// [`NotLoggedIn`]: there will be no outcome.
    pub fn send(&mut self, now: Instant, to: Name, content: Content, traced: bool) -> Result<MessageId, NotLoggedIn> {
        if self.own.is_none() {
            return Err(NotLoggedIn);
        }
        let id = self.random_id();
        if traced {
            self.traces.begin(now, id);
        }
        self.outbox.handle_send(now, id, to, content);
        Ok(id)
    }

    /// The answer to [`MailOutput::Resolve`]; `fresh` if it is good enough for those who asked for a fresh one
    pub fn handle_resolved(&mut self, now: Instant, subject: &Subject, fresh: bool, answer: Result<&Answer, Status>) {
        match subject {
            Subject::ShortId(short) => {
                let name = answer.ok().map(|answer| &answer.name);
                self.outputs.extend(self.paths.handle_named(*short, name).map(MailOutput::from));
            }
            Subject::Name(name) => {
                let target = answer.map(|answer| Target { address: answer.address, key: answer.key() });
                self.outbox.handle_resolved(now, name, fresh, target);
            }
        }
    }

    /// A packet with this id was handed to `first_hop`, which routing chose for this reason
    pub fn handle_sent(&mut self, packet: u64, first_hop: Address, choice: Choice) {
        self.traces.handle_sent(packet, first_hop, choice);
        match self.outbox.awaits(packet) {
            true => self.outbox.handle_sent(packet, first_hop),
            false => self.replies.handle_sent(packet, first_hop),
        }
    }

    /// Nobody could be handed this packet: there is no way for it, or the supernode is away
    pub fn handle_unsent(&mut self, now: Instant, packet: PacketBytes) {
        let Header { id, destination, .. } = *packet.as_ref().header();
        self.traces.handle_unsent(id);
        if self.outbox.awaits(id) {
            self.outbox.handle_unsent(now, id);
        } else if self.replies.handle_unsent(id) && self.is_home_up {
            self.outputs.push_back(MailOutput::Relay { packet });
        } else {
            tracing::info!(event = "packet_dropped", reason = "no way out, and no send waits for it", %destination);
        }
    }

    /// The link to a neighbour is lost, and with it whatever it had not passed on
    pub(crate) fn handle_first_hop_lost(&mut self, now: Instant, neighbour: Address) {
        self.outbox.handle_first_hop_lost(now, neighbour);
    }

    /// A link of this neighbour's is lost, and with it, perhaps, what the neighbour had been handed
    pub(crate) fn handle_loss_beyond(&mut self, now: Instant, neighbour: Address) {
        self.outbox.handle_loss_beyond(now, neighbour);
    }

    /// A packet of this peer's own is with somebody who cannot pass it on, or came back with nobody left to try
    pub fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) {
        // The out-box traces it with its reason if it ignores the frame.
        let _ = self.outbox.handle_undeliverable(now, report);
    }

    /// A packet that ends here
    pub fn handle_packet<S: Signer>(
        &mut self,
        now: Instant,
        lent: &Lent<'_, S>,
        origin: Origin,
        packet: &PacketRef<'_>,
    ) {
        let Header { destination, source, .. } = *packet.header();
        if self.own.as_ref().is_none_or(|own| own.address != destination) {
            return tracing::debug!(event = "packet_dropped", reason = "for another address", %source, %destination);
        }
        match wire::decode::<Payload>(packet.payload()) {
            Ok(Payload::Message(message)) => self.on_message(now, lent, origin, packet, &message),
            Ok(Payload::Undeliverable(report)) => self.handle_undeliverable(now, &report),
            Ok(Payload::Hop(hop)) => self.traces.handle_hop(now, hop),
            Ok(Payload::Datagram(_)) => {
                tracing::debug!(event = "packet_dropped", reason = "nobody listens for datagrams", %source)
            }
            Err(reason) => tracing::info!(event = "packet_dropped", %reason, %source),
        }
    }

    /// Sends again whatever was waited for long enough, and ends what has had its time; early is harmless
    pub fn handle_timeout(&mut self, now: Instant) {
        self.outbox.handle_timeout(now, self.is_home_up);
    }

    /// When to call [`Self::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        earliest(self.traces.next_timeout(), self.outbox.next_timeout())
    }

    /// The next thing to do; drain until `None` after every input, or after a few that came together
    pub fn poll_output<S: Signer>(&mut self, now: Instant, lent: &Lent<'_, S>) -> Option<MailOutput> {
        loop {
            while let Some(outcome) = self.traces.poll(now) {
                self.name(lent.neighbourhood, Pathed::Outcome(outcome));
            }
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let wish = self.outbox.poll_output()?;
            self.on_outbox(now, lent, wish);
        }
    }

    fn on_outbox<S: Signer>(&mut self, now: Instant, lent: &Lent<'_, S>, wish: outbox::OutboxOutput) {
        use outbox::OutboxOutput as Wish;
        let (id, destination) = match wish {
            Wish::Resolve { name, fresh } => {
                return self.outputs.push_back(MailOutput::Resolve { subject: Subject::Name(name), fresh });
            }
            Wish::Done(fate) => return self.traces.handle_fate(now, fate),
            Wish::Transmit { id, destination, .. } | Wish::Relay { id, destination, .. } => (id, destination),
        };
        let packet = match self.packet_of(lent.signer, &id, destination) {
            Ok(packet) => packet,
            Err((status, reason)) => return self.outbox.handle_refused(now, &id, status, reason),
        };
        let number = packet.as_ref().header().id;
        self.outbox.handle_packed(&wish, number);
        let is_own = self.own.as_ref().is_some_and(|own| own.address == destination);
        if !is_own {
            self.traces.handle_packed(now, &id, number, matches!(wish, Wish::Relay { .. }));
        }
        match wish {
            Wish::Transmit { .. } if is_own => {
                self.outbox.handle_sent(number, destination);
                self.handle_packet(now, lent, Origin::Own, &packet.as_ref());
            }
            Wish::Transmit { avoid, .. } => self.outputs.push_back(MailOutput::Transmit { packet, avoid }),
            _ => self.outputs.push_back(MailOutput::Relay { packet }),
        }
    }

    fn packet_of(
        &mut self,
        signer: &impl Signer,
        id: &MessageId,
        destination: Address,
    ) -> Result<PacketBytes, Refusal> {
        let own = self.own.as_ref().ok_or((Status::NotLoggedIn, "not logged in"))?;
        let message = self.outbox.message(id).ok_or((Status::Failed, "the message is gone"))?;
        pack(message, own, signer, destination, self.rng.next_u64(), self.traces.is_traced(id))
    }

    /// Names those on a path that are known near by; the others are asked for while somebody is there who knows them all
    fn name(&mut self, near: &Neighbourhood, mut pathed: Pathed) {
        for hop in pathed.path_mut().iter_mut().filter(|hop| hop.is_unnamed()) {
            hop.name = near.name_of(hop.short);
        }
        if !self.is_home_up {
            return self.outputs.push_back(pathed.into());
        }
        match self.paths.wait(pathed) {
            Ok(missing) => {
                let ask = |short| MailOutput::Resolve { subject: Subject::ShortId(short), fresh: false };
                self.outputs.extend(missing.into_iter().map(ask));
            }
            Err(pathed) => self.outputs.push_back((*pathed).into()),
        }
    }

    fn on_message<S: Signer>(
        &mut self,
        now: Instant,
        lent: &Lent<'_, S>,
        origin: Origin,
        packet: &PacketRef<'_>,
        signed: &SignedMessage,
    ) {
        let Some(own) = &self.own else { return };
        let (from, message) = match self.grants.verify_message(&own.network, signed, lent.signer) {
            Ok(verified) => verified,
            Err(reason) => {
                return tracing::info!(event = "message_refused", %reason, source = %packet.header().source);
            }
        };
        if from.address != packet.header().source {
            return tracing::info!(event = "message_refused", reason = "sent from another's address", from = %from.name);
        }
        if lent.removed.contains(&from.key) {
            let reason = "its sender was removed from the network for good";
            return tracing::info!(event = "message_refused", reason, from = %from.name);
        }
        let is_elsewhere = own.name != message.to;
        let arrived = Arrived { from, id: message.id, path: path_of(packet.way(), lent.neighbourhood), origin };
        match message.content {
            // First of all, as nobody replies to a reply. Why it is ignored, if it is, is traced by the out-box.
            Content::Reply(reply) => _ = self.outbox.handle_reply(now, &arrived.from, &reply),
            _ if is_elsewhere => self.reply(now, lent, &arrived, Status::NotFound, "that name is not here"),
            Content::Signal(Signal::Ping) => self.reply(now, lent, &arrived, Status::Delivered, ""),
        }
    }

    /// Says what became of a ping; a lost reply is made good by the sender, who sends again
    fn reply<S: Signer>(&mut self, now: Instant, lent: &Lent<'_, S>, arrived: &Arrived, status: Status, reason: &str) {
        let path = Bounded::truncated(arrived.path.clone());
        let reply = Reply { to: arrived.id, status, path, reason: Words::truncated(reason) };
        let to = arrived.from.name.clone();
        let message = Message { id: self.random_id(), to, content: Content::Reply(reply) };
        let Some(own) = &self.own else { return };
        let number = self.rng.next_u64();
        match pack(&message, own, lent.signer, arrived.from.address, number, false) {
            Ok(packet) if arrived.origin == Origin::Own => {
                self.handle_packet(now, lent, Origin::Own, &packet.as_ref());
            }
            Ok(packet) => self.hand_reply_over(lent.neighbourhood, arrived, packet),
            Err((_, reason)) => tracing::info!(event = "reply_dropped", reason, to = %message.to),
        }
    }

    /// By another first hop than before, or by the supernode: where it relayed the ping, where nobody else is left,
    /// and where routing knows no way
    fn hand_reply_over(&mut self, near: &Neighbourhood, arrived: &Arrived, packet: PacketBytes) {
        let avoid = self.replies.tried(&arrived.id);
        let is_mesh_cut =
            arrived.origin == Origin::Home || near.live_links().all(|(neighbour, _)| avoid.contains(&neighbour));
        if is_mesh_cut && self.is_home_up {
            return self.outputs.push_back(MailOutput::Relay { packet });
        }
        self.replies.begin(packet.as_ref().header().id, arrived.id);
        self.outputs.push_back(MailOutput::Transmit { packet, avoid });
    }

    fn random_id(&mut self) -> MessageId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        MessageId(bytes)
    }

    /// Whether nothing waits for anything
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.paths.is_empty() && self.traces.is_empty()
    }
}
