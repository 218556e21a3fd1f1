//! What is going to happen, in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use kith_common::time::Instant;

use super::agreement::LogStep;
use super::disk::DiskDone;
use super::faults::Fault;
use super::net::{ConnId, Item, Side};
use super::node::NodeId;
use super::processor::Thread;
use super::users::Deed;

/// Something that happens at a moment
#[derive(Clone, Debug)]
pub enum Event {
    /// A process's cores have something to do
    Wake {
        node: NodeId,
        /// Of which start of the process
        life: u32,
    },
    /// A link's liveness has something to do
    LinkWake {
        node: NodeId,
        /// Of which start of the process
        life: u32,
        link: u64,
    },
    /// A dial's SYN leaves, for the n-th time
    Syn(ConnId, u32),
    /// The connection stands at the dialler's
    Connected(ConnId),
    /// The listener is to do its side of the handshake
    Accept(NodeId, ConnId),
    /// The dialler is to do its side, as the listener has answered
    Answered(ConnId),
    /// Nobody listens at the other end
    Refused(ConnId),
    /// A dial has taken its time
    DialTimeout(ConnId),
    /// A hello has taken its time
    HelloTimeout(ConnId, Side),
    /// A stream that was stuck takes bytes again from this end
    Written(ConnId, Side),
    /// Bytes, or the end of a stream, reach one end
    Arrive(ConnId, Side, Item),
    /// A stream has broken under one end
    Broken {
        node: NodeId,
        /// Of which start of the process
        life: u32,
        link: u64,
    },
    /// A disk is done
    Disk {
        node: NodeId,
        /// Of which start of the process
        life: u32,
        done: DiskDone,
    },
    Fault(Box<Fault>),
    /// Something that was broken is whole again
    Heal(u64),
    /// A user does something
    User(NodeId),
    /// … in particular this
    Deed(NodeId, Box<Deed>),
    /// The operator gives a name free
    Release(NodeId),
    /// A function that took a while is done
    Evaluated {
        node: NodeId,
        /// Of which start of the process
        life: u32,
        ticket: u64,
        result: Vec<u8>,
    },
    /// Something of the log happens between supernodes
    Log(Box<LogStep>),
    /// A core, by its number, has done what it was given
    Turn(usize),
    /// A process may have rested from handshakes
    Rested(NodeId),
    /// Time for the oracles to look at everything
    Step,
}

impl Event {
    /// Whether it comes of time that has passed, and nothing else
    pub const fn is_timer(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::LinkWake { .. } | Self::DialTimeout(_) | Self::HelloTimeout(..))
    }

    /// Which thread of a process handles it first
    pub const fn thread(&self) -> Thread {
        match self {
            Self::Wake { .. }
            | Self::Disk { .. }
            | Self::User(_)
            | Self::Deed(..)
            | Self::Release(_)
            | Self::Evaluated { .. }
            | Self::Log(_) => Thread::Loop,
            _ => Thread::Links,
        }
    }

    const fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(_) | Self::Heal(_))
    }
}

/// When an event happens, and where it is kept: moved about in the heap, so small
struct Entry {
    at: Instant,
    number: u64,
    place: usize,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the largest first: the earliest, and of equals the one that was planned first
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The future, and the present moment
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Entry>,
    events: Vec<Option<Event>>,
    /// Places of events that have happened
    free: Vec<usize>,
    planned: u64,
    /// Of those that wait, what breaks or is whole again: planned for the whole run before it begins
    faults: usize,
    now: Instant,
    longest: usize,
}

impl Queue {
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How many events have been planned so far
    pub const fn planned(&self) -> u64 {
        self.planned
    }

    /// How many events waited at once, at most, planned faults left out
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// Plans `event` for `at`, or for now if that is over
    pub fn at(&mut self, at: Instant, event: Event) {
        self.planned += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.faults += usize::from(event.is_fault());
        self.events[place] = Some(event);
        self.heap.push(Entry { at: at.max(self.now), number: self.planned, place });
        self.longest = self.longest.max(self.heap.len() - self.faults);
    }

    /// Plans `event` for `wait` from now
    pub fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The next event not later than `end`; the present moves on to it, or to `end` if there is none
    pub fn next(&mut self, end: Instant) -> Option<Event> {
        if self.heap.peek().is_none_or(|entry| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = entry.at;
        self.free.push(entry.place);
        let event = self.events[entry.place].take()?;
        self.faults -= usize::from(event.is_fault());
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_events_come_first_and_equals_in_their_order() {
        let mut queue = Queue::default();
        let at = Instant::from_micros;
        for (micros, node) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.at(at(micros), Event::User(NodeId(node)));
        }
        let mut order = Vec::new();
        while let Some(Event::User(node)) = queue.next(at(4)) {
            order.push((queue.now().as_micros(), node.0));
        }
        assert_eq!(order, [(3, 1), (3, 3)]);
        assert_eq!(queue.now(), at(4), "the present moves on to the end of what was asked for");
        queue.at(at(1), Event::User(NodeId(4)));
        assert!(matches!(queue.next(at(9)), Some(Event::User(NodeId(4)))), "what is overdue happens at once");
        assert_eq!(queue.now(), at(4));
    }
}
