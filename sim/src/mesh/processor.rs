//! Processors: what work costs, and who waits for a turn meanwhile.
//!
//! Mostly work is free, and each input is handled at the moment when it comes. Once [`World::limit`] has given machines
//! cores, work takes time, and inputs wait until their process has its turn: those of links and the disk first, then
//! timers, then handshakes, as the product's shells take them. A core gives turns in the order in which its processes
//! asked for them, as the system does: whatever one of them has to do, it waits behind a slice of each of the others. How
//! long it was kept waiting is what a process hears of that.

use std::collections::VecDeque;
use std::time::Duration;

use kith_common::link::turns::{Stage, Turns};
use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;
use kith_common::wire::session::Purpose;
use kith_common::wire::{FRAME_HEADER_BYTES, FrameKind, next_frame};

use super::costs::{HANDSHAKE, KILOBYTE, READ, WAKE};
use super::net::{EndState, Item};
use super::node::NodeId;
use super::queue::Event;
use super::world::World;

/// Processor time that a thread has before others have theirs: the tick of a Linux that looks 250 times a second
const SLICE: Duration = Duration::from_millis(4);

/// How much processor there is, in cores
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// For all peers together
    pub peers: f64,
    pub supernodes: Share,
}

/// What the supernodes have of it
#[derive(Clone, Copy, Debug)]
pub enum Share {
    /// What the peers have, too
    OfPeers,
    /// So much together
    Together(f64),
    /// So much each
    Each(f64),
}

/// A core, or so much of one as some processes have together
#[derive(Debug)]
struct Core {
    speed: f64,
    /// Until then it works on what it was given
    free_at: Instant,
    /// Whose turn it is next
    ready: VecDeque<(NodeId, Thread)>,
    /// Whether the end of its work is planned
    is_planned: bool,
    /// Work that it has done
    spent: Duration,
}

/// A thread of a process: each has its own turns, as the system knows threads alone
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Sockets, links and handshakes
    Links,
    /// The cores above them
    Loop,
}

/// What waits for a thread's turn
#[derive(Debug)]
struct Inputs {
    inputs: VecDeque<Event>,
    timers: VecDeque<Event>,
    /// Since when the thread waits for its turn, if it does
    ready_since: Option<Instant>,
    /// What it was kept waiting in its last turns, and has not heard of
    kept: Duration,
}

impl Inputs {
    const fn new() -> Self {
        Self { inputs: VecDeque::new(), timers: VecDeque::new(), ready_since: None, kept: Duration::ZERO }
    }

    fn push(&mut self, event: Event) {
        if event.is_timer() {
            self.timers.push_back(event);
        } else {
            self.inputs.push_back(event);
        }
    }

    /// The next one: timers are judged once everything that has come is known
    fn pop(&mut self) -> Option<Event> {
        if mutant::is(Mutant::TimersFirst) {
            return self.timers.pop_front().or_else(|| self.inputs.pop_front());
        }
        self.inputs.pop_front().or_else(|| self.timers.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.timers.is_empty()
    }

    fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.ready_since = None;
        self.inputs.drain(..).chain(self.timers.drain(..))
    }

    /// Its turn has come: how long it was kept waiting since the last one
    fn begin(&mut self, now: Instant) -> Duration {
        std::mem::take(&mut self.kept) + self.ready_since.take().map_or(Duration::ZERO, |since| now - since)
    }
}

/// What waits for turns of a process's threads
#[derive(Debug)]
pub struct Waiting {
    links: Inputs,
    tasks: Inputs,
    handshakes: Turns<Event>,
    /// When it is looked whether the process has rested, if that is planned
    rested_at: Option<Instant>,
}

impl Waiting {
    /// Nothing waits
    pub const fn new(is_supernode: bool) -> Self {
        let handshakes = if is_supernode { Turns::of_supernode() } else { Turns::of_peer() };
        Self { links: Inputs::new(), tasks: Inputs::new(), handshakes, rested_at: None }
    }

    const fn of(&mut self, thread: Thread) -> &mut Inputs {
        match thread {
            Thread::Links => &mut self.links,
            Thread::Loop => &mut self.tasks,
        }
    }

    fn push(&mut self, event: Event, thread: Thread, stage: Option<Stage>) {
        match stage.filter(|_| !mutant::is(Mutant::HandshakesAtOnce)) {
            Some(stage) => self.handshakes.wait(stage, event),
            None => self.of(thread).push(event),
        }
    }

    /// The next one of a thread: handshakes are computed once nothing else is to be done
    fn pop(&mut self, thread: Thread, now: Instant) -> Option<Event> {
        let next = self.of(thread).pop();
        let waits_for_nothing = next.is_none() && thread == Thread::Links && !mutant::is(Mutant::TimersFirst);
        next.or_else(|| waits_for_nothing.then(|| self.handshakes.take(now)).flatten())
    }

    /// Whether a thread has something to do now
    fn is_ready(&self, thread: Thread, now: Instant) -> bool {
        match thread {
            Thread::Links => !self.links.is_empty() || self.handshakes.is_ready(now),
            Thread::Loop => !self.tasks.is_empty(),
        }
    }

    /// Takes everything out, as this process is stopped
    fn drain(&mut self) -> VecDeque<Event> {
        // What had got farther came earlier.
        self.tasks.drain().chain(self.links.drain()).chain(self.handshakes.drain()).collect()
    }

    /// A side of a handshake that had arrived is computed
    pub fn handle_begun(&mut self, now: Instant) {
        self.handshakes.handle_begun(now);
    }
}

/// What became of sides of handshakes whose turn came
#[derive(Clone, Copy, Debug, Default)]
pub struct Handshakes {
    /// Those that were computed
    pub all: u64,
    /// … for diallers that had left
    pub in_vain: u64,
    /// Those that were not, as their diallers had left
    pub dropped: u64,
}

/// All cores; none: work is free
#[derive(Debug, Default)]
pub struct Processors {
    cores: Vec<Core>,
    /// By machine, its core
    of: Vec<usize>,
    /// Whose inputs are handled at this moment
    running: Option<NodeId>,
    /// By which of its threads, if it waited for its turn
    thread: Option<Thread>,
    /// Work done in this turn
    spent: Duration,
    handshakes: Handshakes,
}

impl Processors {
    /// Whether work takes time
    pub const fn are_limited(&self) -> bool {
        !self.cores.is_empty()
    }

    /// The process whose turn it is has done this
    pub fn spend(&mut self, work: Duration) {
        if self.running.is_some() {
            self.spent += work;
        }
    }

    /// … which concerned so many bytes
    pub fn spend_on_bytes(&mut self, work: Duration, bytes: usize) {
        self.spend(work + KILOBYTE.mul_f64(bytes as f64 / 1024.0));
    }

    /// A side of a handshake is computed, perhaps for nobody
    pub fn shake_hands(&mut self, in_vain: bool) {
        self.handshakes.all += 1;
        self.handshakes.in_vain += u64::from(in_vain);
        self.spend(HANDSHAKE);
    }

    /// A dialler was found to have left, which costs a look
    pub fn drop_handshake(&mut self) {
        self.handshakes.dropped += 1;
        self.spend(READ);
    }

    pub const fn handshakes(&self) -> Handshakes {
        self.handshakes
    }

    /// Work done so far on the core of this machine
    pub fn spent(&self, node: NodeId) -> Duration {
        self.of.get(node.index()).map_or(Duration::ZERO, |core| self.cores[*core].spent)
    }

    /// Whether the process may handle something now: it has its turn, or nobody else wants one
    fn is_turn_of(&self, node: NodeId, now: Instant) -> bool {
        let Some(core) = self.of.get(node.index()).map(|core| &self.cores[*core]) else { return true };
        match self.running {
            Some(running) => running == node,
            None => core.free_at <= now && core.ready.is_empty(),
        }
    }
}

impl World {
    /// From now on work takes time, on so many cores
    pub fn limit(&mut self, Cores { peers, supernodes }: Cores) {
        let now = self.now();
        let core =
            |speed| Core { speed, free_at: now, ready: VecDeque::new(), is_planned: false, spent: Duration::ZERO };
        let theirs = match supernodes {
            Share::OfPeers => Vec::new(),
            Share::Together(speed) => vec![speed],
            Share::Each(speed) => vec![speed; self.config.supernodes as usize],
        };
        self.processors.cores = std::iter::once(peers).chain(theirs).map(core).collect();
        let of = |node: NodeId| match supernodes {
            Share::Together(_) if self.config.is_supernode(node) => 1,
            Share::Each(_) if self.config.is_supernode(node) => 1 + node.index(),
            _ => 0,
        };
        self.processors.of = (0..self.config.machines()).map(|number| of(NodeId(number))).collect();
    }

    /// Whether this machine's process can handle an input now: it is neither paused nor waiting for its turn
    pub fn is_ready(&self, node: NodeId) -> bool {
        self.node(node).backlog.is_none() && self.processors.is_turn_of(node, self.now())
    }

    /// Begins the turn of a process that is ready, unless it has it
    pub fn begin_turn(&mut self, node: NodeId) {
        if self.processors.are_limited() && self.processors.running.is_none() {
            self.processors.running = Some(node);
            self.processors.spent = WAKE;
            self.signed.take_work();
        }
    }

    /// Lets an input wait until its process has its turn
    pub fn wait_for_turn(&mut self, node: NodeId, event: Event) {
        let (thread, stage) = (event.thread(), self.stage(&event));
        self.node_mut(node).waiting.push(event, thread, stage);
        // Whoever has its turn asks again at its end.
        if self.processors.running != Some(node) {
            self.ask_for_turn(node, thread, self.now());
        }
    }

    /// How far the handshake is that this event is a part of
    fn stage(&self, event: &Event) -> Option<Stage> {
        match event {
            Event::Connected(id) | Event::Answered(id) => {
                let is_home = self.net.conn(*id).is_some_and(|conn| conn.purpose == Purpose::Home);
                Some(if is_home { Stage::Home } else { Stage::Begun })
            }
            Event::Accept(..) => Some(Stage::Arrived),
            _ => None,
        }
    }

    /// Whether the thread of links has to hand this to the loop: what a link does not keep to itself
    fn is_for_loop(&self, event: &Event) -> bool {
        let Event::Arrive(id, side, item) = event else { return false };
        let is_open = self.net.conn(*id).is_some_and(|conn| matches!(conn.end(*side).state, EndState::Open(_)));
        let is_probe = |bytes: &[u8]| {
            next_frame(bytes).is_ok_and(|frame| {
                frame.is_some_and(|(kind, body)| {
                    matches!(kind, FrameKind::Probe | FrameKind::ProbeReply)
                        && bytes.len() == FRAME_HEADER_BYTES + body.len()
                })
            })
        };
        is_open && !matches!(item, Item::Bytes(bytes) if is_probe(bytes))
    }

    /// A thread has its next turn behind the others, from `since` on, if it has something to do and does not rest
    fn ask_for_turn(&mut self, node: NodeId, thread: Thread, since: Instant) {
        let now = self.now();
        let Some(number) = self.processors.of.get(node.index()).copied() else { return };
        let waiting = &mut self.node_mut(node).waiting;
        if waiting.is_ready(thread, now) {
            if waiting.of(thread).ready_since.is_none() {
                waiting.of(thread).ready_since = Some(since);
                self.processors.cores[number].ready.push_back((node, thread));
            }
        } else if let Some(at) = waiting.handshakes.next_timeout(now).filter(|_| waiting.rested_at.is_none()) {
            waiting.rested_at = Some(at);
            self.queue.at(at, Event::Rested(node));
        }
        self.plan_turn(number);
    }

    /// A process may have rested
    pub fn handle_rested(&mut self, node: NodeId) {
        self.node_mut(node).waiting.rested_at = None;
        if self.node(node).backlog.is_none() && self.processors.running != Some(node) {
            self.ask_for_turn(node, Thread::Links, self.now());
        }
    }

    /// A core is free: the next thread has its turn
    pub fn handle_turn(&mut self, number: usize) {
        let now = self.now();
        let core = &mut self.processors.cores[number];
        core.is_planned = false;
        if core.free_at > now {
            return self.plan_turn(number);
        }
        let Some((node, thread)) = core.ready.pop_front() else { return };
        // Who was stopped meanwhile has nothing to do.
        if self.node_mut(node).waiting.of(thread).ready_since.is_none() {
            return self.plan_turn(number);
        }
        let (local, machine) = (self.local(node), self.node_mut(node));
        let kept = machine.waiting.of(thread).begin(now);
        match thread {
            Thread::Links => machine.waiting.handshakes.handle_kept_waiting(now, kept),
            Thread::Loop => {
                if let Some(peer) = machine.peer_mut() {
                    peer.stack.peer_mut().handle_kept_waiting(local, kept);
                }
            }
        }
        self.begin_turn(node);
        self.processors.thread = Some(thread);
        while self.processors.spent < SLICE
            && let Some(event) = self.node_mut(node).waiting.pop(thread, now)
        {
            if thread == Thread::Links && self.is_for_loop(&event) {
                self.processors.spend(READ);
                self.node_mut(node).waiting.tasks.push(event);
            } else {
                self.handle(event);
            }
            self.processors.spent += self.signed.take_work();
        }
    }

    /// Whatever was handled at this moment has cost its time, and others have their turns after it
    pub fn end_turn(&mut self) {
        let Some(node) = self.processors.running.take() else { return };
        let ran = self.processors.thread.take().unwrap_or(Thread::Links);
        let spent = std::mem::take(&mut self.processors.spent) + self.signed.take_work();
        let number = self.processors.of[node.index()];
        let now = self.now();
        let core = &mut self.processors.cores[number];
        let took = spent.div_f64(core.speed);
        core.spent += spent;
        core.free_at = core.free_at.max(now) + took;
        let free_at = core.free_at;
        // Of a core of which it has a part only, the rest of the time is others'.
        let kept = took.saturating_sub(spent);
        self.node_mut(node).waiting.of(ran).kept += kept;
        for thread in [Thread::Links, Thread::Loop] {
            self.ask_for_turn(node, thread, free_at);
        }
    }

    fn plan_turn(&mut self, number: usize) {
        let core = &mut self.processors.cores[number];
        if !core.is_planned && !core.ready.is_empty() {
            core.is_planned = true;
            self.queue.at(core.free_at, Event::Turn(number));
        }
    }

    /// A process is paused: what waits for its turn waits for that now
    pub fn pause(&mut self, node: NodeId) {
        let waiting = self.node_mut(node).waiting.drain();
        self.node_mut(node).backlog = Some(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::config::MeshConfig;
    use crate::mesh::net::ConnId;
    use crate::mesh::node::Node;

    fn world(peers: u32) -> World {
        World::new(MeshConfig { deed_every: Duration::from_secs(86_400), ..MeshConfig::new(1, peers) }, Vec::new())
    }

    #[test]
    fn inputs_have_their_turn_before_timers_and_handshakes_come_last() {
        let mut waiting = Waiting::new(false);
        let (node, life, now) = (NodeId(1), 1, Instant::ZERO);
        let events = [1, 2].map(|id| Event::Accept(node, ConnId(id)));
        for event in events.into_iter().chain([Event::LinkWake { node, life, link: 1 }, Event::Refused(ConnId(3))]) {
            let stage = matches!(event, Event::Accept(..)).then_some(Stage::Arrived);
            waiting.push(event, Thread::Links, stage);
        }
        assert!(waiting.pop(Thread::Loop, now).is_none());
        let mut next = || waiting.pop(Thread::Links, now);
        assert!(matches!(next(), Some(Event::Refused(_))) && matches!(next(), Some(Event::LinkWake { .. })));
        assert!([2, 1].map(ConnId).iter().all(|id| matches!(next(), Some(Event::Accept(_, conn)) if conn == *id)));
        assert!(!waiting.is_ready(Thread::Links, now));
    }

    #[test]
    fn work_takes_as_much_longer_as_the_core_is_slower_and_others_wait_for_it() {
        let mut world = world(2);
        world.limit(Cores { peers: 0.1, supernodes: Share::Together(1.0) });
        let [one, other, supernode] = [NodeId(1), NodeId(2), NodeId(0)];
        world.begin_turn(one);
        world.processors.spend(Duration::from_millis(1));
        assert!(world.is_ready(one) && !world.is_ready(other));
        world.end_turn();
        assert!(!world.is_ready(one) && !world.is_ready(other) && world.is_ready(supernode));
        world.wait_for_turn(other, Event::User(other));
        let before = world.now() + ((WAKE + Duration::from_millis(1)) * 10 - Duration::from_micros(1));
        world.run_until(before);
        assert!(world.node(other).waiting.is_ready(Thread::Loop, before));
        world.run_until(before + Duration::from_micros(1));
        assert!(!world.node(other).waiting.is_ready(Thread::Loop, before));
    }

    #[test]
    fn mesh_forms_on_a_slow_core_and_without_limits_nothing_is_spent() {
        let mut world = world(6);
        world.limit(Cores { peers: 0.05, supernodes: Share::OfPeers });
        world.run_until(Instant::ZERO + Duration::from_secs(20));
        assert_eq!(world.supernodes().next().and_then(Node::supernode).map(|node| node.core.homes()), Some(6));
        assert!(world.processors.spent(NodeId(1)) > HANDSHAKE * 12);
    }
}
