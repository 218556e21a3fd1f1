//! The out-box: sends, sends again, and says what became of it.
//!
//! | what happens to a send | what the out-box does |
//! |---|---|
//! | it is new | asks where the name is |
//! | the name is found | transmits |
//! | no reply in 500 ms, then 1, 2, 4 s | transmits again, over another first hop |
//! | the link to its first hop is lost | transmits again at once, over another first hop |
//! | a queue on the way was full | waits for the next of those times: hurrying would add to the jam |
//! | it is undeliverable, or there is no first hop | asks for the name anew; elsewhere now: transmits there; else: relays |
//! | the new look-up says 404 or 410 | ends with that |
//! | the relaying supernode says that nobody is there | asks for the name anew; still there: relays; again: ends with 410 |
//! | neither can help, for the third time | ends with 503 |
//! | it ends with 404, 410 or 503, but a packet of it was never given back | ends with 408: it may have arrived |
//! | the receiver replies | ends with the reply's status |
//! | 10 s are over | ends with 408 |
//!
//! Only the receiver's own signed reply ends a send well. Reports of forwarders are unsigned and no more than hints:
//! they make the out-box hurry or turn to the supernode; what they claim never becomes a fate by itself.
//!
//! Drain [`Outbox::poll_output`] until `None` after every input. Each `Transmit` and `Relay` is answered, before any
//! other input, by [`Outbox::handle_sent`] or [`Outbox::handle_unsent`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::id::{Address, Key, MessageId, Name};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::bounded::Bytes;
use crate::wire::content::{Cause, Content, DATA_BYTES_MAX, Message, PathHop, Reply, Undeliverable};
use crate::wire::grant::Grant;

/// Sends that have no fate yet; the next one ends with 429 at once. At the largest size they hold 56 MiB
pub const IN_FLIGHT_MAX: usize = 1_024;
/// From a send to its fate at most: the mesh heals in 3 s, and two attempts come after that
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first transmission to the second; doubles each time. Ten times a round trip around the world
pub const RESEND_FIRST: Duration = Duration::from_millis(500);
/// Transmissions of one send at most, lost first hops and changed addresses included; five come from the clock
pub const ATTEMPTS_MAX: u8 = 16;
/// How often a send may be undeliverable without help from a supernode: 1.5 s, in which the mesh heals around a crash
pub const UNHELPED_MAX: u8 = 3;

/// Something for the shell to do
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Find out where `name` is; answer with [`Outbox::handle_resolved`]
    Resolve {
        /// Who is meant
        name: Name,
        /// Whether an answer from memory will not do, because one has just failed
        fresh: bool,
    },
    /// Put [`Outbox::message`] into a packet of its own and hand it to a neighbour
    Transmit {
        /// Which send
        id: MessageId,
        /// Counts up from 1
        attempt: u8,
        /// Where to
        destination: Address,
        /// Neighbours that it was handed to before: any other is better
        avoid: Vec<Address>,
    },
    /// Put [`Outbox::message`] into a packet of its own and hand it to the supernode in a relay frame
    Relay {
        /// Which send
        id: MessageId,
        /// Counts up, together with the transmissions
        attempt: u8,
        /// Where to
        destination: Address,
    },
    /// The end of a send; there is no other
    Done(Fate),
}

/// What became of a send
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Of the message
    pub id: MessageId,
    /// For whom it was
    pub to: Name,
    /// What became of it
    pub status: Status,
    /// The way that it took, both ends left out, as the receiver saw it; empty without a reply
    pub path: Vec<PathHop>,
    /// From the send to this
    pub elapsed: Duration,
    /// How often it was transmitted or relayed
    pub attempts: u8,
    /// How this is known
    pub reason: Reason,
    /// The result of a call
    pub body: Bytes<DATA_BYTES_MAX>,
}

/// How a fate is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The receiver replied
    Replied,
    /// Nobody replied
    NoReply,
    /// The directory, or whoever else was asked for the name, said so
    LookUp,
    /// It came back, and no supernode could help
    Undeliverable(Cause),
    /// The supernode that was to relay it said so
    Relay(Cause),
    /// No link was up, and no supernode could help
    NoFirstHop,
    /// It left and was not given back, so it may have arrived; now there is no way, or nobody, for this reason
    Uncertain(Status),
    /// [`IN_FLIGHT_MAX`] sends had no fate yet
    OutboxFull,
    /// A reply was offered to be sent like a request
    NotARequest,
    /// Another send has this id
    IdInUse,
    /// The shell could not make a packet of it
    Refused(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Replied => "the receiver replied",
            Self::NoReply => "no reply in time",
            Self::LookUp => "so says the look-up of the name",
            Self::Undeliverable(cause) => return write!(f, "{}, and no supernode could help", words(*cause)),
            Self::Relay(cause) => return write!(f, "so says the relaying supernode: {}", words(*cause)),
            Self::Uncertain(status) => {
                return write!(
                    f,
                    "it may have arrived, but no receipt came, and now the receiver is {}",
                    status.text()
                );
            }
            Self::NoFirstHop => "no link to a neighbour is up, and no supernode could help",
            Self::OutboxFull => "too many messages are under way",
            Self::NotARequest => "a reply cannot be sent as a request",
            Self::IdInUse => "a message with this id is under way",
            Self::Refused(reason) => reason,
        };
        f.write_str(text)
    }
}

const fn words(cause: Cause) -> &'static str {
    match cause {
        Cause::NoCandidate => "no neighbour was left to try",
        Cause::TtlSpent => "it had used up its hops",
        Cause::DestinationDown => "the destination's neighbours have lost it",
        Cause::NoSession => "nobody is logged in at that address",
        Cause::Congested => "a queue on the way was full",
    }
}

/// Where a name is, as far as is known
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where packets go
    pub address: Address,
    /// Whose reply counts; `None`: whoever shows a grant of that name
    pub key: Option<Key>,
}

/// How a packet left
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Handed to this neighbour
    FirstHop(Address),
    /// Handed to the supernode
    Relay,
}

/// A reply or a report that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// No send waits for it: it came too late, twice, or unasked
    #[error("no send waits for it")]
    Unknown,
    /// Whoever replied has another name than the receiver
    #[error("it comes from another name")]
    OtherName,
    /// Whoever replied has the name but not the key
    #[error("it comes from another key")]
    OtherKey,
    /// The report names another destination than the packet had
    #[error("it names another destination")]
    OtherDestination,
}

/// Every send from its beginning to its fate
#[derive(Debug, Default)]
pub struct Outbox {
    sends: BTreeMap<MessageId, Send>,
    /// Each send's next moment
    timers: BTreeSet<(Instant, MessageId)>,
    /// Which send a packet belongs to
    packets: BTreeMap<u64, MessageId>,
    /// Who waits for a name
    waiting: BTreeSet<(Name, MessageId)>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Send {
    message: Message,
    started: Instant,
    wakes: Instant,
    /// `None`: the first look-up runs
    target: Option<Target>,
    /// A new look-up runs, because of this
    looking_up: Option<Trouble>,
    /// The last attempt is a relay, because of this
    relaying: Option<Trouble>,
    /// Where nobody is, as the supernode that was to relay said last
    vacant: Option<Address>,
    attempts: u8,
    timeouts: u32,
    unhelped: u8,
    packets: Vec<Sent>,
    first_hop: Option<Address>,
    avoid: Vec<Address>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    packet: u64,
    destination: Address,
    relay: bool,
}

/// Why the mesh alone will not do
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Undeliverable(Cause),
    NoFirstHop,
}

impl From<Trouble> for Reason {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Undeliverable(cause) => Self::Undeliverable(cause),
            Trouble::NoFirstHop => Self::NoFirstHop,
        }
    }
}

impl Send {
    fn deadline(&self) -> Instant {
        self.started + SEND_TIMEOUT
    }

    /// How long the present transmission is waited for
    fn patience(&self) -> Duration {
        let timeouts = if mutant::is(Mutant::NeverResends) { u32::MAX } else { self.timeouts };
        RESEND_FIRST.saturating_mul(1 << timeouts.min(u32::from(ATTEMPTS_MAX)))
    }
}

impl Outbox {
    /// Nothing is under way
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sends have no fate yet, at most [`IN_FLIGHT_MAX`]
    pub fn len(&self) -> usize {
        self.sends.len()
    }

    /// Whether every send has its fate
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// The message of a send that has no fate yet
    pub fn message(&self, id: &MessageId) -> Option<&Message> {
        self.sends.get(id).map(|send| &send.message)
    }

    /// The send that a packet was made for, while it has no fate: to match the hops that a traced packet reports
    pub fn message_of_packet(&self, packet: u64) -> Option<MessageId> {
        self.packets.get(&packet).copied()
    }

    /// Begins a send: data, a signal or a call
    ///
    /// It ends at once, leaving all others as they are, with 429 when [`IN_FLIGHT_MAX`] are under way, with 400 if it
    /// is a reply (which nobody replies to), with 409 if its id is in use.
    pub fn handle_send(&mut self, now: Instant, id: MessageId, to: Name, content: Content) {
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

    /// The answer to [`Output::Resolve`]; `fresh` if it is good enough for those who asked for a fresh one
    pub fn handle_resolved(&mut self, now: Instant, name: &Name, fresh: bool, answer: Result<Target, Status>) {
        for id in self.waiting_for(name) {
            let Some(send) = self.sends.get(&id) else { continue };
            match (send.target, answer) {
                (None, Ok(target)) => self.on_found(now, id, target),
                (None, Err(status)) => self.finish(now, &id, status, Reason::LookUp),
                (Some(_), _) if !fresh => {}
                (Some(known), Ok(target)) => self.on_found_again(now, id, known, target),
                (Some(_), Err(status)) => self.on_not_found_again(now, id, status),
            }
        }
    }

    /// A packet of `attempt` left
    pub fn handle_sent(&mut self, id: &MessageId, attempt: u8, packet: u64, via: Via) {
        let Some(send) = self.sends.get_mut(id).filter(|send| send.attempts == attempt) else { return };
        let Some(target) = send.target else { return };
        send.packets.push(Sent { packet, destination: target.address, relay: via == Via::Relay });
        self.packets.insert(packet, *id);
        send.first_hop = match via {
            Via::FirstHop(hop) => Some(hop),
            Via::Relay => None,
        };
        if let Some(hop) = send.first_hop.filter(|hop| !send.avoid.contains(hop))
            && !mutant::is(Mutant::SameFirstHop)
        {
            send.avoid.push(hop);
        }
    }

    /// Nobody could be handed a packet of `attempt`: no link is up, or the supernode is away
    pub fn handle_unsent(&mut self, now: Instant, id: &MessageId, attempt: u8) {
        let Some(send) = self.sends.get_mut(id).filter(|send| send.attempts == attempt) else { return };
        send.first_hop = None;
        match send.relaying.take() {
            Some(trouble) => self.on_no_help(now, *id, trouble),
            // Neighbours that failed once are better than nobody.
            None if !send.avoid.is_empty() => {
                send.avoid.clear();
                self.transmit(now, *id, "only neighbours tried before are left");
            }
            None => self.on_trouble(now, *id, Trouble::NoFirstHop),
        }
    }

    /// The shell cannot make a packet of the message: it is too large, or there is no grant to sign it with
    pub fn handle_refused(&mut self, now: Instant, id: &MessageId, status: Status, reason: &'static str) {
        self.finish(now, id, status, Reason::Refused(reason));
    }

    /// A reply whose signature and grant are verified
    ///
    /// # Errors
    /// [`Ignored`]: nothing has changed.
    pub fn handle_reply(&mut self, now: Instant, from: &Grant, reply: &Reply) -> Result<(), Ignored> {
        let expected = self.expects(from, &reply.to);
        match expected {
            Ok(()) => {
                let fate = (reply.path.to_vec(), reply.body.clone());
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
    pub fn handle_undeliverable(&mut self, now: Instant, report: &Undeliverable) -> Result<(), Ignored> {
        let found = self.take_sent(report);
        match found {
            Ok((id, sent)) if sent.relay => self.on_relay_failed(now, id, report),
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
    pub fn handle_first_hop_lost(&mut self, now: Instant, neighbour: Address) {
        let lost = |send: &Send| send.first_hop == Some(neighbour);
        let ids: Vec<MessageId> = self.sends.iter().filter(|(_, send)| lost(send)).map(|(id, _)| *id).collect();
        for id in ids {
            self.transmit(now, id, "the link to its first hop is lost");
        }
    }

    /// Sends again whatever was waited for long enough, and ends what has had its time
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((wakes, id)) = self.timers.first().copied().filter(|(wakes, _)| *wakes <= now) {
            self.timers.remove(&(wakes, id));
            self.on_timer(now, id);
        }
    }

    /// When to call [`Outbox::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(wakes, _)| *wakes)
    }

    /// The next thing to do
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn accept(&mut self, now: Instant, message: Message) {
        let (id, name) = (message.id, message.to.clone());
        let send = Send {
            message,
            started: now,
            wakes: now + SEND_TIMEOUT,
            target: None,
            looking_up: None,
            relaying: None,
            vacant: None,
            attempts: 0,
            timeouts: 0,
            unhelped: 0,
            packets: Vec::new(),
            first_hop: None,
            avoid: Vec::new(),
        };
        self.timers.insert((send.wakes, id));
        self.sends.insert(id, send);
        self.resolve(id, name, false);
    }

    fn refuse(&mut self, id: MessageId, to: Name, status: Status, reason: Reason) {
        tracing::info!(%id, %to, %status, %reason, "send refused");
        let (path, body) = Default::default();
        let fate = Fate { id, to, status, path, elapsed: Duration::ZERO, attempts: 0, reason, body };
        self.outputs.push_back(Output::Done(fate));
    }

    fn resolve(&mut self, id: MessageId, name: Name, fresh: bool) {
        self.waiting.insert((name.clone(), id));
        self.outputs.push_back(Output::Resolve { name, fresh });
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
        send.target = Some(Target { key: target.key.or(known.key), ..target });
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
        if send.attempts >= ATTEMPTS_MAX {
            return self.finish(now, &id, Status::Unavailable, trouble.into());
        }
        tracing::debug!(%id, attempt = send.attempts, reason = %Reason::from(trouble), "looking the name up again");
        send.first_hop = None;
        if send.looking_up.replace(trouble).is_none() {
            let name = send.message.to.clone();
            self.resolve(id, name, true);
        }
    }

    fn on_relay_failed(&mut self, now: Instant, id: MessageId, report: &Undeliverable) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        let trouble = Trouble::Undeliverable(report.cause);
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

    /// Neither mesh nor supernode delivers at present; the clock brings the next attempt, if there is to be one
    fn on_no_help(&mut self, now: Instant, id: MessageId, trouble: Trouble) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        send.unhelped += 1;
        if send.unhelped >= UNHELPED_MAX || send.wakes >= send.deadline() {
            self.finish(now, &id, Status::Unavailable, trouble.into());
        }
    }

    fn on_timer(&mut self, now: Instant, id: MessageId) {
        let Some(send) = self.sends.get_mut(&id) else { return };
        if now >= send.deadline() {
            return self.finish(now, &id, Status::TimedOut, Reason::NoReply);
        }
        send.timeouts += 1;
        self.transmit(now, id, "no reply yet");
    }

    fn transmit(&mut self, now: Instant, id: MessageId, reason: &'static str) {
        let Some((attempt, destination)) = self.next_attempt(now, id, reason) else { return };
        let avoid = self.sends.get(&id).map(|send| send.avoid.clone()).unwrap_or_default();
        self.outputs.push_back(Output::Transmit { id, attempt, destination, avoid });
    }

    fn relay(&mut self, now: Instant, id: MessageId) {
        let trouble = self.sends.get_mut(&id).and_then(|send| send.looking_up.take());
        let Some((attempt, destination)) = self.next_attempt(now, id, "the mesh cannot deliver: relay") else { return };
        if let Some(send) = self.sends.get_mut(&id) {
            send.relaying = trouble;
        }
        self.outputs.push_back(Output::Relay { id, attempt, destination });
    }

    /// Counts an attempt and sets its timer; past [`ATTEMPTS_MAX`] only the deadline is left to wait for
    fn next_attempt(&mut self, now: Instant, id: MessageId, reason: &'static str) -> Option<(u8, Address)> {
        let send = self.sends.get_mut(&id)?;
        let target = send.target?;
        let exhausted = send.attempts >= ATTEMPTS_MAX;
        let wakes = if exhausted { send.deadline() } else { send.deadline().min(now + send.patience()) };
        self.timers.remove(&(send.wakes, id));
        self.timers.insert((wakes, id));
        send.wakes = wakes;
        send.first_hop = None;
        send.relaying = None;
        if exhausted {
            tracing::debug!(%id, reason = "it was sent too often already", "not sent again");
            return None;
        }
        send.attempts += 1;
        if send.attempts > 1 {
            tracing::debug!(%id, to = %send.message.to, attempt = send.attempts, reason, "sent again");
        }
        Some((send.attempts, target.address))
    }

    fn expects(&self, from: &Grant, id: &MessageId) -> Result<(), Ignored> {
        let send = self.sends.get(id).ok_or(Ignored::Unknown)?;
        if send.message.to != from.name {
            return Err(Ignored::OtherName);
        }
        let key = send.target.and_then(|target| target.key);
        if key.is_some_and(|key| key != from.key) { Err(Ignored::OtherKey) } else { Ok(()) }
    }

    /// The packet that a report is about; its next report is ignored, so that nobody on the way can repeat it
    fn take_sent(&mut self, report: &Undeliverable) -> Result<(MessageId, Sent), Ignored> {
        let id = *self.packets.get(&report.packet).ok_or(Ignored::Unknown)?;
        let send = self.sends.get_mut(&id).ok_or(Ignored::Unknown)?;
        let at = send.packets.iter().position(|sent| sent.packet == report.packet).ok_or(Ignored::Unknown)?;
        if send.packets.get(at).is_some_and(|sent| sent.destination != report.destination) {
            return Err(Ignored::OtherDestination);
        }
        self.packets.remove(&report.packet);
        Ok((id, send.packets.swap_remove(at)))
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
        (path, body): (Vec<PathHop>, Bytes<DATA_BYTES_MAX>),
    ) {
        let Some(send) = self.sends.remove(id) else { return };
        self.timers.remove(&(send.wakes, *id));
        for sent in &send.packets {
            self.packets.remove(&sent.packet);
        }
        let to = send.message.to;
        self.waiting.remove(&(to.clone(), *id));
        let (elapsed, attempts) = (now - send.started, send.attempts);
        tracing::debug!(%id, %to, %status, attempts, elapsed_us = elapsed.as_micros() as u64, %reason, "send ended");
        let fate = Output::Done(Fate { id: *id, to, status, path, elapsed, attempts, reason, body });
        self.outputs.extend(mutant::is(Mutant::FateTwice).then(|| fate.clone()));
        self.outputs.push_back(fate);
    }
}

#[cfg(test)]
mod tests;
