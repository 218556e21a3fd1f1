//! Supernodes in one process: each with its log's threads and its disk, and with links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use kith_common::directory::{Command, Directory};
use kith_common::id::SupernodeId;
use kith_common::supernode::{LogEvent, Proposal};
use kith_common::wire::agreement::{Change, Configured, LogReply};
use kith_common::wire::session::{Location, Locations};
use kith_runtime::stall::{self, Watch};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::log::store::Store;
use crate::log::{Log, LogParts, News, Started};

/// Longer than anything takes on a machine that is busy with other tests
const PATIENCE: Duration = Duration::from_secs(60);

/// What one supernode was told
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) directory: Option<Directory>,
    /// What became of each of its own proposals: the index, or lost
    pub(super) fates: BTreeMap<u64, Option<u64>>,
    /// Every command that it was told, with its index
    pub(super) commands: Vec<(u64, Command)>,
    pub(super) leader: Option<SupernodeId>,
    pub(super) configured: Vec<(SupernodeId, Locations, bool)>,
    pub(super) reads: Vec<Option<u64>>,
    /// What it has answered others
    pub(super) answers: Vec<LogReply>,
    pub(super) replaced: u32,
    pub(super) ended: Option<String>,
}

struct Node {
    home: TempDir,
    boot: u64,
    log: Option<Arc<Log>>,
    told: Arc<Mutex<Told>>,
    next_number: u64,
}

#[derive(Default)]
struct Wires {
    logs: BTreeMap<SupernodeId, Arc<Log>>,
    /// Which cannot speak to which
    cut: BTreeSet<(SupernodeId, SupernodeId)>,
}

/// Supernodes, numbered from 1
pub(super) struct Cluster {
    nodes: BTreeMap<SupernodeId, Node>,
    wires: Arc<Mutex<Wires>>,
    _watch: Watch,
}

pub(super) const fn id(number: u64) -> SupernodeId {
    SupernodeId(number)
}

fn at(id: SupernodeId) -> Locations {
    Locations::truncated([Location::truncated(&format!("/ip4/127.0.0.1/tcp/{}", id.0))])
}

impl Cluster {
    /// So many supernodes, of which the first has founded the network and let in the others
    pub(super) fn of(count: u64) -> Self {
        let mut cluster = Self { nodes: BTreeMap::new(), wires: Arc::default(), _watch: stall::watch(stall::LIMIT) };
        for number in 1..=count {
            cluster.add(id(number));
        }
        let voters = if count.is_multiple_of(2) { count - 1 } else { count } as usize;
        cluster.wait("all of them vote", |cluster| {
            (1..=count).all(|number| {
                let configured = &cluster.told(id(number)).configured;
                let votes = configured.iter().filter(|(_, _, votes)| *votes).count();
                configured.len() as u64 == count && votes == voters && !cluster.log(id(number)).standing().is_changing
            })
        });
        cluster
    }

    /// Starts one more, which asks for nothing
    pub(super) fn add_silent(&mut self, id: SupernodeId) {
        let node =
            Node { home: tempfile::tempdir().unwrap(), boot: 0, log: None, told: Arc::default(), next_number: 0 };
        self.nodes.insert(id, node);
        self.start(id);
    }

    /// Starts one more, and has it let in
    pub(super) fn add(&mut self, id: SupernodeId) {
        let is_first = self.nodes.is_empty();
        self.add_silent(id);
        if is_first {
            self.wait("it leads", |cluster| cluster.told(id).leader == Some(id));
        } else {
            // As a newcomer does it, which has a link to anybody.
            let via = self.nodes.iter().find(|(other, node)| **other != id && node.log.is_some()).unwrap().0;
            let change = Change::Add(Configured { id, locations: at(id) });
            self.log(id).change(change, Some(*via)).blocking_recv().unwrap().unwrap();
        }
    }

    /// Has the configuration changed, through any supernode that runs
    pub(super) fn change(&self, change: Change) -> Result<(), String> {
        let asked = self.nodes.values().find_map(|node| node.log.clone()).unwrap();
        asked.change(change, None).blocking_recv().unwrap()
    }

    fn parts(&self, id: SupernodeId) -> LogParts<'_> {
        let node = &self.nodes[&id];
        LogParts {
            home: node.home.path(),
            me: id,
            boot: node.boot,
            founder_at: (self.nodes.len() == 1).then(|| at(id)),
            rng: ChaCha20Rng::seed_from_u64(id.0 * 1_000 + node.boot),
        }
    }

    /// Why it does not start
    pub(super) fn refused_start(&self, id: SupernodeId) -> String {
        Log::start(self.parts(id)).map(|_| ()).unwrap_err().to_string()
    }

    pub(super) fn start(&mut self, id: SupernodeId) {
        self.nodes.get_mut(&id).unwrap().boot += 1;
        let parts = self.parts(id);
        // The one before may not have let go of the file yet.
        let begun = Instant::now();
        let Started { log, news, directory, .. } = loop {
            match Log::start(LogParts { rng: parts.rng.clone(), founder_at: parts.founder_at.clone(), ..parts }) {
                Ok(started) => break started,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        let log = Arc::new(log);
        let node = self.nodes.get_mut(&id).unwrap();
        node.next_number = 0;
        node.log = Some(Arc::clone(&log));
        *node.told.lock().unwrap() = Told { directory: Some(directory), ..Told::default() };
        self.wires.lock().unwrap().logs.insert(id, Arc::clone(&log));
        let (told, wires, log) = (Arc::clone(&node.told), Arc::clone(&self.wires), Arc::downgrade(&log));
        thread::spawn(move || drive(id, news, &log, &told, &wires));
    }

    /// Stops one without a word; what was on its way to its disk may get there
    pub(super) fn kill(&mut self, id: SupernodeId) {
        self.nodes.get_mut(&id).unwrap().log = None;
        let mut wires = self.wires.lock().unwrap();
        wires.logs.remove(&id);
        wires.logs.values().for_each(|log| log.lose(id));
    }

    /// The home of one that was killed, once it has let go of its file
    pub(super) fn free_home(&self, id: SupernodeId) -> PathBuf {
        let home = self.home(id).path().to_owned();
        self.wait("its file is free", |_| Store::open(&home).is_ok());
        home
    }

    /// These hear nothing of each other from now on, both ways
    pub(super) fn cut(&self, one: SupernodeId, other: SupernodeId) {
        let mut wires = self.wires.lock().unwrap();
        wires.cut.extend([(one, other), (other, one)]);
        wires.logs.get(&one).iter().for_each(|log| log.lose(other));
        wires.logs.get(&other).iter().for_each(|log| log.lose(one));
    }

    pub(super) fn heal(&self) {
        self.wires.lock().unwrap().cut.clear();
    }

    pub(super) fn told(&self, id: SupernodeId) -> MutexGuard<'_, Told> {
        self.nodes[&id].told.lock().unwrap()
    }

    pub(super) fn log(&self, id: SupernodeId) -> &Log {
        self.nodes[&id].log.as_deref().unwrap()
    }

    pub(super) fn home(&self, id: SupernodeId) -> &TempDir {
        &self.nodes[&id].home
    }

    /// Proposes a group; the numbers that it has
    pub(super) fn propose(&mut self, at: SupernodeId, commands: Vec<Command>) -> Vec<u64> {
        let node = self.nodes.get_mut(&at).unwrap();
        let group: Vec<Proposal> =
            (node.next_number..).zip(commands).map(|(number, command)| Proposal { number, command }).collect();
        node.next_number += group.len() as u64;
        let numbers = group.iter().map(|proposal| proposal.number).collect();
        node.log.as_ref().unwrap().propose(group);
        numbers
    }

    /// Proposes, and waits for what becomes of it: whether all of it is committed
    pub(super) fn commit(&mut self, at: SupernodeId, commands: Vec<Command>) -> bool {
        let numbers = self.propose(at, commands);
        self.wait("its proposals have a fate", |cluster| {
            let told = cluster.told(at);
            numbers.iter().all(|number| told.fates.contains_key(number))
        });
        let told = self.told(at);
        numbers.iter().all(|number| told.fates[number].is_some())
    }

    /// Who leads as all say who are named
    pub(super) fn leader_of(&self, ids: &[u64]) -> Option<SupernodeId> {
        let leaders: BTreeSet<_> = ids.iter().map(|number| self.told(id(*number)).leader).collect();
        leaders
            .into_iter()
            .next()
            .filter(|_| ids.windows(2).all(|pair| self.told(id(pair[0])).leader == self.told(id(pair[1])).leader))
            .flatten()
    }

    /// Waits until these agree on who leads
    pub(super) fn await_leader(&self, ids: &[u64]) -> SupernodeId {
        self.wait("they agree on a leader", |cluster| {
            cluster.leader_of(ids).is_some_and(|leader| ids.contains(&leader.0))
        });
        self.leader_of(ids).unwrap()
    }

    /// Waits until all of these have the same directory, at least at this index
    pub(super) fn await_agreement(&self, ids: &[u64], index: u64) {
        self.wait("they have the same directory", |cluster| {
            let bytes: BTreeSet<_> = ids
                .iter()
                .map(|number| {
                    let told = cluster.told(id(*number));
                    let directory = told.directory.as_ref().unwrap();
                    (directory.applied() >= index).then(|| directory.snapshot().unwrap())
                })
                .collect();
            bytes.len() == 1 && !bytes.contains(&None)
        });
    }

    pub(super) fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "not in a minute: {what}; {}", self.describe());
            thread::sleep(Duration::from_millis(5));
        }
        stall::note(what);
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|(id, node)| {
            let told = node.told.lock().unwrap();
            let applied = told.directory.as_ref().map_or(0, Directory::applied);
            let standing = node.log.as_ref().map(|log| log.standing());
            format!("{id}: leader {:?}, at {applied}, ended {:?}, {standing:?}", told.leader, told.ended)
        });
        nodes.collect::<Vec<_>>().join("; ")
    }
}

/// In the place of a driver: applies what is committed, and carries questions and answers
fn drive(me: SupernodeId, mut news: mpsc::Receiver<News>, log: &Weak<Log>, told: &Mutex<Told>, wires: &Mutex<Wires>) {
    while let Some(news) = news.blocking_recv() {
        // Killed, or started anew.
        let Some(log) = log.upgrade() else { return };
        let log = &*log;
        let (other, is_cut) = match &news {
            News::Ask { whom, .. } | News::Answer { whom, .. } => {
                let wires = wires.lock().unwrap();
                (wires.logs.get(whom).cloned(), wires.cut.contains(&(me, *whom)))
            }
            _ => (None, false),
        };
        if !wires.lock().unwrap().logs.get(&me).is_some_and(|present| std::ptr::eq(&**present, log)) {
            return;
        }
        let other = other.filter(|_| !is_cut);
        let mut told = told.lock().unwrap();
        match news {
            News::OtherLog(_) => {}
            News::Events(events) => events.into_iter().for_each(|event| told.hear(event, log)),
            News::Replaced(directory) => {
                told.directory = Some(*directory);
                told.replaced += 1;
            }
            News::Configured(configured) => told.configured = configured,
            News::Leader(leader) => told.leader = leader,
            News::Read(index) => told.reads.push(index),
            News::Ask { whom, ask } => match other {
                Some(other) => other.ask(me, *ask),
                None => log.lose(whom),
            },
            News::Answer { answer, .. } => {
                told.answers.push(answer.reply.clone());
                other.iter().for_each(|other| other.answer(me, (*answer).clone()));
            }
            News::Disk(fault) => log.set_full(fault.is_some()),
            News::Failed(error) => told.ended = Some(error.to_string()),
            News::Ended(reason) => told.ended = Some(reason),
        }
    }
}

impl Told {
    fn hear(&mut self, event: LogEvent, log: &Log) {
        let directory = self.directory.as_mut().unwrap();
        match event {
            LogEvent::Committed { index, command, number } => {
                directory.apply(index, &command);
                if let Some(number) = number {
                    assert_eq!(self.fates.insert(number, Some(index)), None, "number {number} has two fates");
                }
                self.commands.push((index, command));
            }
            LogEvent::Lost { number } => {
                assert_eq!(self.fates.insert(number, None), None, "number {number} has two fates");
            }
            LogEvent::Grown => log.snapshot(Box::new(directory.clone())),
            _ => {}
        }
    }
}
