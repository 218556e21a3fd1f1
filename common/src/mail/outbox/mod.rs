//! The out-box of pings: sends, sends again, and says what became of it.
//!
//! A ping is one packet there and one back, and asks for no connection: so it says whether a peer is there at all, and a
//! traced one by which way. What it needs to arrive through a mesh that breaks and heals is here. Messages have an
//! out-box of their own, on disk, and connections that send again for them.
//!
//! | what happens to a send | what the out-box does |
//! |---|---|
//! | it is new | asks where the name is |
//! | the name is found | transmits |
//! | no reply in 500 ms | transmits again, over another first hop |
//! | no reply to that in 1 s, then 2, 4 s | asks for the name anew; elsewhere now: transmits there; else: relays |
//! | the link to its first hop is lost | transmits again at once, over another first hop |
//! | its first hop says that a link of its own is lost | transmits again at once, if a reply is overdue |
//! | a queue on the way was full | waits for the next of those times: hurrying would add to the jam |
//! | it is undeliverable, or there is no first hop | asks for the name anew; elsewhere now: transmits there; else: relays |
//! | the new look-up says 404 or 410 | ends with that |
//! | the relaying supernode says that nobody is there | asks for the name anew; still there: relays; again: ends with 410 |
//! | nobody can relay what met silence, or there is no supernode | transmits again, over another first hop |
//! | neither can help with what came back, for the third time | ends with 503 |
//! | it ends with 404, 410 or 503, but a packet of it was never given back | ends with 408: it may have arrived |
//! | the receiver replies | ends with the reply's status |
//! | 10 s are over | ends with 408 |
//!
//! Only the receiver's own signed reply ends a send with 200. Reports of forwarders are unsigned and no more than hints:
//! they make the out-box hurry or turn to the supernode; what they claim never becomes a fate by itself.
//!
//! Drain [`Outbox::poll_output`] until `None` after every input. Each `Transmit` and `Relay` is answered at once with the
//! packet that was made for it ([`Outbox::handle_packed`]) or with why there is none ([`Outbox::handle_refused`]). What
//! became of the packet may be told later, and other inputs may come between: until then it counts as one that left.

mod fate;
mod output;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use self::fate::{Fate, Reason};
pub(super) use self::output::{Ignored, OutboxOutput, Target};

use self::send::{Send, Sent, Trouble};
use crate::id::{Address, MessageId, Name};
use crate::mutant::{self, Mutant};
use crate::names;
use crate::status::Status;
use crate::time::{Instant, Timers};
use crate::wire::content::{Cause, Content, Message, PathHop, Reply, Undeliverable};
use crate::wire::grant::Grant;
use crate::wire::session;

/// Sends that have no fate yet; the next one ends with 429 at once. Arbitrary, and far more than people and tools ping at once
pub const IN_FLIGHT_MAX: usize = 1_024;
/// From a send to its fate at most: the mesh heals in 3 s, and two transmissions come after that
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first transmission to the second; doubles each time. Ten times a round trip around the world
const RESEND_FIRST: Duration = Duration::from_millis(500);
/// After this a reply is late enough for a loss on the way to be the reason: a round trip around the world. Below it the
/// second transmission comes from the clock as soon
const OVERDUE: Duration = Duration::from_millis(250);
/// Transmissions of one send at most, lost first hops and changed addresses included; five come from the clock
pub(super) const TRANSMISSIONS_MAX: u8 = 16;
/// How often a send may be undeliverable without help from a supernode: 1.5 s, in which the mesh heals around a crash
const UNHELPED_MAX: u8 = 3;
/// Transmissions that may meet silence before the supernode is asked to relay: who forwards nothing and answers probes
/// looks like a good first hop, and two of ten such peers left 49 of 56 pairs without a way; by then 1.5 s are over
const SILENT_MAX: u32 = 2;

// A look-up that turns to the supernode, waits for its turn and floods in vain leaves time for a transmission.
const _: () = assert!(names::ANSWER_TIMEOUT.as_millis() < SEND_TIMEOUT.as_millis());

/// Every send from its beginning to its fate
#[derive(Debug, Default)]
pub(super) struct Outbox {
    sends: BTreeMap<MessageId, Send>,
    /// Each send's next moment
    timers: Timers<MessageId>,
    /// The send that a packet belongs to
    packets: BTreeMap<u64, MessageId>,
    /// The sends that wait for a name
    waiting: BTreeSet<(Name, MessageId)>,
    outputs: VecDeque<OutboxOutput>,
}

impl Outbox {
    /// How many sends have no fate yet, at most [`IN_FLIGHT_MAX`]
    pub(super) fn len(&self) -> usize {
        self.sends.len()
    }

    /// Whether every send has its fate
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// The message of a send that has no fate yet
    pub(super) fn message(&self, id: &MessageId) -> Option<&Message> {
        self.sends.get(id).map(|send| &send.message)
    }

    /// Whether a packet was made for a send that has no fate yet
    pub(super) fn awaits(&self, packet: u64) -> bool {
        self.packets.contains_key(&packet)
    }

    /// Begins a send
    ///
    /// It ends at once, leaving all others as they are, with 429 when [`IN_FLIGHT_MAX`] are under way, with 400 if it
    /// is a reply (which nobody replies to), with 409 if its id is in use.
    pub(super) fn handle_send(&mut self, now: Instant, id: MessageId, to: Name, content: Content) {
        let refused = if matches!(content, Content::Reply(_)) {
            Some((Status::Malformed, Reason::NotARequest))
        } else if self.sends.contains_key(&id) {
            Some((Status::Conflict, Reason::IdInUse))
        } else if self.sends.len() >= IN_FLIGHT_MAX && !mutant::is(Mutant::OutboxUnbounded) {
            Some((Status::SlowDown, Reason::OutboxFull))
        } else {
            None
        };
        match refused {
            Some((status, reason)) => self.refuse(id, to, status, reason),
            None => self.accept(now, Message { id, to, content }),
        }
    }

    /// The answer to [`OutboxOutput::Resolve`]; `fresh` if it is good enough for those who asked for a fresh one
    pub(super) fn handle_resolved(&mut self, now: Instant, name: &Name, fresh: bool, answer: Result<Target, Status>) {
        for id in self.waiting_for(name) {
            let Some(send) = self.sends.get(&id) else { continue };
            match (send.target, answer) {
                (None, Ok(target)) => self.on_found(now, id, target),
                (None, Err(status)) => self.finish(now, &id, status, Reason::LookUp),
                // What tables say has failed already: it is the supernode's word that is waited for.
                (Some(_), _) if !fresh => {}
                (Some(known), Ok(target)) => self.on_found_again(now, id, known, target),
                (Some(_), Err(status)) => self.on_not_found_again(now, id, status),
            }
        }
    }

    /// The answer to [`OutboxOutput::Transmit`] and [`OutboxOutput::Relay`]: this packet was made, and is on its way to a first hop
    pub(super) fn handle_packed(&mut self, output: &OutboxOutput, packet: u64) {
        let (id, transmission, destination, is_relay) = match output {
            OutboxOutput::Transmit { id, transmission, destination, .. } => (id, *transmission, *destination, false),
            OutboxOutput::Relay { id, transmission, destination } => (id, *transmission, *destination, true),
            OutboxOutput::Resolve { .. } | OutboxOutput::Done(_) => return,
        };
        let Some(send) = self.sends.get_mut(id) else { return };
        send.packets.push(Sent { packet, transmission, destination, is_relay });
        self.packets.insert(packet, *id);
    }

    /// A packet was handed to this neighbour
    pub(super) fn handle_sent(&mut self, packet: u64, first_hop: Address) {
        if let Some(send) = self.packets.get(&packet).and_then(|id| self.sends.get_mut(id)) {
            send.on_sent(packet, first_hop);
        }
    }

    /// Nobody could be handed this packet: no link is up, or the supernode is away
    pub(super) fn handle_unsent(&mut self, now: Instant, packet: u64) {
        let Some(id) = self.packets.remove(&packet) else { return };
        let Some(send) = self.sends.get_mut(&id) else { return };
        // A later transmission, if there is one, has an answer of its own.
        let unsent = send.take_unsent(packet);
        if unsent.is_none_or(|sent| sent.transmission != send.transmissions) {
            return;
        }
        send.first_hop = None;
        match send.relaying.take() {
            Some(trouble) => self.on_no_help(now, id, trouble),
            // Neighbours that failed once are better than nobody.
            None if !send.avoid.is_empty() => {
                send.avoid.clear();
                self.transmit(now, id, "only neighbours tried before are left");
            }
            None => self.on_trouble(now, id, Trouble::NoFirstHop),
        }
    }

    /// No packet can be made of it: there is no grant to sign it with, or it is too large
    pub(super) fn handle_refused(&mut self, now: Instant, id: &MessageId, status: Status, reason: &'static str) {
        self.finish(now, id, status, Reason::Refused(reason));
    }

    /// A reply whose signature and grant are verified
    ///
    /// # Errors
    /// [`Ignored`]: nothing has changed.
    pub(super) fn handle_reply(&mut self, now: Instant, from: &Grant, reply: &Reply) -> Result<(), Ignored> {
        let expected = self.expects(from, &reply.to);
        match expected {
            Ok(()) => {
                let fate = (reply.path.to_vec(), reply.reason.clone());
                self.finish_with(now, &reply.to, reply.status, Reason::Replied, fate);
            }
            Err(reason) => tracing::debug!(id = %reply.to, from = %from.name, %reason, "reply ignored"),
        }
        expected
    }

    /// A packet came back, or somebody on the way says that it went no farther
    ///
    /// # Errors
    /// [`Ignored`]: nothing has changed.
    pub(super) fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) -> Result<(), Ignored> {
        let found = self.take_sent(report);
        match found {
            Ok((id, sent)) if sent.is_relay => self.on_relay_failed(now, id, report),
            Ok((id, _)) if report.cause == Cause::Congested => {
                tracing::debug!(%id, reason = "a queue on the way was full", "waiting for the next resend");
            }
            Ok((id, _)) => self.on_trouble(now, id, Trouble::Undeliverable(report.cause)),
            Err(reason) => {
                tracing::debug!(packet = report.packet, %reason, "report of an undeliverable packet ignored")
            }
        }
        found.map(|_| ())
    }

    /// The link to a neighbour is lost, and with it whatever it had not passed on
    pub(super) fn handle_first_hop_lost(&mut self, now: Instant, neighbour: Address) {
        let lost = |send: &Send| send.first_hop == Some(neighbour);
        let ids: Vec<MessageId> = self.sends.iter().filter(|(_, send)| lost(send)).map(|(id, _)| *id).collect();
        for id in ids {
            self.transmit(now, id, "the link to its first hop is lost");
        }
    }

    /// A link of this neighbour's is lost: what it was handed may have been on its way over that one
    ///
    /// Sends younger than [`OVERDUE`] are left alone: most of them went elsewhere, and their replies are on the way.
    pub(super) fn handle_loss_beyond(&mut self, now: Instant, neighbour: Address) {
        let may_be_lost = |send: &Send| send.first_hop == Some(neighbour) && now - send.started >= OVERDUE;
        let ids = self.sends.iter().filter(|(_, send)| may_be_lost(send));
        for id in ids.map(|(id, _)| *id).collect::<Vec<MessageId>>() {
            self.transmit(now, id, "a link beyond its first hop is lost");
        }
    }

    /// Sends again whatever was waited for long enough, and ends what has had its time
    ///
    /// `is_home_up`: there is a supernode that relays, and that knows names.
    pub(super) fn handle_timeout(&mut self, now: Instant, is_home_up: bool) {
        while let Some(id) = self.timers.take_due(now) {
            self.on_timer(now, id, is_home_up);
        }
    }

    /// When to call [`Outbox::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// The next thing to do
    pub(super) fn poll_output(&mut self) -> Option<OutboxOutput> {
        self.outputs.pop_front()
    }

    fn accept(&mut self, now: Instant, message: Message) {
        let (id, name) = (message.id, message.to.clone());
        let send = Send::new(now, message);
        self.timers.set(send.deadline(), id);
        self.sends.insert(id, send);
        self.resolve(id, name, false);
    }

    fn refuse(&mut self, id: MessageId, to: Name, status: Status, reason: Reason) {
        tracing::info!(%id, %to, %status, %reason, "send refused");
        let (path, words) = Default::default();
        let fate = Fate { id, to, status, path, elapsed: Duration::ZERO, transmissions: 0, reason, words };
        self.outputs.push_back(OutboxOutput::Done(fate));
    }

    fn resolve(&mut self, id: MessageId, name: Name, fresh: bool) {
        self.waiting.insert((name.clone(), id));
        self.outputs.push_back(OutboxOutput::Resolve { name, fresh });
    }

    fn waiting_for(&self, name: &Name) -> Vec<MessageId> {
        let from = (name.clone(), MessageId([0; 16]));
        self.waiting.range(from..).take_while(|(waiting, _)| waiting == name).map(|(_, id)| *id).collect()
    }

    fn on_found(&mut self, now: Instant, id: MessageId, target: Target) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        send.target = Some(target);
        self.waiting.remove(&(send.message.to.clone(), id));
        self.transmit(now, id, "its name is found");
    }

    fn on_found_again(&mut self, now: Instant, id: MessageId, known: Target, target: Target) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        self.waiting.remove(&(send.message.to.clone(), id));
        // An answer out of tables names no key; the one that a supernode named before binds the reply further.
        send.target = Some(Target { key: target.key.or(known.key), ..target });
        // If it is where it was, then what lies between is at fault.
        if target.address == known.address && !mutant::is(Mutant::NeverRelays) {
            return self.relay(now, id);
        }
        send.looking_up = None;
        send.avoid.clear();
        self.transmit(now, id, "its name is elsewhere now");
    }

    fn on_not_found_again(&mut self, now: Instant, id: MessageId, status: Status) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        if matches!(status, Status::NotFound | Status::Gone) {
            return self.finish(now, &id, status, Reason::LookUp);
        }
        self.waiting.remove(&(send.message.to.clone(), id));
        if let Some(trouble) = send.looking_up.take() {
            self.on_no_help(now, id, trouble);
        }
    }

    fn on_trouble(&mut self, now: Instant, id: MessageId, trouble: Trouble) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        if send.is_exhausted() {
            return match trouble {
                // The last transmission may be answered yet, until the deadline.
                Trouble::Silence => {}
                _ => self.finish(now, &id, Status::Unavailable, trouble.into()),
            };
        }
        tracing::debug!(%id, transmission = send.transmissions, reason = %Reason::from(trouble), "looking the name up again");
        if !matches!(trouble, Trouble::Silence) {
            // What met silence is still with its first hop, whose loss is worth a transmission.
            send.first_hop = None;
        }
        if send.looking_up.replace(trouble).is_none() {
            let name = send.message.to.clone();
            self.resolve(id, name, true);
        }
    }

    fn on_relay_failed(&mut self, now: Instant, id: MessageId, report: &Undeliverable) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        let trouble = Trouble::Undeliverable(report.cause);
        if let Some(Trouble::Silence) = send.relaying
            && report.status == Status::Unavailable
        {
            return self.on_no_help(now, id, Trouble::Silence);
        }
        // Only the supernode knows this packet's id, so here its word counts: on the address, as it was told no name.
        if !matches!(report.status, Status::NotFound | Status::Gone) {
            return self.on_no_help(now, id, trouble);
        }
        // Whoever was there may be elsewhere by now: a second word counts, once the name is still found there.
        let is_second = send.vacant.replace(report.destination) == Some(report.destination);
        if is_second && send.looking_up.is_none() {
            return self.finish(now, &id, Status::Gone, Reason::Relay(report.cause));
        }
        self.on_trouble(now, id, trouble);
    }

    /// Neither mesh nor supernode delivers at present; the clock brings the next transmission, if there is to be one
    fn on_no_help(&mut self, now: Instant, id: MessageId, trouble: Trouble) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        if matches!(trouble, Trouble::Silence) {
            // Silence says nothing of the mesh as a whole, so it has its next turn at once and nothing is given up.
            return self.transmit(now, id, "no reply yet, and no supernode can relay");
        }
        send.unhelped += 1;
        let is_last = self.timers.moment(&id).is_some_and(|wakes| wakes >= send.deadline());
        if send.unhelped >= UNHELPED_MAX || is_last {
            self.finish(now, &id, Status::Unavailable, trouble.into());
        }
    }

    fn on_timer(&mut self, now: Instant, id: MessageId, is_home_up: bool) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        if now >= send.deadline() {
            return self.finish(now, &id, Status::TimedOut, Reason::NoReply);
        }
        send.timeouts += 1;
        let is_met_with_silence = send.timeouts >= SILENT_MAX;
        // A look-up that is under way already has the mesh's next turn meanwhile: its supernode may be silent too.
        if !is_met_with_silence || !is_home_up || send.looking_up.is_some() || send.target.is_none() {
            return self.transmit(now, id, "no reply yet");
        }
        self.timers.set(send.next_wake(now), id);
        self.on_trouble(now, id, Trouble::Silence);
    }

    fn transmit(&mut self, now: Instant, id: MessageId, reason: &'static str) {
        let Some((transmission, destination)) = self.next_transmission(now, id, reason) else { return };
        let avoid = self.sends.get(&id).map(|send| send.avoid.clone()).unwrap_or_default();
        self.outputs.push_back(OutboxOutput::Transmit { id, transmission, destination, avoid });
    }

    fn relay(&mut self, now: Instant, id: MessageId) {
        let trouble = self.sends.get_mut(&id).and_then(|send| send.looking_up.take());
        let reason = "the mesh cannot deliver: relay";
        let Some((transmission, destination)) = self.next_transmission(now, id, reason) else { return };
        if let Some(send) = self.sends.get_mut(&id) {
            send.relaying = trouble;
        }
        self.outputs.push_back(OutboxOutput::Relay { id, transmission, destination });
    }

    /// Counts a transmission and sets its timer; past [`TRANSMISSIONS_MAX`] only the deadline is left to wait for
    fn next_transmission(&mut self, now: Instant, id: MessageId, reason: &'static str) -> Option<(u8, Address)> {
        let send = self.sends.get_mut(&id)?;
        let target = send.target?;
        self.timers.set(send.next_wake(now), id);
        // A reply to an older transmission still counts, the loss of its first hop no longer does.
        send.first_hop = None;
        send.relaying = None;
        if send.is_exhausted() {
            tracing::debug!(%id, reason = "it was sent too often already", "not sent again");
            return None;
        }
        send.transmissions += 1;
        if send.transmissions > 1 {
            tracing::debug!(%id, to = %send.message.to, transmission = send.transmissions, reason, "sent again");
        }
        Some((send.transmissions, target.address))
    }

    fn expects(&self, from: &Grant, id: &MessageId) -> Result<(), Ignored> {
        let send = self.sends.get(id).ok_or(Ignored::Unknown)?;
        if send.message.to != from.name {
            return Err(Ignored::OtherName);
        }
        // Where nobody has named a key the grant alone says whose reply this is.
        let key = send.target.and_then(|target| target.key);
        if key.is_some_and(|key| key != from.key) { Err(Ignored::OtherKey) } else { Ok(()) }
    }

    /// The packet that a report is about; its next report is ignored, so that nobody on the way can repeat it
    fn take_sent(&mut self, report: &Undeliverable) -> Result<(MessageId, Sent), Ignored> {
        let id = *self.packets.get(&report.packet).ok_or(Ignored::Unknown)?;
        let send = self.sends.get_mut(&id).ok_or(Ignored::Unknown)?;
        let sent = send.take_reported(report).ok_or(Ignored::OtherDestination)?;
        self.packets.remove(&report.packet);
        Ok((id, sent))
    }

    fn finish(&mut self, now: Instant, id: &MessageId, status: Status, reason: Reason) {
        let is_out = self.sends.get(id).is_some_and(|send| !send.packets.is_empty());
        let is_uncertain = is_out && !mutant::is(Mutant::CertaintyFeigned);
        let (status, reason) = match status {
            // What is said of the peer now does not say what became of the packets that nobody gave back.
            Status::NotFound | Status::Gone | Status::Unavailable if is_uncertain => {
                (Status::TimedOut, Reason::Uncertain(status))
            }
            _ => (status, reason),
        };
        self.finish_with(now, id, status, reason, Default::default());
    }

    fn finish_with(
        &mut self,
        now: Instant,
        id: &MessageId,
        status: Status,
        reason: Reason,
        (path, words): (Vec<PathHop>, session::Reason),
    ) {
        let Some(send) = self.sends.remove(id) else { return };
        self.timers.stop(id);
        for sent in &send.packets {
            self.packets.remove(&sent.packet);
        }
        let to = send.message.to;
        self.waiting.remove(&(to.clone(), *id));
        let (elapsed, transmissions) = (now - send.started, send.transmissions);
        tracing::debug!(%id, %to, %status, transmissions, elapsed_us = elapsed.as_micros() as u64, %reason, "send ended");
        let fate = OutboxOutput::Done(Fate { id: *id, to, status, path, elapsed, transmissions, reason, words });
        self.outputs.extend(mutant::is(Mutant::FateTwice).then(|| fate.clone()));
        self.outputs.push_back(fate);
    }
}

#[cfg(test)]
mod tests;
