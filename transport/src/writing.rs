//! Bytes that go out on a stream as there is room for them.

use kith_common::time::Instant;

use crate::Endpoint;
use crate::output::{ConnectionId, StreamId};
use crate::streams::StreamError;

/// A stream of a connection
pub(crate) type Place = (ConnectionId, StreamId);

/// What is left to be written on a stream, with its end if it has one
#[derive(Debug)]
pub(crate) struct Writing {
    bytes: Vec<u8>,
    written: usize,
    has_end: bool,
    is_finished: bool,
}

impl Writing {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0, has_end: true, is_finished: false }
    }

    /// More follows, by somebody else
    pub(crate) const fn without_end(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0, has_end: false, is_finished: false }
    }

    /// Writes on, after a start and whenever there is room again; whether all is written, and its end
    ///
    /// # Errors
    /// [`StreamError`]: nobody reads it any more.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        (connection, stream): Place,
    ) -> Result<bool, StreamError> {
        if self.is_finished {
            return Ok(true);
        }
        // Until there is no room: only then QUIC says when there is some again.
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match endpoint.write(now, connection, stream, rest)? {
                0 => return Ok(false),
                written => self.written += written,
            }
        }
        if self.has_end {
            endpoint.finish(now, connection, stream)?;
        }
        (self.bytes, self.is_finished) = (Vec::new(), true);
        Ok(true)
    }
}
