//! What a run is made of.

use std::collections::BTreeSet;
use std::time::Duration;

use kith_common::link::limits::Limits;

use super::faults::Effect;
use super::lies::Lie;
use super::log::Replica;
use super::node::NodeId;
use super::shape::Shape;

/// How often the oracles look at everything
const STEP: Duration = Duration::from_secs(1);
/// Of more machines than these they look at everything as much less often: else most of a run would be looking
const MACHINES_A_STEP: u32 = 1_000;

/// More that vote would only make the log slower
const VOTERS_MAX: u32 = 5;

/// One run; the same config gives the same run
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// The seed of everything that is drawn
    pub seed: u64,
    pub peers: u32,
    /// How many supernodes; several elect one to lead
    pub supernodes: u32,
    pub degree: u8,
    /// How long a session lasts without a renewal
    pub lease: Duration,
    /// How long the mesh has to form before the first fault
    pub calm: Duration,
    /// How long faults last
    pub faults: Duration,
    pub kinds: BTreeSet<Effect>,
    /// Mean time from one fault to the next
    pub fault_every: Duration,
    /// Mean time from one deed of a user to the next
    pub deed_every: Duration,
    /// How many messages one user sends at once before faults begin, to somebody who exists; 0: none
    pub burst: u32,
    /// Share of peers outside a healthy core, between whom ways stay cut for ever
    pub outside: f64,
    /// How many peers, the last ones, lie
    pub liars: u32,
    /// What they do not forward
    pub lie: Lie,
    /// Who can dial whom, from the beginning and for ever; `None`: everybody everybody
    pub shape: Option<Shape>,
    /// Tell the story of everything that names this
    pub story: Option<String>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self::new(1, 50)
    }
}

impl MeshConfig {
    /// A run of this seed with so many peers: every kind of fault, for ten minutes
    ///
    /// Some seeds are dense and some are sparse in faults: in a storm nothing heals, and in a calm nothing meets.
    pub fn new(seed: u64, peers: u32) -> Self {
        Self {
            seed,
            peers,
            supernodes: 1,
            degree: 8,
            lease: Duration::from_secs(30),
            calm: Duration::from_secs(20 + u64::from(peers) / 50),
            faults: Duration::from_secs(600),
            kinds: Effect::usual().collect(),
            fault_every: Duration::from_secs([2, 5, 9, 20][(seed % 4) as usize]),
            deed_every: Duration::from_secs(40),
            burst: 0,
            outside: 0.0,
            liars: 0,
            lie: Lie::default(),
            shape: None,
            story: None,
        }
    }

    /// The machines that are supernodes
    pub fn supernodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.supernodes).map(NodeId)
    }

    /// How many supernodes vote, the first ones; others learn
    pub const fn voters(&self) -> u32 {
        if self.supernodes < VOTERS_MAX { self.supernodes } else { VOTERS_MAX }
    }

    /// Whether this machine is a supernode
    pub const fn is_supernode(&self, node: NodeId) -> bool {
        node.0 < self.supernodes
    }

    /// How many links and handshakes this machine's process may have
    pub fn limits(&self, node: NodeId) -> Limits {
        if self.is_supernode(node) { Limits::of_supernode() } else { Limits::default() }
    }

    /// The supernode that leads the log, if it is alone
    pub const fn leader(&self) -> NodeId {
        NodeId(Replica::LEADER.0 as u32)
    }

    pub const fn machines(&self) -> u32 {
        self.supernodes + self.peers
    }

    /// How often the oracles look at everything
    pub fn step(&self) -> Duration {
        STEP * (self.machines() / MACHINES_A_STEP).max(1)
    }

    /// Machines of the healthy core, numbered from 0: in a shape, only supernodes are reached by all
    pub fn core(&self) -> u32 {
        if self.shape.is_some() {
            return self.supernodes;
        }
        self.machines() - (f64::from(self.peers) * self.outside) as u32 - self.liars
    }

    /// Whether this machine's peer looks alive and does not forward what it should
    pub const fn is_liar(&self, node: NodeId) -> bool {
        node.0 >= self.machines() - self.liars
    }

    /// Within which everything must be whole again after the last fault: one lease and 15 s
    pub fn bound(&self) -> Duration {
        self.lease + Duration::from_secs(15)
    }
}
