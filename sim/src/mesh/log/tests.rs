//! Three supernodes on one log: what each is told, in which order, and what becomes of what is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_common::crypto::{Handshake, Signer};
use kith_common::directory::Outcome;
use kith_common::id::{Address, Name};
use kith_common::link::{Direction, LinkId, Opened};
use kith_common::supernode::{GATHER, Supernode, SupernodeConfig, SupernodeOutput};
use kith_common::time::Instant;
use kith_common::wire::session::{Hello, Locations, Login, Purpose, Report, Role};
use kith_common::wire::{Frame, VERSION};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::chance::{Chance, Draws};
use crate::mesh::node::{Identity, Signed, admission_of};

const LEASE: Duration = Duration::from_secs(30);
/// Shorter than the half second after which a supernode takes itself for held up
const BEAT: Duration = Duration::from_millis(100);
/// Longer than any test, for those in which nobody renews
const LONG_LEASE: Duration = Duration::from_secs(3600);
const REPLICAS: [Replica; 3] = [Replica(0), Replica(1), Replica(2)];

/// What a disk is done with
enum Done {
    Written(Replica, u32),
    Learnt(Replica, u32),
}

/// Three supernodes, their log, and peers that are nothing but links
struct Trio {
    seed: u64,
    lease: Duration,
    chance: Chance,
    signed: Signed,
    now: Instant,
    log: IdealLog,
    /// Each with its life; none while it is dead
    cores: [(u32, Option<Supernode<Identity>>); 3],
    /// When disks are done, and in which order of equals
    pending: BTreeMap<(Instant, u64), Done>,
    planned: u64,
    /// Whether groups are lost on their way to the order
    is_cut: bool,
    links: u64,
    /// What each said over which link
    sent: Vec<(Replica, LinkId, Frame)>,
    released: Vec<Option<Outcome>>,
    /// The indices and commands that each was told of, in the order of telling
    told: [Vec<(u64, Command)>; 3],
    /// How many of them came with a number
    own: [usize; 3],
}

impl Trio {
    fn new(seed: u64) -> Self {
        Self::with_lease(seed, LEASE)
    }

    fn with_lease(seed: u64, lease: Duration) -> Self {
        let mut trio = Self {
            seed,
            lease,
            chance: Chance::new(seed, Draws::Processes),
            signed: Signed::default(),
            now: Instant::ZERO,
            log: IdealLog::new(3),
            cores: [(); 3].map(|()| (0, None)),
            pending: BTreeMap::new(),
            planned: 0,
            is_cut: false,
            links: 0,
            sent: Vec::new(),
            released: Vec::new(),
            told: Default::default(),
            own: [0; 3],
        };
        REPLICAS.iter().for_each(|at| trio.start(*at));
        trio
    }

    fn start(&mut self, at: Replica) {
        let identity = Identity::derive(self.seed, at.0 as u32, 0, &self.signed);
        let admission = Arc::new(admission_of(self.seed, at, self.lease, &self.signed));
        let config = SupernodeConfig { id: at.id(), admission, degree: None, links_max: 4_096, contacts: Vec::new() };
        let rng = ChaCha20Rng::seed_from_u64(self.chance.number());
        let mut core = Supernode::new(self.now, config, identity, rng, self.log.restore(at).unwrap());
        core.handle_log(self.now, LogEvent::LeaderChanged(Some(Replica::LEADER.id())));
        self.told[at.0].clear();
        self.cores[at.0].0 += 1;
        self.cores[at.0].1 = Some(core);
        self.learn(at);
    }

    fn kill(&mut self, at: Replica, survives: bool) {
        self.cores[at.0].1 = None;
        self.log.crash(at, survives).unwrap();
    }

    fn core(&mut self, at: Replica) -> &mut Supernode<Identity> {
        self.cores[at.0].1.as_mut().unwrap()
    }

    fn directory(&self, at: Replica) -> &Directory {
        self.cores[at.0].1.as_ref().unwrap().directory()
    }

    fn plan(&mut self, done: Done) {
        self.planned += 1;
        let wait = self.chance.wait(Duration::from_millis(5));
        self.pending.insert((self.now + wait, self.planned), done);
    }

    /// Carries out what a core wants
    fn drain(&mut self, at: Replica) {
        while let Some(output) = self.cores[at.0].1.as_mut().and_then(Supernode::poll_output) {
            match output {
                SupernodeOutput::Send { link, frame } => self.sent.push((at, link, frame)),
                SupernodeOutput::Close { .. } => {}
                SupernodeOutput::Propose(group) if self.is_cut => {
                    let now = self.now;
                    let lost = group.into_iter().map(|proposal| LogEvent::Lost { number: proposal.number });
                    lost.for_each(|event| self.core(at).handle_log(now, event));
                }
                SupernodeOutput::Propose(group) => {
                    self.log.propose(at, group);
                    self.plan(Done::Written(at, self.cores[at.0].0));
                }
                SupernodeOutput::Read => {
                    let (now, readable) = (self.now, LogEvent::Readable(self.log.end()));
                    self.core(at).handle_log(now, readable);
                }
                SupernodeOutput::Dial(_) => {}
                SupernodeOutput::Snapshot(directory) => self.log.keep(at, &directory).unwrap(),
                SupernodeOutput::Answered { outcome, .. } => self.released.push(outcome),
            }
        }
    }

    fn learn(&mut self, at: Replica) {
        let life = self.cores[at.0].0;
        for event in self.log.learn(at, life).unwrap() {
            if let LogEvent::Committed { index, command, number } = &event {
                self.told[at.0].push((*index, command.clone()));
                self.own[at.0] += usize::from(number.is_some());
            }
            let now = self.now;
            self.core(at).handle_log(now, event);
        }
        self.drain(at);
    }

    /// Until no disk has anything to do
    fn settle(&mut self) {
        while let Some(((at, _), done)) = self.pending.pop_first() {
            self.now = self.now.max(at);
            let (Done::Written(replica, life) | Done::Learnt(replica, life)) = done;
            let is_there = self.cores[replica.0].0 == life && self.cores[replica.0].1.is_some();
            match done {
                Done::Written(..) if is_there => {
                    self.log.commit(replica, life);
                    self.learn(replica);
                    for other in REPLICAS.into_iter().filter(|other| *other != replica) {
                        self.plan(Done::Learnt(other, self.cores[other.0].0));
                    }
                }
                Done::Learnt(..) if is_there => self.learn(replica),
                _ => {}
            }
        }
    }

    /// Time passes, at all that live
    fn wait(&mut self, wait: Duration) {
        // In beats, as a process that runs hears of time: one long step would look as if it had been held up.
        let end = self.now + wait;
        while self.now < end {
            self.now = (self.now + BEAT).min(end);
            let now = self.now;
            for at in REPLICAS {
                if let Some(core) = &mut self.cores[at.0].1 {
                    core.handle_timeout(now);
                }
                self.drain(at);
            }
        }
    }

    /// A peer logs in over a new link; the answer is not waited for
    fn log_in(&mut self, at: Replica, peer: u32, as_name: &Name) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let identity = Identity::derive(self.seed, 1_000 + peer, 0, &self.signed);
        let (peer_nonce, own_nonce) = ([1; 32], [2; 32]);
        let (role, purpose) = (Role::Peer, Purpose::Home);
        let hello = Hello { role, purpose, boot: 1, nonce: peer_nonce, network: None, grant: None };
        let key = identity.key();
        let direction = Direction::Incoming;
        let opened = Opened { link, direction, key, hello, own_nonce, dial: None, remote_ip: None };
        let handshake = Handshake {
            peer_nonce,
            supernode_nonce: own_nonce,
            peer: key,
            supernode: self.core(at).key(),
            network: admission_of(self.seed, at, self.lease, &self.signed).network,
            version: VERSION,
        };
        let login = Login {
            signature: identity.sign(&handshake.login_bytes(as_name)),
            name: as_name.clone(),
            secret_proof: None,
            external: Locations::new(),
            listening: Default::default(),
            resume: None,
            invite: None,
        };
        let now = self.now;
        self.core(at).handle_opened(now, &opened);
        self.core(at).handle_frame(now, link, Frame::Login(login));
        self.drain(at);
        link
    }

    fn is_granted(&self, at: Replica, link: LinkId) -> bool {
        self.sent.iter().any(|(by, over, frame)| (*by, *over) == (at, link) && matches!(frame, Frame::Granted(_)))
    }

    fn refusals(&self, link: LinkId) -> Vec<u16> {
        let refused = |(_, over, frame): &(Replica, LinkId, Frame)| match frame {
            Frame::Refused(refused) if *over == link => Some(refused.status.code()),
            _ => None,
        };
        self.sent.iter().filter_map(refused).collect()
    }

    /// All that live were told the same commands at the same indices, and have the same directory
    fn assert_agreed(&self) {
        let mut snapshots = REPLICAS.iter().filter_map(|at| self.cores[at.0].1.as_ref()).map(|core| core.directory());
        let first = snapshots.next().unwrap();
        assert!(snapshots.all(|other| other.snapshot() == first.snapshot()), "seed {}", self.seed);
        let by_index: Vec<BTreeMap<u64, &Command>> =
            self.told.iter().map(|told| told.iter().map(|(index, command)| (*index, command)).collect()).collect();
        for one in &by_index {
            for other in &by_index {
                assert!(one.iter().all(|(index, command)| other.get(index).is_none_or(|same| same == command)));
            }
        }
        for told in &self.told {
            assert!(told.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "no index is left out or told twice");
        }
    }
}

fn name(peer: u32) -> Name {
    format!("peer-{peer}").parse().unwrap()
}

#[test]
fn all_see_one_order_whoever_proposes_and_make_the_same_directory() {
    for seed in 1..=20 {
        let mut trio = Trio::new(seed);
        let links: Vec<_> = (0..30)
            .map(|peer| (REPLICAS[peer as usize % 3], trio.log_in(REPLICAS[peer as usize % 3], peer, &name(peer))))
            .collect();
        trio.settle();
        trio.assert_agreed();
        assert!(links.iter().all(|(at, link)| trio.is_granted(*at, *link)));
        assert_eq!(trio.told.each_ref().map(Vec::len), [30; 3]);
        assert_eq!(trio.own, [10; 3], "each is given the numbers of its own proposals alone");
    }
}

#[test]
fn order_depends_on_the_seed_and_is_the_same_for_the_same_seed() {
    let order = |seed| {
        let mut trio = Trio::new(seed);
        for peer in 0..9 {
            trio.log_in(REPLICAS[peer as usize % 3], peer, &name(peer));
        }
        trio.settle();
        let names = trio.told[0].iter().map(|(_, command)| match command {
            Command::LogIn(login) => login.name.to_string(),
            other => format!("{other:?}"),
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert!((2..20).any(|seed| order(seed) != order(1)));
}

#[test]
fn one_name_that_is_asked_for_at_three_supernodes_at_once_has_one_owner() {
    for seed in 1..=20 {
        let mut trio = Trio::new(seed);
        let links = REPLICAS.map(|at| (at, trio.log_in(at, at.0 as u32, &name(7))));
        trio.settle();
        trio.assert_agreed();
        let granted = links.iter().filter(|(at, link)| trio.is_granted(*at, *link)).count();
        let refused = links.iter().filter(|(_, link)| trio.refusals(*link) == [409]).count();
        assert_eq!((granted, refused), (1, 2), "seed {seed}");
    }
}

#[test]
fn session_is_judged_by_its_home_alone() {
    let mut trio = Trio::new(1);
    let links: Vec<_> = REPLICAS.iter().map(|at| trio.log_in(*at, at.0 as u32, &name(at.0 as u32))).collect();
    trio.settle();
    trio.wait(LEASE);
    trio.settle();
    assert_eq!(trio.directory(Replica(0)).members().len(), 0, "each has ended its own peer's session");
    let expired = |told: &[(u64, Command)]| told.iter().filter(|(_, c)| matches!(c, Command::Expire { .. })).count();
    assert_eq!(trio.told.each_ref().map(|told| expired(told)), [3; 3], "and nobody another's");
    assert!(links.iter().all(|link| trio.refusals(*link) == [401]));
}

#[test]
fn table_of_a_peer_at_one_supernode_names_peers_of_the_others() {
    let mut trio = Trio::new(1);
    for at in REPLICAS {
        trio.log_in(at, at.0 as u32, &name(at.0 as u32));
    }
    trio.settle();
    trio.wait(GATHER);
    for at in REPLICAS {
        let last = trio.sent.iter().rev().find_map(|(by, _, frame)| match frame {
            Frame::Rewire(rewire) if *by == at => Some(rewire.neighbours.len()),
            _ => None,
        });
        assert_eq!(last, Some(2));
    }
}

#[test]
fn pair_that_one_supernode_parted_is_kept_apart_by_all_and_brought_together_once() {
    let mut trio = Trio::with_lease(1, LONG_LEASE);
    let links: Vec<_> = REPLICAS.iter().map(|at| trio.log_in(*at, at.0 as u32, &name(at.0 as u32))).collect();
    trio.settle();
    let place =
        |trio: &Trio, peer: u32| -> Address { trio.directory(Replica(0)).look_up(&name(peer)).unwrap().address };
    let report = Report::Unreachable(place(&trio, 1));
    let now = trio.now;
    trio.core(Replica(0)).handle_frame(now, links[0], Frame::Report(report));
    trio.drain(Replica(0));
    trio.settle();
    assert!(REPLICAS.iter().all(|at| trio.directory(*at).pairs_len() == 1));
    // The home that parted them dies, and another one leads: their time is over all the same.
    trio.kill(Replica(0), false);
    for at in [Replica(1), Replica(2)] {
        let now = trio.now;
        trio.core(at).handle_log(now, LogEvent::LeaderChanged(Some(Replica(1).id())));
    }
    for _ in 0..70 {
        trio.wait(Duration::from_secs(1));
        trio.settle();
    }
    assert_eq!(trio.directory(Replica(1)).pairs_len(), 0);
    trio.assert_agreed();
    let reunited =
        |told: &[(u64, Command)]| told.iter().filter(|(_, c)| matches!(c, Command::ExpirePair { .. })).count();
    assert_eq!(reunited(&trio.told[1]), 1);
}

#[test]
fn supernode_that_starts_again_learns_what_was_committed_without_it() {
    for (survives, members) in [(true, 3), (false, 2)] {
        let mut trio = Trio::new(1);
        trio.log_in(Replica(1), 1, &name(1));
        trio.settle();
        let link = trio.log_in(Replica(2), 2, &name(2));
        trio.kill(Replica(2), survives);
        trio.log_in(Replica(0), 0, &name(0));
        trio.settle();
        trio.start(Replica(2));
        trio.settle();
        trio.assert_agreed();
        assert!(REPLICAS.iter().all(|at| trio.directory(*at).members().len() == members), "{survives}");
        assert!(!trio.is_granted(Replica(2), link), "nobody was told of what was not durable");
        assert_eq!(trio.own, [1, 1, 0], "the numbers of a life that is over are not given back");
    }
}

#[test]
fn proposal_that_is_lost_is_answered_and_leaks_nothing() {
    let mut trio = Trio::new(1);
    trio.is_cut = true;
    let link = trio.log_in(Replica(1), 1, &name(1));
    trio.core(Replica(1)).release(name(5), 9);
    trio.drain(Replica(1));
    assert_eq!(trio.refusals(link), [503]);
    assert_eq!(trio.released, [None]);
    assert!(trio.core(Replica(1)).is_idle());
    trio.is_cut = false;
    trio.wait(Duration::from_secs(10));
    let again = trio.log_in(Replica(1), 1, &name(1));
    trio.settle();
    trio.assert_agreed();
    assert!(trio.is_granted(Replica(1), again));
}

#[test]
fn snapshots_cut_each_log_and_entries_that_all_have_are_forgotten() {
    let mut trio = Trio::new(1);
    for peer in 0..SNAPSHOT_EVERY as u32 + 10 {
        trio.log_in(REPLICAS[peer as usize % 3], peer, &name(peer));
        trio.settle();
    }
    assert!(trio.log.disks.iter().all(|disk| disk.snapshot.is_some() && disk.log.len() < SNAPSHOT_EVERY));
    assert_eq!(trio.log.entries.len(), 0);
    for at in REPLICAS {
        let restored = trio.log.restore(at).unwrap();
        assert_eq!(restored.snapshot(), trio.directory(at).snapshot());
    }
}

#[test]
fn log_is_ahead_of_whoever_was_told_that_a_group_is_lost_which_is_there() {
    let mut log = IdealLog::new(1);
    let group = |number| vec![Proposal { number, command: Command::Configure { degree: 8 } }];
    for (number, survives) in [(1, false), (2, true)] {
        log.propose(Replica::LEADER, group(number));
        assert_eq!(log.lose(Replica::LEADER, survives), [LogEvent::Lost { number }]);
        assert_eq!(log.is_ahead_of(Replica::LEADER), survives);
    }
    assert_eq!(log.learn(Replica::LEADER, 1).unwrap().len(), 1);
    assert!(!log.is_ahead_of(Replica::LEADER));
}
