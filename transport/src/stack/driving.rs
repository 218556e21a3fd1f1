//! What the parts of a stack want of each other, and what goes out.

use kith_common::crypto::Signer;
use kith_common::peer::PeerOutput;
use kith_common::time::Instant;
use rand_chacha::rand_core::Rng;

use super::{Stack, StackOutput};
use crate::output::Datagram;
use crate::transport::Transport;

impl<S: Signer + Clone + Send + Sync + 'static> Stack<S> {
    /// The next thing to do; drain until `None` after every input, or after a few that came together
    pub fn poll_output(&mut self, now: Instant) -> Option<StackOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(output) = self.peer.poll_output(now) {
                self.watch(now, &output);
                self.outputs.push_back(StackOutput::Peer(output));
            } else if !self.flush(now) {
                return None;
            }
        }
    }

    /// Sends what was written on connections; whether anything may have come of it
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        let has_flushed = self.transport.as_mut().is_some_and(|transport| transport.flush(now));
        self.settle(now);
        has_flushed
    }

    /// Hands on what each part wants until none wants anything more
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(wish) = self.calls.poll().or_else(|| self.messages.poll()).or_else(|| self.pings.poll()) {
                self.on_wish(now, wish);
            } else if let Some(effect) = self.transport.as_mut().and_then(Transport::poll_effect) {
                self.on_effect(now, effect);
            } else {
                return;
            }
        }
    }

    /// Puts a datagram into a packet, and a copy into another that the supernode relays
    pub(super) fn transmit(&mut self, datagram: &Datagram) {
        // Without a session there is nobody whom it could come from.
        let Some(source) = self.peer.own().map(|own| own.address) else { return };
        // A packet's id says which one it is wherever it is met, and the copy takes another way.
        let mut packet = || datagram.packet(source, self.rng.next_u32()).ok();
        let relayed = datagram.is_relayed.then(&mut packet).flatten();
        if let Some(packet) = packet() {
            let avoid = datagram.avoid.clone();
            self.outputs.push_back(StackOutput::Peer(PeerOutput::Transmit { packet, avoid }));
        }
        if let Some(relayed) = relayed {
            self.peer.relay(relayed);
        }
    }
}
