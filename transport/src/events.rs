//! What of QUIC's events is told.

use std::collections::VecDeque;

use kith_common::time::Instant;
use quinn_proto::{ConnectionError, Event, StreamEvent, TransportErrorCode};

use crate::connection::Connection;
use crate::identity::proved_key;
use crate::output::{ConnectionId, End, Output, StreamId};

/// What of QUIC's events is told; the connection's end, if that is one
pub(crate) fn tell(
    now: Instant,
    id: ConnectionId,
    connection: &mut Connection,
    event: Event,
    outputs: &mut VecDeque<Output>,
) -> Option<End> {
    let told = match event {
        Event::DatagramsUnblocked => return None,
        // The ticket that the other end has shown says whose it is.
        Event::HandshakeDataReady => {
            let is_early = connection.is_theirs() && connection.is_early();
            let key = proved_key(connection.quic.crypto_session().peer_identity()).filter(|_| is_early)?;
            (connection.is_told, connection.key) = (true, Some(key));
            Output::Connected { connection: id, key, is_theirs: true, is_early }
        }
        Event::Connected => {
            let key = proved_key(connection.quic.crypto_session().peer_identity());
            let Some(key) = key else { return Some(End::AnotherKey) };
            (connection.is_connected, connection.key) = (true, Some(key));
            let is_told = std::mem::replace(&mut connection.is_told, true);
            // It has answered by the supernode so far, as no way of the mesh is known to lead there.
            if connection.is_heard_by_relay {
                connection.way.relay(now);
            }
            match is_told {
                true => Output::Confirmed { connection: id },
                false => Output::Connected { connection: id, key, is_theirs: connection.is_theirs(), is_early: false },
            }
        }
        Event::ConnectionLost { reason } => return Some(end_of(&reason)),
        Event::DatagramReceived => Output::Heard { connection: id },
        Event::Stream(StreamEvent::Opened { dir }) => {
            while let Some(stream) = connection.quic.streams().accept(dir) {
                let (stream, direction) = (StreamId(stream), dir.into());
                outputs.push_back(Output::Opened { connection: id, stream, direction });
                outputs.push_back(Output::Readable { connection: id, stream });
            }
            return None;
        }
        Event::Stream(StreamEvent::Readable { id: stream }) => {
            Output::Readable { connection: id, stream: StreamId(stream) }
        }
        Event::Stream(StreamEvent::Writable { id: stream }) => {
            Output::Writable { connection: id, stream: StreamId(stream) }
        }
        Event::Stream(StreamEvent::Finished { id: stream }) => {
            Output::Finished { connection: id, stream: StreamId(stream) }
        }
        Event::Stream(StreamEvent::Stopped { id: stream, error_code }) => {
            Output::Stopped { connection: id, stream: StreamId(stream), code: error_code.into_inner() }
        }
        Event::Stream(StreamEvent::Available { dir }) => Output::Room { connection: id, direction: dir.into() },
    };
    outputs.push_back(told);
    None
}

/// What TLS says of a certificate that this end's own rules refuse (RFC 8446, 6.2)
const CERTIFICATE_UNKNOWN: u8 = 46;

fn end_of(reason: &ConnectionError) -> End {
    match reason {
        ConnectionError::TimedOut => End::Silent,
        ConnectionError::Reset => End::Forgotten,
        ConnectionError::ApplicationClosed(close) => End::Closed { code: close.error_code.into_inner() },
        ConnectionError::TransportError(error) if error.code == TransportErrorCode::crypto(CERTIFICATE_UNKNOWN) => {
            End::AnotherKey
        }
        other => End::Broken(other.to_string()),
    }
}
