//! The supernodes of a lab: how they come into one network, who leads it, and how one is taken out.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kith_common::crypto::Signer;
use kith_common::id::Key;
use kith_runtime::control::supernode::{self, MembersAnswer, RemoveSupernodeAnswer, StatusAnswer, SupernodeRole};
use kith_runtime::identity::Identity;

use super::{Lab, READY_LIMIT};
use crate::book;
use crate::draw::{self, Draw};
use crate::error::{LabError, io_error};
use crate::node::{LOOK_LIMIT, Node};
use crate::process::Condition;
use crate::role::{self, Entry, Role, SupernodeArgs};
use crate::state::{Process, State};

/// What a person may call the supernode that leads at present
pub(crate) const LEADER: &str = "leader";
/// A learner has a vote by then, and who was taken out has ended
const REPLACE_LIMIT: Duration = Duration::from_secs(30);
/// A supernode that goes is taken out of the voters first, and then of the list
const REMOVE_LIMIT: Duration = Duration::from_secs(30);

/// A supernode by its own word
#[derive(Clone, Debug)]
pub struct Standing {
    pub node: Node,
    pub status: StatusAnswer,
    /// Whom it takes for the supernodes of the network
    pub members: MembersAnswer,
}

impl Standing {
    pub(crate) fn of(node: Node) -> Result<Self, LabError> {
        let status = node.ask(&supernode::Request::Status, LOOK_LIMIT)?.answer;
        let members = node.ask(&supernode::Request::Members, LOOK_LIMIT)?.answer;
        Ok(Self { node, status, members })
    }

    /// Those that vote, by its word
    pub(crate) fn voters(&self) -> impl Iterator<Item = u64> + '_ {
        let is_voter = |role: SupernodeRole| matches!(role, SupernodeRole::Leader | SupernodeRole::Voter);
        self.members.supernodes.iter().filter(move |member| is_voter(member.role)).map(|member| member.serial)
    }

    /// Whether it is at one with `all`, who run
    fn agrees(&self, all: &[Self]) -> Result<(), String> {
        let name = &self.node.name;
        if let Some(reason) = &self.status.reason {
            return Err(format!("{name}: {reason}"));
        }
        let first = all.first().and_then(|first| first.status.leader);
        if self.status.leader.is_none() || self.status.leader != first {
            return Err(format!("{name}: it takes {:?} for the leader, another one {first:?}", self.status.leader));
        }
        for other in all {
            let listed = self.members.supernodes.iter().find(|member| member.serial == other.status.serial);
            if !listed.is_some_and(|member| member.here || member.linked) {
                return Err(format!("{name}: it has no link to {}", other.node.name));
            }
        }
        let (known, voters) = (self.members.supernodes.len(), self.voters().count());
        // An even number of voters bears no more losses than one fewer.
        if voters != known - usize::from(known.is_multiple_of(2)) {
            return Err(format!("{name}: {voters} of {known} supernodes have a vote so far"));
        }
        Ok(())
    }
}

impl Lab {
    /// Starts a new supernode and waits until it listens; if others are there, until it is one of them
    ///
    /// # Errors
    /// It did not start, or not in time; it is left as it is.
    pub fn add_supernode(&self, name: &str) -> Result<(), LabError> {
        let state = self.state()?;
        let founder = state.processes.iter().find(|process| process.role == Role::Supernode);
        let entry = founder.map(|founder| self.entry(&state, founder, name)).transpose()?;
        self.mount_disk(name)?;
        let home = self.book.new_home(name, state.seed)?;
        let options = &self.options;
        let (secret, any) = (options.secret.as_deref(), self.any_port(state.processes.len()));
        let (degree, lease) = (state.degree, options.lease);
        let seed = match &entry {
            None => state.seed,
            Some(_) => Draw::of(state.seed, name).number(),
        };
        let (links_max, entry_of_it) = (options.links_max, entry.as_ref());
        let args =
            SupernodeArgs { home: &home, listen: &any, degree, lease, seed, secret, links_max, entry: entry_of_it };
        self.book.record(Process {
            name: name.into(),
            role: Role::Supernode,
            process: None,
            args: args.list(),
            home: home.clone(),
        })?;
        self.spawn(name)?;
        let listen = self.wait_listening(name)?;
        // Peers know the supernode by this address, so a restart must come back to it.
        let args = SupernodeArgs { listen: &listen, ..args }.list();
        self.book.change(name, |process| process.args = args)?;
        self.progress.say(&format!("{name} listens at {listen}"));
        if entry.is_some() {
            let took = self.wait_listed(name)?;
            self.progress.say(&format!("{name} is one of the supernodes after {} ms", took.as_millis()));
        }
        Ok(())
    }

    /// What lets `name` into the network of `founder`, whose home has the network's key
    fn entry(&self, state: &State, founder: &Process, name: &str) -> Result<Entry, LabError> {
        let key = Identity::from_seed(draw::key(state.seed, name)).key();
        // Of those that were taken out there may be more than a newcomer may be told of.
        let runs = |process: &&Process| process.role == Role::Supernode && process.condition() == Condition::Running;
        let running = state.processes.iter().filter(runs).filter_map(book::listen).map(str::to_owned).collect();
        let contacts = Some(running).filter(|running: &Vec<String>| !running.is_empty());
        let contacts = contacts.map_or_else(|| self.book.listening(state), Ok)?;
        Ok(Entry { contacts, certificate: self.certify(&founder.home, key)? })
    }

    fn certify(&self, home: &Path, key: Key) -> Result<String, LabError> {
        let mut command = role::command(&self.options.binary, Role::Supernode, false, &role::certify(home, key));
        let output = command.stdin(Stdio::null()).output().map_err(io_error("run kith-supernode certify"))?;
        let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !line.is_empty() {
            return Ok(line);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Options(format!("kith-supernode certify failed: {said}")))
    }

    /// Waits until the supernode `name` says where it listens
    pub(super) fn wait_listening(&self, name: &str) -> Result<String, LabError> {
        let node = self.node(name)?;
        let mut listen = String::new();
        let wait = self.wait_for_process(&node.name, "it to listen", || {
            listen = node.listen().map_err(|error| error.to_string())?.into_iter().next().unwrap_or_default();
            if listen.is_empty() { Err("it listens nowhere yet".into()) } else { Ok(()) }
        });
        wait.map(|_| listen)
    }

    /// Waits until the supernode `name` finds itself among the supernodes of its network
    fn wait_listed(&self, name: &str) -> Result<Duration, LabError> {
        let node = self.node(name)?;
        self.wait_for_process(&node.name, "it to be let in", || {
            let Standing { status, members, .. } = Standing::of(node.clone()).map_err(|error| error.to_string())?;
            match members.supernodes.iter().any(|member| member.here) && status.reason.is_none() {
                true => Ok(()),
                false => Err(format!("it is not let in yet ({})", status.reason.unwrap_or_default())),
            }
        })
    }

    /// The supernodes that run, each by its own word
    ///
    /// # Errors
    /// One of them cannot be asked.
    pub fn supernodes(&self) -> Result<Vec<Standing>, LabError> {
        self.running(Role::Supernode)?.into_iter().map(Standing::of).collect()
    }

    /// The first supernode that runs and answers, by which the directory is read
    ///
    /// # Errors
    /// None does.
    pub fn directory(&self) -> Result<Standing, LabError> {
        let mut running = self.running(Role::Supernode)?.into_iter();
        let answered = running.find_map(|node| Standing::of(node).ok());
        answered.ok_or_else(|| LabError::NoSupernode("none of them runs and answers".into()))
    }

    /// The supernode that leads, by the word of a majority of those that vote
    ///
    /// # Errors
    /// Nobody does, or too few of them can be asked.
    pub fn leader(&self) -> Result<Node, LabError> {
        let running = self.running(Role::Supernode)?;
        let standings: Vec<Standing> = running.into_iter().filter_map(|node| Standing::of(node).ok()).collect();
        // One that was cut off may go on taking itself for the leader for a while; others take nobody for it.
        let leads = |standing: &&Standing| {
            let serial = Some(standing.status.serial);
            let agreed = standings.iter().filter(|other| other.status.leader == serial).count();
            standing.status.leader == serial && agreed * 2 > standing.voters().count()
        };
        let leader = standings.iter().find(leads).map(|standing| standing.node.clone());
        leader.ok_or_else(|| LabError::NoSupernode("nobody leads them at present".into()))
    }

    /// Whether all supernodes that run have links with each other, take one of them for the leader, and as many of them as
    /// can have a vote; too few of them to agree on anything are as they should be
    ///
    /// # Errors
    /// `NAME: what it lacks`, for the first that lacks something.
    pub fn agreed(&self) -> Result<(), String> {
        let standings = self.supernodes().map_err(|error| error.to_string())?;
        let Some(first) = standings.first() else { return Ok(()) };
        let runs = |serial: &u64| standings.iter().any(|standing| standing.status.serial == *serial);
        let voters: Vec<u64> = first.voters().collect();
        if voters.iter().filter(|serial| runs(serial)).count() * 2 <= voters.len() {
            return Ok(());
        }
        standings.iter().try_for_each(|standing| standing.agrees(&standings))
    }

    /// Waits until the supernodes agree, as [`Self::agreed`] says; how long that took
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what was lacking at last.
    pub fn wait_agreed(&self) -> Result<Duration, LabError> {
        self.wait_until("the supernodes to agree", READY_LIMIT, || self.agreed())
    }

    /// Where the supernodes listen
    ///
    /// # Errors
    /// None has listened yet.
    pub fn listening(&self) -> Result<Vec<String>, LabError> {
        self.book.listening(&self.state()?)
    }

    /// Where these of the supernodes listen
    ///
    /// # Errors
    /// There is none of one of the names.
    pub(crate) fn listening_of(&self, names: &[String]) -> Result<Vec<String>, LabError> {
        let processes = names.iter().map(|name| self.book.process(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(processes.iter().filter_map(book::listen).map(str::to_owned).collect())
    }

    /// Takes the supernode `name` out of the network, by the word of the others; its process is left as it is
    ///
    /// # Errors
    /// The others do not know it, cannot be asked, or refuse.
    pub fn remove_supernode(&self, name: &str) -> Result<(), LabError> {
        let process = self.book.process(name)?;
        let at = book::listen(&process);
        let known = self.directory()?.members.supernodes;
        let known = known.iter().find(|member| at.is_some_and(|at| member.locations.iter().any(|known| known == at)));
        let serial = known.map(|member| member.serial);
        let serial = serial.ok_or_else(|| LabError::NoSupernode(format!("{name} is none of them")))?;
        let mut others = self.running(Role::Supernode)?.into_iter().filter(|node| node.name != process.name);
        let other = others.next().ok_or_else(|| LabError::NoSupernode("no other one runs".into()))?;
        other
            .ask::<RemoveSupernodeAnswer>(
                &supernode::Request::RemoveSupernode { serial, leaves_one: false },
                REMOVE_LIMIT,
            )
            .map(|_| ())
    }

    /// Waits until `old`, which was taken out, has ended, `new` has the vote in its place, and all agree
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what was lacking at last.
    pub(crate) fn wait_replaced(&self, old: &str, new: &str) -> Result<(), LabError> {
        let what = format!("{old} to end, and {new} to vote");
        self.wait_until(&what, REPLACE_LIMIT, || self.is_replaced(old, new))?;
        self.wait_agreed().map(drop)
    }

    /// Whether the old one has ended, and the new one votes by its own word, or could if an odd number did
    fn is_replaced(&self, old: &str, new: &str) -> Result<(), String> {
        let text = |error: LabError| error.to_string();
        let state = self.state().map_err(text)?;
        if state.process(old).is_some_and(|process| process.condition() != Condition::Ended) {
            return Err(format!("{old} still runs"));
        }
        let standing = self.node(new).and_then(Standing::of).map_err(text)?;
        let voters: Vec<u64> = standing.voters().collect();
        match voters.contains(&standing.status.serial) || voters.len() + 1 == standing.members.supernodes.len() {
            true => Ok(()),
            false => Err(format!("{new} has no vote")),
        }
    }
}
