//! The applications of a soak: each pair's sender, a reader for each in-box, and whoever asks for the fates.
//!
//! All of them lose their daemons at any time, and come back as soon as these do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kith_common::id::MessageId;
use kith_runtime::control::client::{self, Answers, ClientError};
use kith_runtime::control::peer::{InboxLine, READ_MAX, ReadAnswer, Request};

use super::books::{Books, Pair};
use crate::node::{Node, SEND_LIMIT};

/// How long a message may wait: longer than any soak, so that nothing is late
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Requests of one sender without an answer
const UNDER_WAY_MAX: usize = 64;
/// So long a sender waits that was told that there is no room
const REST: Duration = Duration::from_millis(500);
/// From one look to the next at what may have changed: whether a daemon is back, whether there is something to read
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Fates that are asked for over one connection before any answer is read: they fit into what a socket holds
const FATES_AT_ONCE: usize = 128;

/// How a sender's connection with its daemon is
#[derive(Debug, Default)]
struct Connection {
    under_way: AtomicUsize,
    /// Whether the daemon has hung up
    is_broken: AtomicBool,
    /// Whether the daemon has refused something since it was looked at
    is_full: AtomicBool,
}

/// Asks for the messages of one pair, one each `every`, until sending is over and all that was asked for is answered, or its
/// daemon has hung up
pub(super) fn send(books: &Books, pair: &Pair, every: Duration) {
    while !books.sending_is_over() {
        match client::open_many(&pair.from.home) {
            Ok((asker, answers)) => {
                let connection = Connection::default();
                thread::scope(|scope| {
                    scope.spawn(|| hear(books, pair, answers, &connection));
                    ask(books, pair, asker, every, &connection);
                });
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

fn hear(books: &Books, pair: &Pair, answers: Answers, connection: &Connection) {
    for answer in answers {
        let Ok((number, line)) = answer else { break };
        if books.answered(pair, number, &line) {
            connection.is_full.store(true, Ordering::Relaxed);
        }
        connection.under_way.fetch_sub(1, Ordering::Relaxed);
    }
    connection.is_broken.store(true, Ordering::Relaxed);
}

fn ask(books: &Books, pair: &Pair, mut asker: client::Asker, every: Duration, connection: &Connection) {
    let mut next = Instant::now();
    while !books.sending_is_over() && !connection.is_broken.load(Ordering::Relaxed) {
        if connection.is_full.swap(false, Ordering::Relaxed) {
            next = Instant::now() + REST;
        }
        let wait = next.saturating_duration_since(Instant::now());
        if !wait.is_zero() || connection.under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
            thread::sleep(wait.clamp(Duration::from_millis(1), LOOK_EVERY));
            continue;
        }
        let (number, body) = books.begin(pair);
        let request = Request::Send { name: pair.to.clone(), body, ttl_s: Some(TTL.as_secs()), wait_ms: Some(0) };
        connection.under_way.fetch_add(1, Ordering::Relaxed);
        if asker.ask(number, &request).is_err() {
            break;
        }
        // What a dead daemon has kept from being sent is not made up for: the load is steady.
        next = (next + every).max(Instant::now());
    }
    // If this fails the daemon is gone, and so are the answers.
    let _ = asker.finish();
}

/// Reads an in-box as an application does until all is over: takes note of what it lists, and then has it removed
///
/// What was listed is listed again if the daemon died before it was told to remove it, or before it had; the place in the
/// in-box tells such a message from a second one. What it has said to be removed must not be listed again.
pub(super) fn read(books: &Books, node: &Node) {
    let mut seen = BTreeMap::new();
    let mut removed = BTreeSet::new();
    while !books.all_is_over() {
        let lines = node.inbox().unwrap_or_default();
        if lines.is_empty() {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        lines.iter().for_each(|line| note(books, node, line, &mut seen, &removed));
        for lines in lines.chunks(READ_MAX) {
            let sequences: Vec<u64> = lines.iter().map(|line| line.sequence).collect();
            let request = Request::Read { sequences: sequences.clone() };
            if node.ask::<ReadAnswer>(&request, SEND_LIMIT).is_ok_and(|done| done.status.is_success()) {
                removed.extend(sequences);
            }
        }
    }
}

fn note(books: &Books, node: &Node, line: &InboxLine, seen: &mut BTreeMap<u64, MessageId>, removed: &BTreeSet<u64>) {
    let (name, sequence, id) = (&node.name, line.sequence, line.id.0);
    match seen.insert(sequence, id) {
        None => books.arrive(name, line),
        Some(before) if before != id => {
            books.stray(format!("{name}: in-box {sequence} was {before:?}, and is {id:?}"));
        }
        Some(_) if removed.contains(&sequence) => {
            books.stray(format!("{name}: in-box {sequence} ({id:?}) was removed, and is there again"));
        }
        Some(_) => {}
    }
}

/// Asks one sender's daemon for the fates of all that it has accepted, each until there is one, until all is over
///
/// It remembers the last 10,000; whoever asks within seconds is in time for each.
pub(super) fn ask_fates(books: &Books, from: &Node) {
    let pairs: Vec<&Pair> = books.pairs.iter().filter(|pair| pair.from.name == from.name).collect();
    while !books.all_is_over() {
        let mut due: Vec<(&Pair, u64, MessageId)> = Vec::new();
        for pair in &pairs {
            let taken = pair.take_due(FATES_AT_ONCE - due.len());
            due.extend(taken.into_iter().map(|(number, id)| (*pair, number, id)));
        }
        if due.is_empty() {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        let mut left: BTreeMap<u64, (&Pair, u64)> = BTreeMap::new();
        left.extend((0..).zip(due.iter().map(|(pair, number, _)| (*pair, *number))));
        let ids: Vec<MessageId> = due.into_iter().map(|(.., id)| id).collect();
        if ask_about(from, &ids, &mut left).is_err() {
            thread::sleep(LOOK_EVERY);
        }
        left.into_values().for_each(|(pair, number)| pair.told(number, None));
    }
}

/// Asks for fates over one connection; what is left has no answer
fn ask_about(from: &Node, ids: &[MessageId], left: &mut BTreeMap<u64, (&Pair, u64)>) -> Result<(), ClientError> {
    let (mut asker, answers) = client::open_many(&from.home)?;
    for (request, id) in (0..).zip(ids) {
        asker.ask(request, &Request::Fate { id: kith_runtime::control::peer::Id(*id) })?;
    }
    asker.finish()?;
    for answer in answers {
        let (request, line) = answer?;
        if let Some((pair, number)) = left.remove(&request) {
            pair.told(number, Some(&line));
        }
    }
    Ok(())
}
