//! Several supernodes side by side, with links between them and an ideal log: what goes to peers is a transcript.

mod backbone;
mod handover;
mod homes;
mod moves;
mod passing;
mod reads;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::testing::certificate_with;
use crate::wire::link::Probe;
use crate::wire::session::Location;

/// A supernode, its boot's number, and how far it has heard the log
struct Node {
    core: Supernode<Ed>,
    heard: usize,
    is_up: bool,
    /// The log tells it nothing
    is_deaf: bool,
}

/// Who is at one end of a link
#[derive(Clone, Copy, Debug)]
enum End {
    Peer { at: usize, peer: u8 },
    Supernode { at: usize, other: LinkId },
}

struct Several {
    nodes: Vec<Node>,
    now: Instant,
    links: BTreeMap<LinkId, End>,
    last_link: u64,
    log: Vec<(Command, Option<(usize, u64)>)>,
    leader: Option<usize>,
    /// Between whom nothing passes; from the first to the second only
    cut: BTreeSet<(usize, usize)>,
    /// The log answers no reads
    are_reads_held: bool,
    frames: VecDeque<(LinkId, Frame)>,
    said: Vec<String>,
}

/// The key of the supernode of this number, counted from 0
fn key_of(node: usize) -> u8 {
    SUPERNODE + 10 + node as u8
}

fn id_of(node: usize) -> SupernodeId {
    SupernodeId(node as u64 + 1)
}

fn entry(node: usize) -> SupernodeEntry {
    let locations = Locations::truncated([Location::truncated(&format!("sn-{node}"))]);
    SupernodeEntry { id: id_of(node), locations, is_voter: true }
}

impl Several {
    /// So many, linked, and each told of all; the first one leads
    fn of(count: usize) -> Self {
        let mut several = Self::unlinked(count);
        several.lead(Some(0));
        several.tell_members(count);
        several.wait(millis(100));
        several.said.clear();
        several
    }

    fn unlinked(count: usize) -> Self {
        let now = Instant::ZERO;
        let mut several = Self {
            nodes: Vec::new(),
            now,
            links: BTreeMap::new(),
            last_link: 0,
            log: Vec::new(),
            leader: None,
            cut: BTreeSet::new(),
            are_reads_held: false,
            frames: VecDeque::new(),
            said: Vec::new(),
        };
        for node in 0..count {
            let node = several.started(node, Directory::new(0), 0, Vec::new());
            several.nodes.push(node);
        }
        several
    }

    fn started(&self, node: usize, directory: Directory, heard: usize, contacts: Vec<Location>) -> Node {
        let rules = AdmissionConfig {
            certificate: certificate_with(NETWORK, key_of(node), id_of(node).0),
            ..(*admission(LEASE)).clone()
        };
        let config =
            SupernodeConfig { id: id_of(node), admission: Arc::new(rules), degree: None, links_max: 100, contacts };
        let rng = ChaCha20Rng::seed_from_u64(node as u64 + 100 * self.now.as_micros());
        let core = Supernode::new(self.now, config, ed(key_of(node)), rng, directory);
        Node { core, heard, is_up: true, is_deaf: false }
    }

    /// The log says that the first so many are the supernodes
    fn tell_members(&mut self, count: usize) {
        for node in 0..self.nodes.len() {
            let entries = (0..count).map(entry).collect();
            self.nodes[node].core.handle_log(self.now, LogEvent::Supernodes(entries));
        }
        self.settle();
    }

    fn lead(&mut self, leader: Option<usize>) {
        self.leader = leader;
        for node in 0..self.nodes.len() {
            self.nodes[node].core.handle_log(self.now, LogEvent::LeaderChanged(leader.map(id_of)));
        }
        self.settle();
    }

    fn core(&self, node: usize) -> &Supernode<Ed> {
        &self.nodes[node].core
    }

    /// The process of this supernode is gone, with its links
    fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        let at = |end: &End| match end {
            End::Peer { at, .. } | End::Supernode { at, .. } => *at,
        };
        let links: Vec<_> = self.links.iter().filter(|(_, end)| at(end) == node).map(|(link, _)| *link).collect();
        links.into_iter().for_each(|link| self.break_link(link));
        self.settle();
    }

    /// The process starts anew with what it had heard of the log
    fn restart(&mut self, node: usize) {
        let (directory, heard) = (self.core(node).directory().clone(), self.nodes[node].heard);
        self.nodes[node] = self.started(node, directory, heard, Vec::new());
        let leader = self.leader.map(id_of);
        let entries = (0..self.nodes.len()).map(entry).collect();
        self.nodes[node].core.handle_log(self.now, LogEvent::LeaderChanged(leader));
        self.nodes[node].core.handle_log(self.now, LogEvent::Supernodes(entries));
        self.settle();
    }

    /// Nothing passes between these two any more, and their links are over
    fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
        if let Some(link) = self.core(a).backbone_to(id_of(b)) {
            self.break_link(link);
        }
        self.settle();
    }

    fn break_link(&mut self, link: LinkId) {
        let Some(end) = self.links.remove(&link) else { return };
        let at = match end {
            End::Peer { at, .. } => at,
            End::Supernode { at, other } => {
                self.break_link(other);
                at
            }
        };
        if self.nodes[at].is_up {
            self.nodes[at].core.handle_closed(self.now, link, "reset");
        }
    }

    fn dial(&mut self, from: usize, dial: &Dial) {
        let to = dial.locations[0].strip_prefix("sn-").unwrap().parse::<usize>().unwrap();
        let is_there = self.nodes.get(to).is_some_and(|node| node.is_up) && to != from;
        if !is_there || self.cut.contains(&(from, to)) {
            return self.nodes[from].core.handle_dial_failed(self.now, dial.number, Status::TimedOut, "nobody answers");
        }
        let [near, far] = [1, 2].map(|next| LinkId(self.last_link + next));
        self.last_link += 2;
        self.links.insert(near, End::Supernode { at: from, other: far });
        self.links.insert(far, End::Supernode { at: to, other: near });
        for (at, with, link, dial) in [(to, from, far, None), (from, to, near, Some(dial.number))] {
            self.open(at, link, key_of(with), Role::Supernode, Purpose::Backbone, dial);
        }
    }

    fn open(&mut self, at: usize, link: LinkId, key: u8, role: Role, purpose: Purpose, dial: Option<u64>) {
        let hello = Hello { role, purpose, boot: 1, nonce: [key; 32], network: None, grant: None };
        let direction = if dial.is_some() { Direction::Outgoing } else { Direction::Incoming };
        let own_nonce = [key_of(at); 32];
        let opened = Opened { link, direction, key: ed(key).key(), hello, own_nonce, dial, remote_ip: None };
        self.nodes[at].core.handle_opened(self.now, &opened);
    }

    /// A link of `peer` to this supernode, and its login on it
    fn ask(&mut self, at: usize, peer: u8, resume: Option<SessionId>) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.links.insert(link, End::Peer { at, peer });
        self.open(at, link, peer, Role::Peer, Purpose::Home, None);
        let handshake = handshake_of(NETWORK, [peer, key_of(at)], [peer, key_of(at)]);
        let login = Login {
            signature: ed(peer).sign(&handshake.login_bytes(&name(peer))),
            name: name(peer),
            secret_proof: None,
            external: Locations::new(),
            listening: Default::default(),
            resume,
            invite: None,
        };
        self.frame(link, Frame::Login(login));
        link
    }

    /// The same, and it is granted
    fn enter(&mut self, at: usize, peer: u8) -> LinkId {
        let link = self.ask(at, peer, None);
        let said = self.take_said();
        assert!(said.contains(&format!("{peer}: Granted")), "{said:?}");
        link
    }

    /// A frame from the peer on this link
    fn frame(&mut self, link: LinkId, frame: Frame) {
        let at = match self.links[&link] {
            End::Peer { at, .. } | End::Supernode { at, .. } => at,
        };
        self.nodes[at].core.handle_frame(self.now, link, frame);
        self.settle();
    }

    /// The peer on this link has gone
    fn close(&mut self, link: LinkId) {
        if let Some(End::Peer { at, .. }) = self.links.remove(&link)
            && self.nodes[at].is_up
        {
            self.nodes[at].core.handle_closed(self.now, link, "reset");
        }
        self.settle();
    }

    /// Everything that is under way gets to where it goes
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for node in 0..self.nodes.len() {
                while self.nodes[node].is_up
                    && let Some(output) = self.nodes[node].core.poll_output()
                {
                    is_quiet = false;
                    self.carry_out(node, output);
                }
            }
            while let Some((link, frame)) = self.frames.pop_front() {
                is_quiet = false;
                self.arrive(link, frame);
            }
            is_quiet &= !self.tell_log();
            if is_quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, node: usize, output: SupernodeOutput) {
        match output {
            SupernodeOutput::Dial(dial) => self.dial(node, &dial),
            SupernodeOutput::Send { link, frame } => match self.links.get(&link) {
                Some(End::Peer { peer, .. }) => {
                    let line = match &frame {
                        Frame::Found(found) if found.is_stale => format!("{} stale", frame_line(&frame)),
                        Frame::Renewed(renewed) if renewed.is_cut_off => "Renewed, cut off".to_owned(),
                        frame => frame_line(frame),
                    };
                    self.said.push(format!("{peer}: {line}"));
                }
                Some(End::Supernode { other, .. }) => self.frames.push_back((*other, frame)),
                None => {}
            },
            SupernodeOutput::Close { link, status, .. } => {
                if let Some(End::Peer { peer, .. }) = self.links.get(&link) {
                    self.said.push(format!("{peer}: Close {}", status.code()));
                }
                self.break_link(link);
            }
            SupernodeOutput::Propose(group) => {
                let is_led = self.leader.is_some_and(|leader| self.nodes[leader].is_up)
                    && !self.leader.is_some_and(|leader| self.cut.contains(&(node, leader)));
                for Proposal { number, command } in group {
                    if is_led {
                        self.log.push((command, Some((node, number))));
                    } else {
                        self.nodes[node].core.handle_log(self.now, LogEvent::Lost { number });
                    }
                }
            }
            SupernodeOutput::Read if self.are_reads_held => {}
            SupernodeOutput::Read => {
                let answer = self.leader.map_or(LogEvent::Unreadable, |_| LogEvent::Readable(self.log.len() as u64));
                self.nodes[node].core.handle_log(self.now, answer);
            }
            SupernodeOutput::Snapshot(_) | SupernodeOutput::Answered { .. } => {}
        }
    }

    fn arrive(&mut self, link: LinkId, frame: Frame) {
        let Some(End::Supernode { at, other }) = self.links.get(&link).copied() else { return };
        let Some(End::Supernode { at: from, .. }) = self.links.get(&other).copied() else { return };
        if self.cut.contains(&(from, at)) {
            return;
        }
        match frame {
            // As links answer by themselves.
            Frame::Probe(Probe { sequence }) => {
                self.frames.push_back((other, Frame::ProbeReply(ProbeReply { sequence })));
            }
            frame => self.nodes[at].core.handle_frame(self.now, link, frame),
        }
    }

    /// Tells every supernode that hears the log what it has not heard
    fn tell_log(&mut self) -> bool {
        let mut is_news = false;
        for node in 0..self.nodes.len() {
            while self.nodes[node].is_up
                && !self.nodes[node].is_deaf
                && let Some((command, by)) = self.log.get(self.nodes[node].heard).cloned()
            {
                is_news = true;
                self.nodes[node].heard += 1;
                let index = self.nodes[node].heard as u64;
                let number = by.filter(|(by, _)| *by == node).map(|(_, number)| number);
                self.nodes[node].core.handle_log(self.now, LogEvent::Committed { index, command, number });
            }
        }
        is_news
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.settle();
        loop {
            let due = self.nodes.iter().filter(|node| node.is_up).filter_map(|node| node.core.next_timeout());
            let Some(at) = due.min().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            for node in 0..self.nodes.len() {
                let Node { core, is_up, .. } = &mut self.nodes[node];
                if *is_up && core.next_timeout().is_some_and(|at| at <= self.now) {
                    core.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = until;
    }

    /// Time passes, in which the peers on these links renew their sessions
    fn live(&mut self, duration: Duration, links: &[LinkId]) {
        let until = self.now + duration;
        while self.now < until {
            self.wait(millis(1_000));
            for link in links {
                let End::Peer { peer, .. } = self.links[link] else { panic!("{link:?}") };
                let (session, epoch) = (self.session(peer), self.core(0).directory().epoch());
                self.frame(*link, Frame::Renew(Renew { session, epoch }));
            }
        }
    }

    /// What peers were told, but for tables, renewals and lists of supernodes
    fn take_said(&mut self) -> Vec<String> {
        let dull = ["Rewire", "Challenge", "Renewed", "Supernodes", "cut off"];
        let mut said = self.take_all_said();
        said.retain(|said| !dull.iter().any(|dull| said.ends_with(dull)));
        said
    }

    fn take_all_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// The commands of this name in the log
    fn logged(&self, name: &str) -> usize {
        self.log.iter().filter(|(command, _)| command_name(command) == name).count()
    }

    fn record(&self, peer: u8) -> Option<&crate::directory::Session> {
        let best = self.nodes.iter().max_by_key(|node| node.heard)?;
        best.core.directory().by_key(&ed(peer).key())
    }

    fn session(&self, peer: u8) -> SessionId {
        self.record(peer).unwrap().id
    }

    fn address(&self, peer: u8) -> Address {
        self.record(peer).unwrap().address
    }

    /// The home of this peer's session, if it has one
    fn home(&self, peer: u8) -> Option<SupernodeId> {
        self.record(peer).map(|session| session.home)
    }
}
