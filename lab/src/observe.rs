//! Sees what changes in a mesh, by asking every process again and again.
//!
//! One thread a process, so that one which answers late delays nobody else's news. A change is seen one look late at
//! most; what comes and goes between two looks is not seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kith_common::id::Name;
use kith_runtime::control::peer::{LinkState, Neighbour, NeighboursAnswer, State as Login, StatusAnswer};
use kith_runtime::control::supernode::{self, Member, MemberState};
use kith_runtime::control::{Done, peer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::LabError;
use crate::mesh::Lab;
use crate::node::Node;
use crate::process::Condition;
use crate::role::Role;
use crate::state::State;

/// One look; a process that takes longer shows as silent
const LOOK_LIMIT: Duration = Duration::from_millis(700);
/// Changes that nobody has read yet. At the bound the observers wait, and see less.
const CHANGES_MAX: usize = 10_000;

/// One process at one look
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// How the process is; none before the first look
    pub condition: Option<Condition>,
    /// What a peer says of itself; none when it says nothing
    pub status: Option<StatusAnswer>,
    /// A peer's links
    pub neighbours: Option<NeighboursAnswer>,
    /// What a supernode says of itself
    pub supernode: Option<supernode::StatusAnswer>,
    /// A supernode's peers
    pub peers: Option<Vec<Member>>,
}

/// Something that was seen
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// When it was seen
    pub at: Instant,
    pub name: String,
    pub what: What,
}

/// What can be seen to change
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The process is now so
    Process(Condition),
    /// Its session is now so, for this reason
    Session { state: Login, reason: String },
    /// It works with the table of this epoch
    Epoch(u64),
    /// Its link to a neighbour is now so; `gone` once it is no longer listed
    Link { to: String, state: String, reason: String },
    /// A supernode takes the one of this serial for the leader, or nobody
    Leader { serial: Option<u64>, own: bool },
    /// A supernode holds this peer to be so; `gone` once it is no longer listed
    Member { name: String, state: String },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let because = |reason: &str| if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        match self {
            Self::Process(condition) => write!(f, "process {}", condition.word()),
            Self::Session { state, reason } => write!(f, "{}{}", state, because(reason)),
            Self::Epoch(epoch) => write!(f, "table of epoch {epoch}"),
            Self::Link { to, state, reason } => write!(f, "link to {to} {state}{}", because(reason)),
            Self::Leader { own: true, .. } => f.write_str("leads the supernodes"),
            Self::Leader { serial: Some(serial), .. } => write!(f, "is led by supernode {serial}"),
            Self::Leader { serial: None, .. } => f.write_str("is led by nobody"),
            Self::Member { name, state } => write!(f, "holds {name} to be {state}"),
        }
    }
}

/// Watches every process of a lab until it is dropped
#[derive(Debug)]
pub(crate) struct Observer {
    running: Arc<AtomicBool>,
    views: Arc<Mutex<BTreeMap<String, View>>>,
    changes: Receiver<Change>,
    threads: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Looks at every process that the lab has now, every `every`
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub(crate) fn start(lab: &Lab, every: Duration) -> Result<Self, LabError> {
        let (send, changes) = mpsc::sync_channel(CHANGES_MAX);
        let running = Arc::new(AtomicBool::new(true));
        let views = Arc::new(Mutex::new(BTreeMap::new()));
        let mut threads = Vec::new();
        for process in lab.state()?.processes {
            let eye = Eye {
                node: lab.node(&process.name)?,
                dir: lab.dir().to_owned(),
                every,
                running: Arc::clone(&running),
                views: Arc::clone(&views),
                changes: send.clone(),
            };
            threads.push(thread::spawn(move || eye.look_on()));
        }
        Ok(Self { running, views, changes, threads })
    }

    /// How everybody was at the last look
    pub(crate) fn views(&self) -> BTreeMap<String, View> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was seen since the last call
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.changes.try_iter().collect()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        // An observer that waits for room must not wait for ever.
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            self.changes.try_iter().for_each(drop);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The observer of one process
struct Eye {
    node: Node,
    dir: std::path::PathBuf,
    every: Duration,
    running: Arc<AtomicBool>,
    views: Arc<Mutex<BTreeMap<String, View>>>,
    changes: SyncSender<Change>,
}

impl Eye {
    fn look_on(self) {
        let mut last = View::default();
        while self.running.load(Ordering::Relaxed) {
            let next = Instant::now() + self.every;
            let view = self.look();
            let at = Instant::now();
            for what in differences(&last, &view) {
                let change = Change { at, name: self.node.name.clone(), what };
                if self.changes.send(change).is_err() {
                    return;
                }
            }
            let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            views.insert(self.node.name.clone(), view.clone());
            drop(views);
            last = view;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn look(&self) -> View {
        // Read anew each time: another terminal may have started the process again.
        let state = State::load(&self.dir).ok().flatten();
        let process = state.as_ref().and_then(|state| state.process(&self.node.name));
        let condition = process.map_or(Condition::Ended, |process| process.condition());
        let mut view = View { condition: Some(condition), ..View::default() };
        // A paused process would let every look wait for its limit.
        if condition == Condition::Running {
            match self.node.role {
                Role::Peer => {
                    view.status = self.ask(&peer::Request::Status);
                    view.neighbours = self.ask(&peer::Request::Neighbours);
                }
                Role::Supernode => {
                    view.supernode = self.ask(&supernode::Request::Status);
                    view.peers = self.node.peers_within(LOOK_LIMIT).ok();
                }
            }
        }
        view
    }

    fn ask<T: DeserializeOwned>(&self, request: &impl Serialize) -> Option<T> {
        self.node.ask(request, LOOK_LIMIT).ok().map(|Done { answer, .. }| answer)
    }
}

/// What is new in `new`; a part that could not be asked this time or last has no news
fn differences(old: &View, new: &View) -> Vec<What> {
    let mut changes = Vec::new();
    if old.condition != new.condition
        && let (Some(_), Some(condition)) = (old.condition, new.condition)
    {
        changes.push(What::Process(condition));
    }
    if let (Some(old), Some(new)) = (&old.status, &new.status) {
        changes.extend(session_changes(old, new));
    }
    if let (Some(old), Some(new)) = (&old.neighbours, &new.neighbours) {
        changes.extend(link_changes(old, new));
    }
    if let (Some(old), Some(new)) = (&old.supernode, &new.supernode)
        && old.leader != new.leader
    {
        changes.push(What::Leader { serial: new.leader, own: new.leader == Some(new.serial) });
    }
    if let (Some(old), Some(new)) = (&old.peers, &new.peers) {
        changes.extend(member_changes(old, new));
    }
    changes
}

fn session_changes(old: &StatusAnswer, new: &StatusAnswer) -> Option<What> {
    let reason = || new.reason.clone().unwrap_or_default();
    (old.state != new.state).then(|| What::Session { state: new.state, reason: reason() })
}

fn link_changes(old: &NeighboursAnswer, new: &NeighboursAnswer) -> Vec<What> {
    let states = |answer: &NeighboursAnswer| -> BTreeMap<Name, (LinkState, String)> {
        let reason = |link: &Neighbour| link.reason.clone().unwrap_or_default();
        answer.neighbours.iter().map(|link| (link.name.clone(), (link.state, reason(link)))).collect()
    };
    let (was, is) = (states(old), states(new));
    let mut changes: Vec<What> = Vec::new();
    if old.epoch != new.epoch {
        changes.push(What::Epoch(new.epoch));
    }
    for (to, (state, reason)) in &is {
        if was.get(to).map(|(state, _)| state) != Some(state) {
            changes.push(What::Link { to: to.to_string(), state: state.to_string(), reason: reason.clone() });
        }
    }
    let gone = was.keys().filter(|to| !is.contains_key(*to));
    changes.extend(gone.map(|to| What::Link { to: to.to_string(), state: "gone".into(), reason: String::new() }));
    changes
}

fn member_changes(old: &[Member], new: &[Member]) -> Vec<What> {
    let states = |peers: &[Member]| -> BTreeMap<Name, MemberState> {
        peers.iter().map(|peer| (peer.name.clone(), peer.state)).collect()
    };
    let (was, is) = (states(old), states(new));
    let changed = is.iter().filter(|(name, state)| was.get(*name) != Some(state));
    let gone = was.keys().filter(|name| !is.contains_key(*name));
    let member = |name: &Name, state: String| What::Member { name: name.to_string(), state };
    let changed = changed.map(|(name, state)| member(name, state.to_string()));
    changed.chain(gone.map(|name| member(name, "gone".into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{link, name};

    fn links(epoch: u64, links: &[(&str, LinkState)]) -> View {
        let neighbours = links.iter().map(|(name, state)| link(name, *state)).collect();
        let neighbours = NeighboursAnswer { epoch, neighbours };
        View { condition: Some(Condition::Running), neighbours: Some(neighbours), ..View::default() }
    }

    fn told(old: &View, new: &View) -> Vec<String> {
        differences(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn link_that_falls_and_another_that_opens_are_told_with_the_epoch() {
        let old = links(8, &[("bob", LinkState::Up), ("carol", LinkState::Up)]);
        let new = links(9, &[("carol", LinkState::Down), ("dave", LinkState::Up)]);
        assert_eq!(told(&old, &new), ["table of epoch 9", "link to carol down", "link to dave up", "link to bob gone"]);
        assert_eq!(told(&new, &new), Vec::<String>::new());
    }

    #[test]
    fn first_look_is_no_news() {
        assert_eq!(told(&View::default(), &links(8, &[("bob", LinkState::Up)])), Vec::<String>::new());
    }

    #[test]
    fn look_without_an_answer_is_no_news_of_links() {
        let silent = View { condition: Some(Condition::Paused), ..View::default() };
        assert_eq!(told(&links(8, &[("bob", LinkState::Up)]), &silent), ["process paused"]);
    }

    #[test]
    fn suspect_is_told_by_its_supernode() {
        let peers = |state: MemberState| {
            let carol = Member {
                name: name("carol"),
                key: "00".repeat(32),
                peer_id: "12D3".into(),
                state,
                reason: None,
                address: None,
                locations: Vec::new(),
                home: true,
                since_epoch: Some(1),
                stale: false,
            };
            View { peers: Some(vec![carol]), ..View::default() }
        };
        let told = told(&peers(MemberState::LoggedIn), &peers(MemberState::Suspect));
        assert_eq!(told, ["holds carol to be suspect"]);
    }
}
