//! Processors: what work costs, and who waits for a turn meanwhile.
//!
//! Mostly work is free, and each input is handled at the moment when it comes. Once [`World::limit`] has given machines
//! cores, work takes time, and inputs wait until their process has its turn: those of links and the disk first, then
//! timers, then handshakes, as the product's shells take them. A core gives turns in the order in which its processes asked for them.

use std::collections::VecDeque;
use std::time::Duration;

use kith_common::link::turns::Turns;
use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;

use super::costs::{HANDSHAKE, KILOBYTE, READ, WAKE};
use super::node::NodeId;
use super::queue::Event;
use super::world::World;

/// Processor time that a process has before others have theirs: Linux's slice with many that want to run
const SLICE: Duration = Duration::from_millis(3);

/// How much processor there is, in cores
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// For all peers together
    pub peers: f64,
    /// For the supernodes together; `None`: they share with the peers
    pub supernodes: Option<f64>,
}

/// A core, or so much of one as some processes have together
#[derive(Debug)]
struct Core {
    speed: f64,
    /// Until then it works on what it was given
    free_at: Instant,
    /// Whose turn it is next
    ready: VecDeque<NodeId>,
    /// Whether the end of its work is planned
    is_planned: bool,
    /// Work that it has done
    spent: Duration,
}

/// What waits for a process's turn
#[derive(Debug, Default)]
pub struct Waiting {
    inputs: VecDeque<Event>,
    timers: VecDeque<Event>,
    handshakes: Turns<Event>,
}

impl Waiting {
    fn push(&mut self, event: Event) {
        if event.is_handshake() && !mutant::is(Mutant::HandshakesAtOnce) {
            self.handshakes.wait(event);
        } else if event.is_timer() {
            self.timers.push_back(event);
        } else {
            self.inputs.push_back(event);
        }
    }

    /// The next one: timers are judged once everything that has come is known, and handshakes are computed once nothing
    /// else is to be done
    fn pop(&mut self) -> Option<Event> {
        if mutant::is(Mutant::TimersFirst) {
            return self.timers.pop_front().or_else(|| self.inputs.pop_front());
        }
        self.inputs.pop_front().or_else(|| self.timers.pop_front()).or_else(|| self.handshakes.take())
    }

    fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.timers.is_empty() && self.handshakes.is_empty()
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
        self.processors.cores = std::iter::once(peers).chain(supernodes).map(core).collect();
        let of = |node: NodeId| usize::from(supernodes.is_some() && self.config.is_supernode(node));
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
        let waiting = &mut self.node_mut(node).waiting;
        let is_first = waiting.is_empty();
        waiting.push(event);
        let Some(number) = self.processors.of.get(node.index()).copied() else { return };
        // Whoever has its turn asks again at its end.
        if is_first && self.processors.running != Some(node) {
            self.processors.cores[number].ready.push_back(node);
        }
        self.plan_turn(number);
    }

    /// A core is free: the next process has its turn
    pub fn handle_turn(&mut self, number: usize) {
        let now = self.now();
        let core = &mut self.processors.cores[number];
        core.is_planned = false;
        if core.free_at > now {
            return self.plan_turn(number);
        }
        let Some(node) = core.ready.pop_front() else { return };
        self.begin_turn(node);
        while self.processors.spent < SLICE
            && let Some(event) = self.node_mut(node).waiting.pop()
        {
            self.handle(event);
            self.processors.spent += self.signed.take_work();
        }
    }

    /// Whatever was handled at this moment has cost its time, and others have their turns after it
    pub fn end_turn(&mut self) {
        let Some(node) = self.processors.running.take() else { return };
        let spent = std::mem::take(&mut self.processors.spent) + self.signed.take_work();
        let number = self.processors.of[node.index()];
        let is_waiting = !self.node(node).waiting.is_empty();
        let now = self.now();
        let core = &mut self.processors.cores[number];
        core.spent += spent;
        core.free_at = core.free_at.max(now) + spent.div_f64(core.speed);
        if is_waiting && !core.ready.contains(&node) {
            core.ready.push_back(node);
        }
        self.plan_turn(number);
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
        let Waiting { inputs, timers, mut handshakes } = std::mem::take(&mut self.node_mut(node).waiting);
        self.node_mut(node).backlog = Some(inputs.into_iter().chain(timers).chain(handshakes.drain()).collect());
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
        let mut waiting = Waiting::default();
        let (node, life) = (NodeId(1), 1);
        waiting.push(Event::Accept(node, ConnId(1)));
        waiting.push(Event::Accept(node, ConnId(2)));
        waiting.push(Event::Wake { node, life });
        waiting.push(Event::User(node));
        assert!(matches!(waiting.pop(), Some(Event::User(_))) && matches!(waiting.pop(), Some(Event::Wake { .. })));
        assert!(
            [2, 1].map(ConnId).iter().all(|id| matches!(waiting.pop(), Some(Event::Accept(_, conn)) if conn == *id))
        );
        assert!(waiting.is_empty());
    }

    #[test]
    fn work_takes_as_much_longer_as_the_core_is_slower_and_others_wait_for_it() {
        let mut world = world(2);
        world.limit(Cores { peers: 0.1, supernodes: Some(1.0) });
        let [one, other, supernode] = [NodeId(1), NodeId(2), NodeId(0)];
        world.begin_turn(one);
        world.processors.spend(Duration::from_millis(1));
        assert!(world.is_ready(one) && !world.is_ready(other));
        world.end_turn();
        assert!(!world.is_ready(one) && !world.is_ready(other) && world.is_ready(supernode));
        world.wait_for_turn(other, Event::User(other));
        let before = world.now() + ((WAKE + Duration::from_millis(1)) * 10 - Duration::from_micros(1));
        world.run_until(before);
        assert!(!world.node(other).waiting.is_empty());
        world.run_until(before + Duration::from_micros(1));
        assert!(world.node(other).waiting.is_empty());
    }

    #[test]
    fn mesh_forms_on_a_slow_core_and_without_limits_nothing_is_spent() {
        let mut world = world(6);
        world.limit(Cores { peers: 0.05, supernodes: None });
        world.run_until(Instant::ZERO + Duration::from_secs(20));
        assert_eq!(world.supernodes().next().and_then(Node::supernode).map(|node| node.core.homes()), Some(6));
        assert!(world.processors.spent(NodeId(1)) > HANDSHAKE * 12);
    }
}
