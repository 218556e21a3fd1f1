//! A load on a mesh that is disturbed, and what comes of it once it has settled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use kith_runtime::control::peer::{OutboxAnswer, Request};
use kith_runtime::stall;

use super::books::Books;
use super::judge::{Kind, Verdict};
use super::load;
use crate::error::{LabError, io_error};
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::node::{LOOK_LIMIT, Node};
use crate::output;
use crate::role::Role;

/// Within which a daemon that lives answers what it was asked for, and the mesh has its links again
const SETTLED_LIMIT: Duration = Duration::from_secs(60);
/// Within which everything that was accepted is delivered once nothing is disturbed any more: who cannot be reached is tried
/// again every 30 s at most, and the rest is for a long queue on a slow disk
const DELIVERED_LIMIT: Duration = Duration::from_secs(240);
/// Fates that are asked for a second time at the end, of each sender: half of those that it remembers, so that none is
/// forgotten meanwhile
const ASKED_AGAIN: usize = 5_000;
/// A peer's resident memory at most, in MB: an out-box of 64 MB in memory, as much again of questions of others and of its
/// own that are under way, and twice what it takes at rest
const RESIDENT_MAX_MB: f64 = 200.0;
/// From one look at the processes' memory to the next
const MEMORY_EVERY: Duration = Duration::from_secs(1);
/// From one word on how far it has come to the next
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Mistakes that are shown of each kind; a file in the lab's directory has all
const SHOWN_MAX: usize = 10;

/// How much is sent
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many pairs of peers; none: all
    pub(crate) pairs: Option<usize>,
    /// Messages a second, of all pairs together
    pub(crate) rate: f64,
    /// Bytes of a message at least
    pub(crate) bytes: usize,
}

/// Resident memory in KiB, by the names of the peers
type Memory = BTreeMap<String, u64>;

/// What there is to say at the end
#[derive(Debug, Default)]
pub(super) struct Ended {
    verdict: Verdict,
    /// Mistakes, with the way of each
    mistakes: Vec<(Kind, String)>,
    /// What is wrong and no one message's
    faults: Vec<String>,
    /// Messages that are in an out-box still
    waiting: u64,
    at_end: Memory,
    largest: Memory,
    /// How long messages were sent, in seconds
    sent_s: f64,
}

/// Sends and reads while `disturb` does what it does to the mesh, waits until everything has settled, and judges; the lab is
/// ended
///
/// # Errors
/// What `disturb` could not do, or the lab cannot be read.
pub(super) fn under_load<T>(
    lab: &Lab,
    load: Load,
    disturb: impl FnOnce(&Books) -> Result<T, LabError>,
) -> Result<(T, Ended), LabError> {
    let books = Books::of(lab, load.pairs.unwrap_or(usize::MAX), load.bytes)?;
    let every = Duration::from_secs_f64(books.pairs.len() as f64 / load.rate.max(0.001));
    let ways: Vec<String> = books.pairs.iter().map(|pair| pair.way()).collect();
    lab.progress().say(&format!("messages flow since {}: {}", time_of_day(), ways.join(", ")));
    let peers = lab.running(Role::Peer)?;
    let senders: BTreeSet<&str> = books.pairs.iter().map(|pair| pair.from.name.as_str()).collect();
    let (disturbed, mut ended) = thread::scope(|scope| {
        let books = &books;
        let sending = books.pairs.iter().map(|pair| scope.spawn(move || load::send(books, pair, every)));
        let sending: Vec<_> = sending.collect();
        for peer in &peers {
            scope.spawn(move || load::read(books, peer));
            if senders.contains(peer.name.as_str()) {
                scope.spawn(move || load::ask_fates(books, peer));
            }
        }
        let memory = scope.spawn(move || watch_memory(lab, books));
        scope.spawn(move || tell(lab, books));
        let disturbed = disturb(books);
        let mut ended = Ended { sent_s: books.began.elapsed().as_secs_f64(), ..Ended::default() };
        books.end_sending();
        if disturbed.is_ok() {
            settle(lab, books, &peers, &sending, &mut ended);
        }
        let at_end = lab.usages(Role::Peer).unwrap_or_default();
        ended.at_end = at_end.into_iter().map(|(name, usage)| (name, usage.rss_kib)).collect();
        books.end_all();
        ended.largest = memory.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Whoever waits for an answer still is told by the daemon's end that none comes.
        let down = lab.down();
        (disturbed.and_then(|disturbed| down.map(|()| disturbed)), ended)
    });
    for (pair, verdict) in books.judge() {
        let told = verdict.mistakes.iter();
        let told =
            told.map(|mistake| (mistake.kind, format!("{}: message {}: {}", pair.way(), mistake.number, mistake.text)));
        ended.mistakes.extend(told);
        ended.verdict.add(verdict);
    }
    ended.faults.extend(books.strays());
    show(lab.dir(), &ended)?;
    Ok((disturbed?, ended))
}

/// Waits for each thing that must come by itself once nothing is disturbed; what does not is a fault, and the next one is
/// waited for all the same
fn settle(lab: &Lab, books: &Books, peers: &[Node], sending: &[ScopedJoinHandle<'_, ()>], ended: &mut Ended) {
    let mut wait = |what: &str, limit, holds: &mut dyn FnMut() -> Result<(), String>| {
        let waited = lab.wait_until(what, limit, holds);
        match &waited {
            Ok(took) => lab.progress().say(&format!("{what}: after {} ms", took.as_millis())),
            Err(error) => ended.faults.push(error.to_string()),
        }
        waited.is_ok()
    };
    let left = |what: &str, count: usize| if count == 0 { Ok(()) } else { Err(format!("{count} {what}")) };
    wait("every daemon to answer what it was asked for", SETTLED_LIMIT, &mut || {
        left("senders wait", sending.iter().filter(|thread| !thread.is_finished()).count())
    });
    wait("everybody to hold their links", SETTLED_LIMIT, &mut || lab.settled());
    let mut waiting = 0;
    wait("every out-box to be empty", DELIVERED_LIMIT, &mut || {
        let told = outboxes(peers);
        waiting = told.iter().map(|(_, messages, _)| messages).sum();
        match told.first() {
            None => Ok(()),
            Some((name, messages, why)) => Err(format!("{name} has {messages} messages, the first one as {why}")),
        }
    });
    wait("every in-box to be read", SETTLED_LIMIT, &mut || {
        for peer in peers {
            left("messages", peer.inbox().map_err(|error| error.to_string())?.len())?;
        }
        Ok(())
    });
    let fates = &mut || left("messages have no fate that is known", books.open());
    if wait("every fate to be known", SETTLED_LIMIT, fates) {
        books.ask_again(ASKED_AGAIN);
        wait("the last fates to be known once more", SETTLED_LIMIT, fates);
    }
    ended.waiting = waiting;
}

/// Who has how many messages in the out-box, and why the first of them is there
fn outboxes(peers: &[Node]) -> Vec<(String, u64, String)> {
    let told = |peer: &Node| match peer.ask::<OutboxAnswer>(&Request::Outbox, LOOK_LIMIT) {
        Ok(done) => {
            let first = done.answer.waiting.first().and_then(|first| first.reason.clone());
            (peer.name.clone(), done.answer.messages, first.unwrap_or_else(|| "it says no reason".into()))
        }
        Err(error) => (peer.name.clone(), 1, error.to_string()),
    };
    peers.iter().map(told).filter(|(_, messages, _)| *messages > 0).collect()
}

/// The most that each peer has had
fn watch_memory(lab: &Lab, books: &Books) -> Memory {
    let mut largest = Memory::new();
    while !books.all_is_over() {
        for (name, usage) in lab.usages(Role::Peer).unwrap_or_default() {
            let most = largest.entry(name).or_default();
            *most = usage.rss_kib.max(*most);
        }
        thread::sleep(MEMORY_EVERY);
    }
    largest
}

fn tell(lab: &Lab, books: &Books) {
    let mut told = Instant::now();
    while !books.all_is_over() {
        thread::sleep(MEMORY_EVERY);
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let (accepted, arrived) = (books.accepted(), books.arrived());
            let at = books.began.elapsed().as_secs();
            lab.progress().say(&format!("{at} s: {accepted} messages accepted, {arrived} read"));
            stall::progressed();
        }
    }
}

/// All mistakes into a file, the first ones for whoever watches
fn show(dir: &Path, ended: &Ended) -> Result<(), LabError> {
    let mut lines = ended.faults.clone();
    for kind in Kind::ALL {
        let of_kind = ended.mistakes.iter().filter(|(is, _)| *is == kind);
        let of_kind: Vec<String> = of_kind.map(|(_, text)| format!("{}: {text}", kind.words())).collect();
        of_kind.iter().take(SHOWN_MAX).for_each(|line| output::note(line));
        lines.extend(of_kind);
    }
    ended.faults.iter().take(SHOWN_MAX).for_each(|fault| output::note(&format!("a fault: {fault}")));
    let path = dir.join("mistakes");
    std::fs::write(&path, lines.join("\n")).map_err(io_error(format!("write {}", path.display())))
}

impl Ended {
    pub(super) fn accepted(&self) -> usize {
        self.verdict.accepted
    }

    /// What is wanted of every soak
    pub(super) fn figures(&self) -> Vec<Figure> {
        let Self { verdict, mistakes, faults, waiting, at_end, largest, sent_s } = self;
        let count = |what: &str, count: usize| Figure::told(what, count as f64, "");
        let none = |what: &str, count: usize| Figure::at_most(what, Some(count as f64), 0.0, "");
        let mut figures = vec![
            count("messages accepted", verdict.accepted),
            Figure::told("… a second", verdict.accepted as f64 / sent_s.max(0.001), ""),
            Figure::told(
                "from the sender's request to the receiver's reading, median",
                goals::rank(&verdict.took_s, 50),
                "s",
            ),
            Figure::told("… 99 of a hundred", goals::rank(&verdict.took_s, 99), "s"),
            Figure::told("… the longest", goals::rank(&verdict.took_s, 100), "s"),
            count("refused", verdict.refused),
            count("without an answer, as their daemons died", verdict.unsure),
            count("… of which have arrived", verdict.unsure_arrived),
            count("fates that say that it may have arrived", verdict.open),
            count("… of which have", verdict.open_arrived),
        ];
        let of_kind = |kind: Kind| mistakes.iter().filter(|(is, _)| *is == kind).count();
        figures.extend(Kind::ALL.into_iter().map(|kind| none(kind.words(), of_kind(kind))));
        figures.push(none("in an out-box at the end", usize::try_from(*waiting).unwrap_or(usize::MAX)));
        figures.push(none("other faults", faults.len()));
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let told = |(name, kib): (&String, &u64)| Figure::told(format!("{name} resident at the end"), mb(*kib), "MB");
        figures.extend(at_end.iter().map(told));
        let most = largest.values().copied().max().map(mb);
        figures.push(Figure::at_most("a peer resident, the most ever", most, RESIDENT_MAX_MB, "MB"));
        figures
    }
}

/// UTC, as logs have it, so that they can be found
pub(super) fn time_of_day() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs() % (24 * 60 * 60);
    format!("{:02}:{:02}:{:02}.{:03} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60, now.subsec_millis())
}
