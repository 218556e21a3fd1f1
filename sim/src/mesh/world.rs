//! The world: machines, the network between them, and what happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kith_common::directory::Directory;
use kith_common::id::{Key, Name};
use kith_common::link::chunks::Chunks;
use kith_common::link::permits::Permits;
use kith_common::time::Instant;
use kith_transport::{CryptoProvider, seeded};

use super::agreement::Agreement;
use super::clock::Clock;
use super::config::MeshConfig;
use super::disk::PeerDisk;
use super::faults::Effect;
use super::hellos::OddHello;
use super::log::IdealLog;
use super::net::Network;
use super::node::{Disk, Node, NodeId, Signed};
use super::oracle::Oracle;
use super::processes::replica;
use super::processor::{Processors, Waiting};
use super::queue::{Event, Queue};
use super::slow_log::SlowLog;
use super::users;
use super::watch::Watch;
use crate::chance::{Chance, Draws};

/// How long a write takes on a healthy disk, on average
pub const WRITE: Duration = Duration::from_millis(3);

/// Events of one machine at one moment: more, and a timer does not move on
const INSTANT_EVENTS_MAX: usize = 10_000;

/// Everything that there is
pub struct World {
    /// What was asked for
    pub config: MeshConfig,
    /// Machines, supernodes first
    pub nodes: Vec<Node>,
    /// What supernodes agree on
    pub log: IdealLog,
    /// How they do, if they are several
    pub agreement: Agreement,
    /// How slow a lone supernode's log is, if it is slower than a healthy disk
    pub slow_log: Option<SlowLog>,
    /// What connects them
    pub net: Network,
    /// What happens next
    pub queue: Queue,
    /// What work costs, if anything
    pub processors: Processors,
    /// Spare buffers of all links
    pub chunks: Chunks,
    /// Who looks at it
    pub watch: Watch,
    /// What was signed in it
    pub signed: Signed,
    /// What all peers' connections agree on keys and seal packets with
    pub provider: Arc<CryptoProvider>,
    /// By key, whose machine it is
    pub owners: BTreeMap<Key, NodeId>,
    /// Names that the operator was asked to release, each with the number of its machine's disk, and whether the
    /// supernode has said that it is done
    pub releasing: BTreeMap<Name, (u32, bool)>,
    /// Machines whose keys the operator has barred, or asked to bar
    pub removing: BTreeSet<NodeId>,
    /// What users have sent so far
    pub sends: u64,
    /// Pipes that users have asked for
    pub pipes_opened: u64,
    /// Packets that liars have dropped
    pub lies: u64,
    /// How long calls took that were answered, but for those of liars, and at them
    pub call_waits: Vec<Duration>,
    /// Whether faults may happen
    pub is_fault_phase: bool,
    /// What is wrong with the hellos that are said next, and until when
    pub odd_hellos: VecDeque<(Instant, OddHello)>,
    /// Since when all that users want must be so: faults are over, and everybody has had their time to come back
    pub settled: Option<Instant>,
    /// Draws of processes: seeds, nonces
    pub chance: Chance,
    /// Draws of users
    pub user_chance: Chance,
    /// Draws of how long functions take, and of which calls are repeated
    pub call_chance: Chance,
}

impl World {
    /// Nothing runs yet; everything will start at once, and these oracles watch it
    pub fn new(config: MeshConfig, oracles: Vec<Box<dyn Oracle>>) -> Self {
        let seed = config.seed;
        let machines = config.machines();
        let signed = Signed::default();
        // What TLS draws is drawn by thread, and one thread runs a world from its beginning to its end.
        seeded::seed(seed);
        let now = Instant::ZERO;
        let mut clocks = Chance::new(seed, Draws::Clocks);
        let nodes = (0..machines).map(|number| new_node(&config, number, now, &signed, &mut clocks)).collect();
        let mut world = Self {
            nodes,
            log: IdealLog::new(config.supernodes as usize),
            agreement: Agreement::new(config.supernodes),
            slow_log: None,
            net: Network::new(machines as usize, Chance::new(seed, Draws::Network)),
            queue: Queue::default(),
            processors: Processors::default(),
            chunks: Chunks::default(),
            watch: Watch::new(&config, oracles),
            signed,
            provider: Arc::new(seeded::provider()),
            owners: BTreeMap::new(),
            releasing: BTreeMap::new(),
            removing: BTreeSet::new(),
            sends: 0,
            pipes_opened: 0,
            lies: 0,
            call_waits: Vec::new(),
            odd_hellos: VecDeque::new(),
            is_fault_phase: false,
            settled: None,
            chance: Chance::new(seed, Draws::Processes),
            user_chance: Chance::new(seed, Draws::Users),
            call_chance: Chance::new(seed, Draws::Calls),
            config,
        };
        for number in 0..machines {
            world.start(NodeId(number));
        }
        world.queue.after(world.config.step(), Event::Step);
        world.begin_agreement();
        world
    }

    /// The present moment
    pub const fn now(&self) -> Instant {
        self.queue.now()
    }

    /// Whether the disk of some supernode's log takes nothing, or nobody leads: what is proposed may be lost
    pub fn is_log_full(&self) -> bool {
        (self.must_agree() && self.leading().is_none())
            || self.config.supernodes().any(|supernode| self.log.is_full(replica(supernode)))
    }

    /// Whether a supernode will be told of commands that it may have been told were lost
    pub fn is_log_ahead_of(&self, supernode: NodeId) -> bool {
        self.log.is_ahead_of(replica(supernode))
    }

    /// Whether a machine's disk takes longer than it should, or a supernode's takes nothing, or it does not hear the log
    pub fn is_disk_slow(&self, id: NodeId) -> bool {
        let is_full = |id| self.log.is_full(replica(id)) || !self.hears_log(id);
        self.node(id).write > WRITE || (self.config.is_supernode(id) && is_full(id))
    }

    /// One machine
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// One machine
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// What a machine's clock says
    pub fn local(&self, id: NodeId) -> Instant {
        self.node(id).clock.local(self.now())
    }

    /// Machines of supernodes
    pub fn supernodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().take(self.config.supernodes as usize)
    }

    /// What is agreed on, while somebody leads; of a single supernode the directory, while it runs
    pub fn directory(&self) -> Option<&Directory> {
        if self.must_agree() {
            return self.log.agreed().filter(|_| self.leading().is_some());
        }
        self.node(self.config.leader()).supernode().map(|supernode| supernode.core.directory())
    }

    /// Machines of peers
    pub fn peers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().skip(self.config.supernodes as usize)
    }

    /// Lets everything happen until `end`, or until an oracle is wronged
    pub fn run_until(&mut self, end: Instant) {
        let (mut since, mut count) = (self.now(), 0_usize);
        while !self.watch.is_over() {
            let Some(event) = self.queue.next(end) else { break };
            if self.now() > since {
                (since, count) = (self.now(), 0);
            }
            count += 1;
            if count > INSTANT_EVENTS_MAX * self.nodes.len() {
                return self.watch.fail(since, "bounds", format!("time stands still at {event:?}"));
            }
            self.handle(event);
            self.end_turn();
        }
    }

    /// Lets one event happen
    pub fn handle(&mut self, event: Event) {
        self.watch.note(self.queue.now(), &event);
        match event {
            Event::Wake { node, life } => self.wake(node, life),
            Event::LinkWake { node, life, link } => self.wake_link(node, life, link),
            Event::Syn(conn, tries) => self.handle_syn(conn, tries),
            Event::Connected(conn) => self.handle_connected(conn),
            Event::Accept(listener, conn) => self.handle_accept(listener, conn),
            Event::Answered(conn) => self.handle_answered(conn),
            Event::Refused(conn) => self.handle_refused(conn),
            Event::DialTimeout(conn) => self.handle_dial_timeout(conn),
            Event::HelloTimeout(conn, side) => self.handle_hello_timeout(conn, side),
            Event::Written(conn, side) => self.handle_written(conn, side),
            Event::Arrive(conn, side, item) => self.handle_arrival(conn, side, item),
            Event::Broken { node, life, link } => self.handle_broken(node, life, link),
            Event::Disk { node, life, done } => self.handle_disk(node, life, done),
            Event::Fault(fault) => self.handle_fault(*fault),
            Event::Heal(number) => self.heal(number),
            Event::User(node) => self.handle_user(node),
            Event::Deed(node, deed) => self.handle_deed(node, *deed),
            Event::Release(node) => self.release(node),
            Event::Evaluated { node, life, ticket, result } => self.handle_evaluated(node, life, ticket, result),
            Event::Log(step) => self.handle_log_step(*step),
            Event::Turn(core) => self.handle_turn(core),
            Event::Rested(node) => self.handle_rested(node),
            Event::Step => self.handle_step(),
        }
    }

    /// Whether the process can take `event` now; else the event waits until it goes on, or has its turn
    pub fn takes(&mut self, node: NodeId, event: &Event) -> bool {
        let is_ready = self.is_ready(node);
        if is_ready {
            self.begin_turn(node)
        } else {
            self.hold(node, event.clone())
        }
        is_ready
    }

    /// Lets `event` wait until its process goes on, or has its turn
    pub fn hold(&mut self, node: NodeId, event: Event) {
        match &mut self.node_mut(node).backlog {
            Some(backlog) => {
                backlog.push_back(event);
                self.net.count(Effect::Pause);
            }
            None => self.wait_for_turn(node, event),
        }
    }

    fn handle_step(&mut self) {
        self.queue.after(self.config.step(), Event::Step);
        let mut watch = std::mem::take(&mut self.watch);
        watch.step(self);
        self.watch = watch;
    }
}

fn new_node(config: &MeshConfig, number: u32, now: Instant, signed: &Signed, chance: &mut Chance) -> Node {
    let id = NodeId(number);
    let disk = if config.is_supernode(id) {
        Disk::Supernode
    } else {
        Disk::Peer(Box::new(PeerDisk::new(config.seed, id, 0, signed)))
    };
    let ppm = 100 - chance.below(200) as i64;
    Node {
        id,
        name: users::name_of(number),
        clock: Clock::new(now, ppm),
        ppm,
        disk,
        write: WRITE,
        process: None,
        life: 0,
        is_up: true,
        backlog: None,
        waiting: Waiting::new(config.is_supernode(id)),
        ends: BTreeMap::new(),
        leaving: BTreeMap::new(),
        touched: BTreeSet::new(),
        permits: Permits::new(config.limits(id)),
        dials: BTreeMap::new(),
        accepting: BTreeMap::new(),
        greeters: BTreeMap::new(),
        links: 0,
        armed: None,
        wants_session: true,
    }
}
