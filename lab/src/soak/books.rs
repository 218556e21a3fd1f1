//! What the applications of a soak have asked for, were told and have read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_runtime::control::client::Line;
use kith_runtime::control::peer::{Body, FateAnswer, Id, InboxLine, SendAnswer};
use kith_runtime::stall;

use super::judge::{self, Answer, Arrival, Record, Told, Verdict};
use crate::draw::Draw;
use crate::error::LabError;
use crate::graph;
use crate::mesh::Lab;
use crate::node::{self, Node};
use crate::role::Role;

/// Bytes of a body at most: more is no message
pub(crate) const BYTES_MAX: usize = 16 << 20;
/// What a body begins with
const MARK: &str = "soak";
/// A fate is asked for this much after the message was accepted, and again as long as there is none
const FATE_EVERY: Duration = Duration::from_secs(1);

/// Everything that is judged
#[derive(Debug)]
pub(super) struct Books {
    pub(super) began: Instant,
    pub(super) pairs: Vec<Pair>,
    /// Bytes of a body at least
    bytes: usize,
    accepted: AtomicU64,
    arrived: AtomicU64,
    /// What the in-boxes held that no pair can be blamed for
    strays: Mutex<Vec<String>>,
    sending_is_over: AtomicBool,
    all_is_over: AtomicBool,
}

/// One application that sends to one receiver
#[derive(Debug)]
pub(super) struct Pair {
    index: usize,
    pub(super) from: Node,
    pub(super) to: Name,
    records: Mutex<Vec<Record>>,
    arrivals: Mutex<Vec<Arrival>>,
    /// Those that were accepted and have no fate yet, and when to ask about them
    open: Mutex<VecDeque<(u64, Instant)>>,
}

/// What a thread that panicked has left is judged like anything else
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    /// Empty books of so many pairs of the running peers, chosen by the lab's seed; bodies have so many bytes at least
    ///
    /// # Errors
    /// The lab cannot be read, or has fewer than two peers.
    pub(super) fn of(lab: &Lab, pairs: usize, bytes: usize) -> Result<Self, LabError> {
        let names: Vec<String> = lab.running(Role::Peer)?.into_iter().map(|peer| peer.name).collect();
        let mut chosen = graph::pairs(&names);
        Draw::of(lab.state()?.seed, "soak pairs").shuffle(&mut chosen);
        let pair = |(index, (from, to)): (usize, (String, String))| {
            let (records, arrivals, open) = (Mutex::default(), Mutex::default(), Mutex::default());
            Ok(Pair { index, from: lab.node(&from)?, to: node::name(&to)?, records, arrivals, open })
        };
        let pairs: Vec<Pair> = chosen.into_iter().take(pairs).enumerate().map(pair).collect::<Result<_, LabError>>()?;
        if pairs.is_empty() {
            return Err(LabError::Options("messages flow between two peers; give --peers and --pairs".into()));
        }
        let (accepted, arrived) = (AtomicU64::new(0), AtomicU64::new(0));
        let (sending_is_over, all_is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (began, strays) = (Instant::now(), Mutex::default());
        Ok(Self { began, pairs, bytes, accepted, arrived, strays, sending_is_over, all_is_over })
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Nothing more is asked for
    pub(super) fn end_sending(&self) {
        self.sending_is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn sending_is_over(&self) -> bool {
        self.sending_is_over.load(Ordering::Relaxed)
    }

    /// Nothing more is read or asked about
    pub(super) fn end_all(&self) {
        self.end_sending();
        self.all_is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn all_is_over(&self) -> bool {
        self.all_is_over.load(Ordering::Relaxed)
    }

    /// A message is about to be asked for: its number, and what it says. Until an answer comes it is unsure.
    pub(super) fn begin(&self, pair: &Pair) -> (u64, Body) {
        let mut records = lock(&pair.records);
        let number = records.len() as u64;
        let asked = self.began.elapsed();
        records.push(Record { asked, answer: Answer::Unsure, said: None, told: None, told_before: None });
        let mut text = format!("{MARK} {} {number} ", pair.index);
        text.push_str(&"x".repeat(self.bytes.saturating_sub(text.len())));
        (number, Body::Text(text))
    }

    /// How many messages were asked for that `peer` sends or is to receive
    pub(super) fn asked_of(&self, peer: &str) -> usize {
        let is_its = |pair: &&Pair| pair.from.name == peer || pair.to.as_str() == peer;
        self.pairs.iter().filter(is_its).map(|pair| lock(&pair.records).len()).sum()
    }

    /// A daemon has answered; whether the sender should wait a little, as there is no room
    pub(super) fn answered(&self, pair: &Pair, number: u64, line: &Line) -> bool {
        stall::progressed();
        let answer = answer(line);
        pair.change(number, |record| (record.answer, record.said) = (answer, line.status));
        if matches!(answer, Answer::Accepted(_)) {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            lock(&pair.open).push_back((number, Instant::now() + FATE_EVERY));
        }
        line.status.is_some_and(|status| !status.is_success())
    }

    /// A reader of `to` sees a message for the first time
    pub(super) fn arrive(&self, to: &str, line: &InboxLine) {
        stall::progressed();
        let sent = sent(&line.body).and_then(|(pair, number)| Some((self.pairs.get(pair)?, number)));
        match sent.filter(|(pair, _)| pair.from.name == line.from.as_str() && pair.to.as_str() == to) {
            Some((pair, number)) => {
                let (sequence, Id(id), at) = (line.sequence, line.id, self.began.elapsed());
                lock(&pair.arrivals).push(Arrival { sequence, id, number, at });
                self.arrived.fetch_add(1, Ordering::Relaxed);
            }
            None => self.stray(format!("{to}: in-box {} of {} is of no pair of theirs", line.sequence, line.from)),
        }
    }

    /// Something is wrong that is no one message's
    pub(super) fn stray(&self, text: String) {
        lock(&self.strays).push(text);
    }

    pub(super) fn strays(&self) -> Vec<String> {
        lock(&self.strays).clone()
    }

    /// How many messages have no fate yet, as far as was asked
    pub(super) fn open(&self) -> usize {
        self.pairs.iter().map(|pair| lock(&pair.open).len()).sum()
    }

    /// Has the fates of the last `count` messages of each sender asked for once more
    pub(super) fn ask_again(&self, count: usize) {
        for pair in &self.pairs {
            let pairs = self.pairs.iter().filter(|other| other.from.name == pair.from.name).count();
            pair.ask_again(count / pairs.max(1));
        }
    }

    /// What came of each pair's messages
    pub(super) fn judge(&self) -> Vec<(&Pair, Verdict)> {
        let judged = |pair: &Pair| judge::judge(&lock(&pair.records), &lock(&pair.arrivals));
        self.pairs.iter().map(|pair| (pair, judged(pair))).collect()
    }
}

impl Pair {
    /// `alice → bob`
    pub(super) fn way(&self) -> String {
        format!("{} → {}", self.from.name, self.to)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Record)) {
        let mut records = lock(&self.records);
        if let Some(record) = usize::try_from(number).ok().and_then(|at| records.get_mut(at)) {
            change(record);
        }
    }

    /// Messages whose fates are to be asked for now, at most so many; each is the caller's from now on
    pub(super) fn take_due(&self, most: usize) -> Vec<(u64, MessageId)> {
        let (now, mut open, records) = (Instant::now(), lock(&self.open), lock(&self.records));
        let mut due = Vec::new();
        while due.len() < most
            && let Some((number, _)) = open.front().filter(|(_, at)| *at <= now).copied()
        {
            open.pop_front();
            let record = usize::try_from(number).ok().and_then(|at| records.get(at));
            if let Some(Record { answer: Answer::Accepted(id), .. }) = record {
                due.push((number, *id));
            }
        }
        due
    }

    /// What was said when a fate was asked for; with `None`, nothing
    pub(super) fn told(&self, number: u64, line: Option<&Line>) {
        match line.and_then(told) {
            None => lock(&self.open).push_back((number, Instant::now() + FATE_EVERY)),
            Some(told) => self.change(number, |record| record.told = Some(told)),
        }
    }

    fn ask_again(&self, count: usize) {
        let (mut open, mut records) = (lock(&self.open), lock(&self.records));
        let known = records.iter_mut().enumerate().rev().filter(|(_, record)| record.told.is_some());
        for (number, record) in known.take(count) {
            record.told_before = record.told.take();
            open.push_back((number as u64, Instant::now()));
        }
    }

    /// How long after `since` a message arrived that was asked for after it, if one has
    pub(super) fn heard_after(&self, since: Duration) -> Option<Duration> {
        let (records, arrivals) = (lock(&self.records), lock(&self.arrivals));
        let later = arrivals.iter().rev().take_while(|arrival| arrival.at >= since);
        let is_after = |number: u64| {
            let record = usize::try_from(number).ok().and_then(|at| records.get(at));
            record.is_some_and(|record| record.asked >= since)
        };
        later.filter(|arrival| is_after(arrival.number)).last().map(|arrival| arrival.at.saturating_sub(since))
    }
}

/// What a daemon says of a message that it was asked to send
///
/// With 408 it does not know itself, and 500 and 503 without a fate are of a daemon that ends: whether it has stored the
/// message, nobody says.
fn answer(line: &Line) -> Answer {
    match (line.status, line.done::<SendAnswer>()) {
        (Some(Status::Delivered | Status::Accepted), Ok(done)) => Answer::Accepted(done.answer.id.0),
        (Some(Status::TimedOut), _) | (Some(Status::Failed | Status::Unavailable), Err(_)) | (None, _) => {
            Answer::Unsure
        }
        _ => Answer::Refused,
    }
}

/// What a daemon says of a fate, if that is final
fn told(line: &Line) -> Option<Told> {
    match (line.status?, line.done::<FateAnswer>()) {
        (Status::Accepted, _) => None,
        (status, Ok(_)) => Some(Told::Fate(status)),
        (Status::NotFound, Err(_)) => Some(Told::Nothing),
        // It could not be asked, as it has too much to do, or ends.
        (_, Err(_)) => None,
    }
}

/// The pair and the number that a body says
fn sent(body: &Body) -> Option<(usize, u64)> {
    let text = std::str::from_utf8(body.bytes()).ok()?;
    let mut words = text.split_ascii_whitespace();
    (words.next() == Some(MARK)).then_some(())?;
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
