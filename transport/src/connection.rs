//! One connection: QUIC's state, where its packets go, and by which way.

use kith_common::id::{Address, Key};
use kith_common::time::{Instant, earliest};
use quinn_proto::{ConnectionHandle, ConnectionStats, FrameStats};

use crate::acked::Acked;
use crate::clock::Origin;
use crate::output::{ConnectionId, Datagram, End, Output};
use crate::way::Way;

pub(crate) struct Connection {
    pub(crate) quic: quinn_proto::Connection,
    pub(crate) handle: ConnectionHandle,
    /// Where the other end is: as the directory says, or its grant, or at first where it has written from
    pub(crate) address: Address,
    /// The other end's, as it was dialled or was proved
    pub(crate) key: Option<Key>,
    pub(crate) is_connected: bool,
    /// It is over; what still comes is answered with its end
    pub(crate) is_ended: bool,
    pub(crate) way: Way,
    pub(crate) acked: Acked,
    /// When something came last
    pub(crate) heard: Instant,
    /// The last datagram that must be acknowledged: it goes by the next way if it is not
    pub(crate) last: Vec<u8>,
}

impl Connection {
    /// It is over; what is to be told of that. Who has come and proved no key was never told of.
    pub(crate) fn end(&mut self, id: ConnectionId, end: End) -> Option<Output> {
        self.is_ended = true;
        (self.is_connected || !self.is_theirs()).then_some(Output::Ended { connection: id, end })
    }

    /// A datagram goes to the other end by the present way
    pub(crate) fn send(&self, now: Instant, id: ConnectionId, avoid: Vec<Address>, bytes: Vec<u8>) -> Output {
        // Who has proved no key may be somebody else's address: it costs that no more than QUIC allows.
        let is_relayed = self.way.is_relayed(now) && !self.is_half_open();
        let (to, label) = (self.address, self.way.label());
        Output::Send(Datagram { connection: Some(id), to, label, avoid, is_relayed, bytes })
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
