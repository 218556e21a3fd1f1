//! Calls: users make them and repeat them, and peers evaluate them.

use std::time::Duration;

use kith_common::id::{Address, MessageId, Name};
use kith_common::status::Status;
use kith_common::wire::content::Call;
use kith_common::wire::grant::Grant;
use kith_transport::stack::CALL_TIMEOUT;

use super::node::NodeId;
use super::queue::Event;
use super::users::{self, Deed};
use super::watch::Observation;
use super::world::World;

/// Share of calls that their users repeat, whatever has become of them: they hang up before the end, or were not told it
const REPEATED: f64 = 0.5;
/// When they do so, on average
const REPEATED_AFTER: Duration = Duration::from_secs(2);

/// Share of evaluations that take a while: others are done at once, as the product's are
const SLOW: f64 = 0.4;
/// How long that is on average …
const SLOW_FOR: Duration = Duration::from_secs(2);
/// … and at most, so that within a call's time there is room for a way that has to be found
const SLOW_FOR_MAX: Duration = Duration::from_secs(4);

impl World {
    /// A user calls a function, or, if it has an id, repeats a call; that one is not waited for any more
    pub(super) fn call(&mut self, node: NodeId, id: Option<MessageId>, to: Name, call: Call) {
        let local = self.local(node);
        let Some(peer) = self.node_mut(node).peer_mut() else { return };
        if peer.stack.peer().own().is_none() {
            return;
        }
        id.iter().for_each(|id| peer.stack.cancel(local, id));
        let Ok(id) = peer.stack.call(local, id, to.clone(), &call, local + CALL_TIMEOUT) else { return };
        let source = self.node(node).place().unwrap_or(Address(0));
        self.watch.see(self.queue.now(), node, &Observation::Calling { id, to: &to, call: &call, source });
        if self.is_fault_phase && self.call_chance.happens(REPEATED) {
            let wait = self.call_chance.wait(REPEATED_AFTER);
            self.queue.after(wait, Event::Deed(node, Box::new(Deed::Repeat { id, to, call })));
        }
    }

    /// A peer is to evaluate a function, now or by and by
    pub(super) fn evaluate(&mut self, node: NodeId, ticket: u64, id: MessageId, from: Option<&Grant>, call: &Call) {
        self.watch.see(self.queue.now(), node, &Observation::Evaluating { id, from, call });
        let result = users::echo(call);
        // Among liars it is measured how long ways are sought.
        let may_be_slow = self.is_fault_phase && self.config.liars == 0;
        if may_be_slow && self.call_chance.happens(SLOW) {
            let (life, wait) = (self.node(node).life, self.call_chance.wait(SLOW_FOR).min(SLOW_FOR_MAX));
            self.queue.after(wait, Event::Evaluated { node, life, ticket, result });
        } else {
            self.on_evaluated(node, ticket, result);
        }
    }

    /// A function that took a while is done
    pub(super) fn handle_evaluated(&mut self, node: NodeId, life: u32, ticket: u64, result: Vec<u8>) {
        if self.node(node).life != life || self.node(node).process.is_none() {
            return;
        }
        if self.takes(node, &Event::Evaluated { node, life, ticket, result: result.clone() }) {
            self.on_evaluated(node, ticket, result);
            self.settle(node);
        }
    }

    fn on_evaluated(&mut self, node: NodeId, ticket: u64, result: Vec<u8>) {
        let local = self.local(node);
        if let Some(peer) = self.node_mut(node).peer_mut() {
            peer.stack.handle_evaluated(local, ticket, Status::Delivered, result);
        }
    }
}
