//! One connection: QUIC's state, where its packets go, and by which way.

use std::collections::VecDeque;
use std::time::Duration;

use kith_common::id::{Address, Key};
use kith_common::mutant::{self, Mutant};
use kith_common::time::{Instant, earliest};
use quinn_proto::{ConnectionEvent, ConnectionHandle, ConnectionStats, FrameStats};

use crate::acked::{Acked, Became};
use crate::clock::Origin;
use crate::output::{Arrival, ConnectionId, Datagram, End, Output};
use crate::way::{Cause, Way};

/// A side of a handshake is no more datagrams, and QUIC sends them again later each time; of what follows one shows QUIC what
/// else is lost
const OWED_MAX: usize = 4;

/// Packets of older ways that come late are known by their labels: of so many ways, as many as are tried in a second
const LABELS_MAX: usize = 8;

/// Who hears something and has sent nothing for so long by which its own way could be judged asks for an acknowledgement …
const UNTRIED_MAX: Duration = Duration::from_millis(250);
/// … and after so long if a supernode has relayed it, as the other end seems to hear nothing
const UNTRIED_MIN: Duration = Duration::from_millis(50);

/// What follows from something that has come
pub(crate) struct Heard {
    /// The first hop that has carried what is acknowledged by it
    pub(crate) thanks_to: Option<Address>,
    pub(crate) wants: Option<Wanted>,
}

/// What a connection wants done
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Another way
    Way(Cause),
    /// What is owed is to be sent again
    Again,
}

pub(crate) struct Connection {
    pub(crate) quic: quinn_proto::Connection,
    pub(crate) handle: ConnectionHandle,
    /// Where the other end is: as the directory says, or its grant, or at first where it has written from
    pub(crate) address: Address,
    /// The other end's, as it was dialled or was proved
    pub(crate) key: Option<Key>,
    /// Whoever uses connections has been told of it
    pub(crate) is_told: bool,
    /// Both ends have proved their keys in a handshake
    pub(crate) is_connected: bool,
    /// Its grant was shown, and the directory does not object
    pub(crate) is_admitted: bool,
    /// Datagrams that may be sent again while it has proved no key
    pub(crate) again_left: u8,
    /// When something new was last acknowledged
    pub(crate) acked_at: Option<Instant>,
    /// It is over; what still comes is answered with its end
    pub(crate) is_ended: bool,
    pub(crate) way: Way,
    pub(crate) acked: Acked,
    /// Until when what was sent is acknowledged, in part at least
    pub(crate) acked_until: Option<Instant>,
    /// The labels of the other end's last ways, the newest last
    pub(crate) their_labels: VecDeque<u32>,
    /// Whether anything has come by a supernode, which has checked that it is the other end's
    pub(crate) is_heard_by_relay: bool,
    pub(crate) begun: Instant,
    /// When something came last
    pub(crate) heard: Instant,
    /// Ways that were left for others
    pub(crate) ways: u64,
    /// The last datagrams that must be acknowledged, each with the moment at which it was sent: they go by the next way if they
    /// are not
    pub(crate) owed: VecDeque<(Instant, Vec<u8>)>,
}

impl Connection {
    /// It is over; what is to be told of that. Who has come and proved no key was never told of.
    pub(crate) fn end(&mut self, id: ConnectionId, end: End) -> Option<Output> {
        self.is_ended = true;
        (self.is_told || !self.is_theirs()).then_some(Output::Ended { connection: id, end })
    }

    /// A datagram goes to the other end by the present way
    pub(crate) fn send(&self, now: Instant, id: ConnectionId, avoid: Vec<Address>, bytes: Vec<u8>) -> Output {
        // Who has proved no key may be somebody else's address: it costs that no more than QUIC allows, and a supernode is asked
        // for no more than the other end has asked it for.
        let is_relayed = match self.is_half_open() {
            true => self.is_heard_by_relay && !mutant::is(Mutant::StrangersNotRelayed),
            false => self.way.is_relayed(now),
        };
        let (to, label) = (self.address, self.way.label());
        Output::Send(Datagram { connection: Some(id), to, label, avoid, is_relayed, bytes })
    }

    /// Something has come for it
    pub(crate) fn handle_event(&mut self, now: Instant, arrival: &Arrival, event: ConnectionEvent) -> Heard {
        let (frames, wanted) = self.frames();
        self.quic.handle_event(event);
        let by_now = self.frames();
        let mut has_moved = false;
        // What has not passed QUIC's checks may be anybody's.
        if by_now.0 > frames {
            self.heard = now;
            has_moved = self.handle_label(arrival.label);
        }
        // The first of two copies comes by the mesh, if it does: that there is one by a supernode says that nothing comes back.
        let is_relayed = arrival.is_relayed && arrival.source == self.address;
        let is_first_relayed = is_relayed && !self.is_heard_by_relay;
        if is_relayed {
            self.is_heard_by_relay = true;
            self.way.handle_relayed(now);
        }
        let is_settled = self.way.is_settled(now, self.quic.rtt());
        let thanks_to = self.handle_news(now);
        // Who only listens owes nothing, and would never learn that what it acknowledges gets lost on its way.
        let is_proven = self.acked_at.is_some_and(|at| now - at < UNTRIED_MAX);
        let is_doubted = is_relayed && !is_proven && !self.way.is_relayed(now);
        let quiet = if is_doubted { UNTRIED_MIN } else { UNTRIED_MAX };
        if (is_doubted || by_now.1 > wanted) && self.way.is_untried(now, quiet) {
            self.quic.ping();
        }
        let wants = match () {
            () if self.way.is_lossy() => Some(Wanted::Way(Cause::Lossy)),
            () if has_moved && is_settled => Some(Wanted::Way(Cause::Followed)),
            // What was said to a stranger before a supernode had vouched for its address has gone by the mesh alone.
            () if is_first_relayed && self.is_half_open() => Some(Wanted::Again),
            () => None,
        };
        Heard { thanks_to, wants }
    }

    /// Something has come by a way with this label; whether the other end has taken another one since it was heard last
    fn handle_label(&mut self, label: u32) -> bool {
        if self.their_labels.contains(&label) {
            return false;
        }
        let is_first = self.their_labels.is_empty();
        if self.their_labels.len() >= LABELS_MAX {
            self.their_labels.pop_front();
        }
        self.their_labels.push_back(label);
        !is_first
    }

    /// What became of what was sent; who has carried it, if somebody is to be thanked
    pub(crate) fn handle_news(&mut self, now: Instant) -> Option<Address> {
        let mut latest = None;
        for (sent, bytes, became) in self.acked.take() {
            match became {
                Became::Lost => self.way.handle_lost(sent, bytes),
                Became::Acknowledged => {
                    self.way.handle_arrived(sent, bytes);
                    if self.acked_until < Some(sent) {
                        (self.acked_until, latest) = (Some(sent), Some(sent));
                    }
                }
            }
        }
        let latest = latest?;
        self.acked_at = Some(now);
        self.owed.retain(|(sent, _)| *sent > latest);
        let thanks_to = self.way.handle_acknowledged(now, latest);
        // Of a handshake the other end's side may get lost, of which it knows no more than this end.
        if !self.is_theirs() && !self.is_connected {
            self.way.handle_awaited(now);
        }
        thanks_to
    }

    /// Something that must be acknowledged has gone out
    pub(crate) fn handle_sent(&mut self, now: Instant, bytes: &[u8]) {
        self.way.handle_sent(now);
        // Every datagram of a stream passes here: the oldest one's memory is taken for it.
        let oldest = if self.owed.len() >= OWED_MAX { self.owed.pop_front() } else { None };
        let mut kept = oldest.map(|(_, bytes)| bytes).unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(bytes);
        self.owed.push_back((now, kept));
    }

    /// When QUIC wants to be looked at, or the way is to be changed
    pub(crate) fn next_timeout(&mut self, origin: Origin) -> Option<Instant> {
        let quic = self.quic.poll_timeout().map(|at| origin.ours(at));
        earliest(quic, self.change_at())
    }

    /// When the way is to be changed, if nothing is acknowledged until then
    pub(crate) fn change_at(&self) -> Option<Instant> {
        if self.is_ended { None } else { self.way.change_at(self.quic.rtt()) }
    }

    /// Whether the other end has dialled
    pub(crate) fn is_theirs(&self) -> bool {
        self.quic.side().is_server()
    }

    /// Who goes first where room must be made: those who have proved no key, then those of whom nobody knows who they are
    pub(crate) fn standing(&self) -> u8 {
        match () {
            () if self.is_half_open() && !self.is_told => 0,
            () if self.is_theirs() && !self.is_admitted => 1,
            () => 2,
        }
    }

    /// Whether it is used before the handshake is done, with a ticket of an earlier one
    pub(crate) fn is_early(&self) -> bool {
        self.quic.has_0rtt() && !self.is_connected
    }

    /// The handshake is done, without the ticket by which something was said before it was
    pub(crate) fn is_early_refused(&self) -> bool {
        self.is_told && !self.is_theirs() && !self.quic.accepted_0rtt()
    }

    /// Whether somebody has come who has proved no key
    pub(crate) fn is_half_open(&self) -> bool {
        self.is_theirs() && !self.is_connected
    }

    /// Frames that have come: of what has passed QUIC's checks, and of these, what somebody wants to hear of
    pub(crate) fn frames(&self) -> (u64, u64) {
        let FrameStats { acks, crypto, ping, datagram, stream, .. } = self.quic.stats().frame_rx;
        (acks + crypto + ping + datagram + stream, datagram + stream)
    }

    /// Frames that were sent and must be acknowledged: all but acknowledgements and the last word
    pub(crate) fn owed(&self) -> u64 {
        let ConnectionStats { frame_tx, .. } = self.quic.stats();
        let FrameStats {
            ack_frequency,
            crypto,
            data_blocked,
            datagram,
            handshake_done,
            immediate_ack,
            max_data,
            max_stream_data,
            max_streams_bidi,
            max_streams_uni,
            new_connection_id,
            new_token,
            path_challenge,
            path_response,
            ping,
            reset_stream,
            retire_connection_id,
            stream_data_blocked,
            streams_blocked_bidi,
            streams_blocked_uni,
            stop_sending,
            stream,
            ..
        } = frame_tx;
        let flow = data_blocked + max_data + max_stream_data + stream_data_blocked;
        let streams = max_streams_bidi + max_streams_uni + streams_blocked_bidi + streams_blocked_uni;
        let ids = new_connection_id + retire_connection_id + new_token;
        let path = path_challenge + path_response + ping + immediate_ack + ack_frequency;
        crypto
            + u64::from(handshake_done)
            + datagram
            + stream
            + reset_stream
            + stop_sending
            + flow
            + streams
            + ids
            + path
    }
}
