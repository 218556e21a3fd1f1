//! What the mesh says of packets that come back, until somebody who knows has said where their receiver is.

use std::time::Duration;

use kith_common::time::Instant;

/// How often what comes back is found to be helped by no supernode: with [`RECHECK_MIN`] 1.5 s, in which the mesh heals around a
/// crash
const UNHELPED_MAX: u8 = 3;
/// One word of the mesh's in so long counts: many packets may come back at once
pub(super) const RECHECK_MIN: Duration = Duration::from_millis(750);

/// Whether something arrives at one receiver
#[derive(Debug, Default)]
pub(super) struct Doubts {
    unhelped: u8,
    /// A supernode that was to relay has said since the last doubt that it has no link to the receiver
    is_relay_in_vain: bool,
    raised: Option<Instant>,
}

impl Doubts {
    /// Something has come back, or `of_relay`: a supernode could not relay it. Whether to ask for the name anew, unless that
    /// `is_asked` already
    pub(super) fn raise(&mut self, now: Instant, of_relay: bool, is_asked: bool) -> bool {
        self.is_relay_in_vain |= of_relay;
        if is_asked || self.raised.is_some_and(|at| now - at < RECHECK_MIN) {
            return false;
        }
        self.raised = Some(now);
        true
    }

    /// The receiver is where it was asked, by all that is known; whether no supernode has helped so often that none will
    pub(super) fn settle(&mut self, can_relay: bool) -> bool {
        let is_helped = can_relay && !std::mem::take(&mut self.is_relay_in_vain);
        self.unhelped += u8::from(!is_helped);
        self.unhelped >= UNHELPED_MAX
    }

    /// Something has arrived, or nobody tries for now: what comes back is counted anew
    pub(super) const fn reset(&mut self) {
        self.unhelped = 0;
    }
}
