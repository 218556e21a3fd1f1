//! One open link: what it does with frames, bytes and time, from the hellos to the last words.
//!
//! A [`Link`] holds what waits to be written, knows whether the other side still answers, keeps every deadline, and
//! decides when and why the link ends. The shell carries bytes and tells the time. After each call it asks three things:
//! whether the link [is to end](Link::ending), whether there is [something to write](Link::has_frames), and when
//! [the next timer](Link::next_timeout) goes off.
//!
//! ```text
//! handle_frame ─► a packet to decide, a frame for the node, or nothing      ─┐
//! send, forward ─► queue ─► take_batch ─► the shell writes ─► on_written     ├─► ending ─► begin_farewell ─► the rest,
//! handle_timeout ─► probes into the queue                                   ─┘             then a Bye, then the end
//! ```

use std::time::Duration;

use super::chunks::Chunks;
use super::limits::Deadlines;
use super::liveness::{self, Liveness, LivenessConfig};
use super::queue::{PushError, Queue, QueueBounds};
use super::reason::{CloseReason, Slow};
use crate::mutant::{self, Mutant};
use crate::time::{Instant, earliest, held_up};
use crate::wire::link::{Probe, ProbeReply};
use crate::wire::packet::{Edit, PacketRef};
use crate::wire::session::Purpose;
use crate::wire::{Bye, Frame, FrameKind, Priority, WireError};

/// Frames that may fail to decode before the link is closed: two are a bug, three are an attack or a broken build
pub const DECODE_ERRORS_MAX: u32 = 3;

/// How much later than at its time an idle link may be probed: a thread with many links wakes for several at once
pub const IDLE_SLACK: Duration = Duration::from_millis(1_024);

/// How long a home link may be silent before its lease is known: as long as the answer to a login may take
pub const HOME_SILENCE: Duration = Duration::from_secs(10);

/// How links of one node behave
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether packets are decided at this node (a peer), or are frames like others (a supernode)
    pub forwarding: bool,
    /// Bounds on what waits to be written
    pub queues: QueueBounds,
    /// Bounds on time
    pub deadlines: Deadlines,
    /// When to probe a neighbour, and when to give it up
    pub liveness: LivenessConfig,
    /// How long a home link may be silent, until [`Link::set_patience`] says more
    pub home_silence: Duration,
}

impl Rules {
    /// A peer's
    pub fn of_peer() -> Self {
        Self {
            forwarding: true,
            queues: QueueBounds::default(),
            deadlines: Deadlines::default(),
            liveness: LivenessConfig::default(),
            home_silence: HOME_SILENCE,
        }
    }

    /// A supernode's, whose links may be silent for `home_silence`
    pub fn of_supernode(home_silence: Duration) -> Self {
        Self { forwarding: false, queues: QueueBounds::of_supernode(), home_silence, ..Self::of_peer() }
    }

    fn liveness_of(&self, purpose: Purpose) -> LivenessConfig {
        match purpose {
            Purpose::Neighbour | Purpose::Backbone => self.liveness.clone(),
            Purpose::Home if mutant::is(Mutant::HomeAsHastyAsOthers) => self.liveness.clone(),
            Purpose::Home => LivenessConfig::patient(self.home_silence),
        }
    }
}

/// What a frame that came is to the node
#[derive(Debug)]
pub enum Received<'a> {
    /// A packet to decide; only where packets are forwarded
    Packet(PacketRef<'a>),
    /// A frame that is not the link's own
    Frame(Frame),
    /// The link's own: an answer may wait in the queue, or the link is to end
    Nothing,
    /// It does not decode; at the third the link is to end
    Undecodable {
        /// The fault
        error: WireError,
        /// How many there were, with this one
        errors: u32,
    },
}

/// A frame was not queued
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The link is ending; nothing has changed
    Ending,
    /// The class is at its bound: of control, the link is to end now; else nothing has changed
    Full(Priority),
    /// The frame has no bytes; nothing has changed
    Wire(WireError),
}

/// The state of one open link
#[derive(Debug)]
pub struct Link {
    forwarding: bool,
    deadlines: Deadlines,
    queue: Queue,
    liveness: Liveness,
    decode_errors: u32,
    /// Whether this node takes nothing from the link, so that silence is its own fault
    is_stalled: bool,
    frame_began: Option<Instant>,
    write_began: Option<Instant>,
    /// Why it is to end, from the moment that somebody wants that
    ending: Option<CloseReason>,
    /// Whether the last words are in the queue
    is_finishing: bool,
}

impl Link {
    /// A link for `purpose` whose hellos were exchanged at `now`; `seed` spreads its idle probes
    pub fn new(rules: &Rules, purpose: Purpose, now: Instant, seed: u64) -> Self {
        Self {
            forwarding: rules.forwarding,
            deadlines: rules.deadlines,
            queue: Queue::new(rules.queues),
            liveness: Liveness::new(rules.liveness_of(purpose), now, seed),
            decode_errors: 0,
            is_stalled: false,
            frame_began: None,
            write_began: None,
            ending: None,
            is_finishing: false,
        }
    }

    /// The other side may be silent for so long from now on: a home link, once its lease is known
    pub fn set_patience(&mut self, silence: Duration) {
        if !mutant::is(Mutant::HomeAsHastyAsOthers) {
            self.liveness.set_patience(silence);
        }
    }

    /// Bytes came, whichever: the other side lives
    pub fn on_received(&mut self, now: Instant) {
        self.liveness.on_received(now);
    }

    /// What is to be done with a whole frame that came
    ///
    /// A frame that may not come on an open link ends it: a second hello, or the third that does not decode. So does the
    /// other side's good-bye.
    #[inline]
    pub fn handle_frame<'a>(&mut self, now: Instant, kind: FrameKind, body: &'a [u8], chunks: &Chunks) -> Received<'a> {
        if kind == FrameKind::Packet && self.forwarding {
            return match PacketRef::parse(body) {
                Ok(packet) => Received::Packet(packet),
                Err(error) => self.on_undecodable(error),
            };
        }
        self.handle_other(now, kind, body, chunks)
    }

    /// Apart from packets, which are thousands for each of these: inlined, decoding would crowd their way
    #[cold]
    fn handle_other<'a>(&mut self, now: Instant, kind: FrameKind, body: &[u8], chunks: &Chunks) -> Received<'a> {
        match Frame::decode(kind, body) {
            Ok(frame) => self.handle_decoded(now, frame, chunks),
            Err(error) => self.on_undecodable(error),
        }
    }

    fn handle_decoded<'a>(&mut self, now: Instant, frame: Frame, chunks: &Chunks) -> Received<'a> {
        match frame {
            Frame::Probe(probe) => self.answer(probe, chunks),
            Frame::ProbeReply(reply) => {
                self.liveness.handle_probe_reply(now, reply.sequence);
                if !self.forwarding {
                    // A supernode asks as well, when a neighbour has doubts about a peer.
                    return Received::Frame(Frame::ProbeReply(reply));
                }
            }
            Frame::Bye(_) if mutant::is(Mutant::ByeIgnored) => {}
            Frame::Bye(Bye { status, reason }) => self.close(CloseReason::Bye { status, reason }),
            Frame::Hello(_) if mutant::is(Mutant::HelloAcceptedTwice) => {}
            Frame::Hello(_) => self.close(CloseReason::Unexpected(FrameKind::Hello)),
            frame => return Received::Frame(frame),
        }
        Received::Nothing
    }

    fn answer(&mut self, probe: Probe, chunks: &Chunks) {
        let Probe { sequence } = probe;
        if mutant::is(Mutant::ProbeAnsweredLate) && sequence % 2 == 1 {
            return;
        }
        // A full queue has ended the link, which is an answer too.
        let _ = self.send(&Frame::ProbeReply(ProbeReply { sequence }), chunks);
    }

    #[cold]
    fn on_undecodable<'a>(&mut self, error: WireError) -> Received<'a> {
        // The frame's end was known, so the stream can be read on: a newer build may know what this one does not.
        self.decode_errors += 1;
        if self.decode_errors >= DECODE_ERRORS_MAX && !mutant::is(Mutant::StrikesIgnored) {
            self.close(CloseReason::Protocol(error));
        }
        Received::Undecodable { error, errors: self.decode_errors }
    }

    /// All whole frames that came are dealt with: whether a part of one is left over, and whether frames were taken since
    /// the last time, so that it is another one than then
    pub fn on_rest(&mut self, now: Instant, is_partial: bool, is_fresh: bool) {
        // A frame that trickles in keeps the moment of its first byte, however often a byte of it comes.
        self.frame_began = match (is_partial, self.frame_began) {
            (false, _) => None,
            (true, Some(before)) if !is_fresh => Some(before),
            (true, _) => Some(now),
        };
    }

    /// Queues a frame
    ///
    /// # Errors
    /// [`SendError`]; whoever does not read control is held for gone, so a full control queue ends the link.
    pub fn send(&mut self, frame: &Frame, chunks: &Chunks) -> Result<(), SendError> {
        if self.is_ending() {
            return Err(SendError::Ending);
        }
        let priority = frame.priority();
        self.queue.push(frame, chunks).map_err(|error| match error {
            PushError::Full => {
                if priority == Priority::Control {
                    self.close(CloseReason::Slow(Slow::ControlQueue));
                }
                SendError::Full(priority)
            }
            PushError::Wire(error) => SendError::Wire(error),
        })
    }

    /// Queues a packet with one hop less and `edit` made to it, marked if it meets congestion here
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed but the mark in `edit`.
    #[inline]
    pub fn forward(&mut self, packet: &PacketRef<'_>, edit: &mut Edit, chunks: &Chunks) -> Result<(), SendError> {
        if self.is_ending() {
            return Err(SendError::Ending);
        }
        // Before the packet is queued: the mark travels in its header to the receiver. Nobody acts on it yet: connections
        // from end to end, which will slow down by it, are still to come.
        edit.congested |= self.queue.is_congested();
        self.queue.push_forwarded(packet, edit, chunks).map_err(|error| match error {
            PushError::Full => SendError::Full(packet.header().class.priority()),
            PushError::Wire(error) => SendError::Wire(error),
        })
    }

    /// Whether there is something to write
    pub const fn has_frames(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whole frames to be written next; the write begins now, and [`Link::on_written`] ends it
    pub fn take_batch(&mut self, now: Instant, chunks: &Chunks) -> Option<Vec<u8>> {
        let batch = self.queue.take_batch(chunks)?;
        // Now, and not when it was queued: a frame that waits here cannot be answered by anybody.
        if batch.wants_answer {
            self.liveness.on_sent(now);
        }
        // From here to the last byte that the system takes: whoever takes none for so long is gone.
        self.write_began = Some(now);
        Some(batch.bytes)
    }

    /// The write is done; `waited` if the other side had to make room for it first
    pub fn on_written(&mut self, now: Instant, waited: bool) {
        self.write_began = None;
        if waited {
            // It reads, though it may have nothing to say. Without this a neighbour behind a deep buffer would be held
            // for dead: probes wait behind what is under way.
            self.liveness.on_received(now);
            self.liveness.on_sent(now);
        }
    }

    /// This node takes nothing more from the link for now, or (`false`) does again
    pub const fn set_stalled(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
    }

    /// Time has passed: deadlines, then probes
    pub fn handle_timeout(&mut self, now: Instant, chunks: &Chunks) {
        if held_up(now, self.next_timeout()).is_some() {
            // The rest of a frame, or room for a write, may be there since long: this process did not look.
            self.frame_began = self.frame_began.map(|_| now);
            self.write_began = self.write_began.map(|_| now);
        }
        if let Some(slow) = self.passed_deadline(now) {
            return self.close(CloseReason::Slow(slow));
        }
        // It may have said much that nobody here has read yet, so its silence counts from when it is read again.
        if self.is_stalled {
            self.liveness.on_received(now);
        }
        self.liveness.handle_timeout(now);
        while let Some(output) = self.liveness.poll_output() {
            match output {
                liveness::Output::SendProbe(probe) => {
                    // A full queue has ended the link.
                    let _ = self.send(&Frame::Probe(probe), chunks);
                }
                liveness::Output::Down { unanswered } => self.close(CloseReason::Silent { unanswered }),
            }
        }
    }

    fn passed_deadline(&self, now: Instant) -> Option<Slow> {
        let passed = |began: Option<Instant>, deadline| began.is_some_and(|began| now >= began + deadline);
        // While this node is what the frame waits for, the neighbour is not to blame.
        if passed(self.frame_began, self.deadlines.frame) && !self.is_stalled {
            return Some(Slow::Frame);
        }
        passed(self.write_began, self.deadlines.write).then_some(Slow::Write)
    }

    /// When to call [`Link::handle_timeout`]
    pub fn next_timeout(&self) -> Option<Instant> {
        // A stalled reader's frame has no deadline, or the shell would spin on one that has passed.
        let frame = self.frame_began.filter(|_| !self.is_stalled).map(|began| began + self.deadlines.frame);
        let write = self.write_began.map(|began| began + self.deadlines.write);
        earliest(earliest(frame, write), self.liveness.next_timeout())
    }

    /// Whether [`Link::handle_timeout`] may as well be called [`IDLE_SLACK`] later: nothing is under way, and an idle
    /// link's probe is in no hurry
    pub fn is_in_no_hurry(&self) -> bool {
        self.frame_began.is_none() && self.write_began.is_none() && self.liveness.is_quiet()
    }

    /// Since when the other side has been silent though an answer is owed; `None` until the first was missed
    pub fn silent_since(&self, now: Instant) -> Option<Instant> {
        self.liveness.silent_since(now)
    }

    /// The smoothed round trip, once a probe was answered
    pub fn rtt(&self) -> Option<std::time::Duration> {
        self.liveness.rtt()
    }

    /// Ends the link; the first reason counts
    pub fn close(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
    }

    /// Why it is to end, if it is
    pub const fn ending(&self) -> Option<&CloseReason> {
        self.ending.as_ref()
    }

    /// Whether it is to end: nothing more is queued for it
    pub const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Queues the last words behind what waits, if the other side can be told anything; by when all that has to be
    /// written, or `None`: nothing more is
    pub fn begin_farewell(&mut self, now: Instant) -> Option<Instant> {
        let (status, reason) = self.ending.as_ref()?.farewell()?;
        // Its words are bounded, so it has bytes; if it had none, the link would end without.
        if self.queue.push_last(&Frame::Bye(Bye { status, reason })).is_err() {
            return None;
        }
        self.is_finishing = true;
        Some(now + self.deadlines.bye)
    }

    /// Whether the last words are written, so that the stream can end
    pub const fn is_finished(&self) -> bool {
        self.is_finishing && !self.has_frames()
    }
}
