//! A steady flow of messages or calls from one peer to another, and what became of each.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kith_runtime::stall;

use crate::error::LabError;
use crate::fate::Fate;
use crate::node::Node;

/// Messages without a fate at one time: 30 s of one every 20 ms. Beyond it a message is not sent, and counted so.
const IN_FLIGHT_MAX: usize = 1_500;

/// Asks a peer's daemon for the n-th message or call to somebody
type Ask = fn(&Node, &str, u32) -> Result<Fate, LabError>;

/// One message of a flow
#[derive(Clone, Debug)]
pub struct Sent {
    /// When it was handed to its daemon
    pub sent: Instant,
    /// When its fate was known here
    pub done: Instant,
    /// Its fate; without one, why it is not known
    pub fate: Result<Fate, String>,
}

/// A flow that runs; [`Flow::stop`] ends it
#[derive(Debug)]
pub struct Flow {
    running: Arc<AtomicBool>,
    latest: Arc<Mutex<Option<Fate>>>,
    sender: JoinHandle<Vec<JoinHandle<()>>>,
    sent: Receiver<Sent>,
    every: Duration,
}

/// A flow in numbers
#[derive(Clone, Debug)]
pub struct Summary {
    /// The longest time in which nothing arrived, beyond the sending interval
    pub outage: Duration,
    /// When that time began: the last arrival before it
    pub outage_start: Option<Instant>,
    pub messages: usize,
    pub delivered: usize,
    /// Those that were sent more than once
    pub resent: usize,
    /// Those that a supernode carried
    pub relayed: usize,
    /// Those with another fate
    pub failed: usize,
    /// Those whose fate nobody knows
    pub unknown: usize,
}

impl Flow {
    /// Starts sending a message from `from` to `to` every `every`, each on a socket and in a thread of its own
    pub fn start(from: Node, to: String, every: Duration) -> Self {
        Self::of(from, to, every, |from, to, number| from.send(to, &format!("message {number}")))
    }

    /// Starts calling `echo` at `to` every `every`, likewise
    pub fn of_calls(from: Node, to: String, every: Duration) -> Self {
        Self::of(from, to, every, |from, to, number| from.echo(to, &format!("call {number}")).map(Fate::bare))
    }

    fn of(from: Node, to: String, every: Duration, ask: Ask) -> Self {
        let (fates, sent) = mpsc::channel();
        let running = Arc::new(AtomicBool::new(true));
        let latest = Arc::new(Mutex::new(None));
        let sender = {
            let (running, latest) = (Arc::clone(&running), Arc::clone(&latest));
            thread::spawn(move || send_all((&from, &to, ask), every, &running, &latest, &fates))
        };
        Self { running, latest, sender, sent, every }
    }

    /// The newest message that arrived, in the order of arrival
    pub fn latest(&self) -> Option<Fate> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops sending and waits until every message has a fate
    pub fn stop(self) -> Vec<Sent> {
        self.running.store(false, Ordering::Relaxed);
        let threads = self.sender.join().unwrap_or_else(|panic| resume_unwind(panic));
        threads.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        self.sent.try_iter().collect()
    }

    /// The interval between two messages
    pub fn every(&self) -> Duration {
        self.every
    }
}

fn send_all(
    (from, to, ask): (&Node, &str, Ask),
    every: Duration,
    running: &AtomicBool,
    latest: &Arc<Mutex<Option<Fate>>>,
    fates: &Sender<Sent>,
) -> Vec<JoinHandle<()>> {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let start = Instant::now();
    for number in 0u32.. {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        if threads.len() < IN_FLIGHT_MAX {
            let (from, to, fates, latest) = (from.clone(), to.to_owned(), fates.clone(), Arc::clone(latest));
            threads.push(thread::spawn(move || send_one((&from, &to, ask), number, &latest, &fates)));
        } else {
            let now = Instant::now();
            let full = Err(format!("{IN_FLIGHT_MAX} messages are without a fate; this one was not sent"));
            let _ = fates.send(Sent { sent: now, done: now, fate: full });
        }
        // Counted from the start, so that a late wake-up makes no message late but its own.
        let next = start + every.saturating_mul(number + 1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    threads
}

fn send_one((from, to, ask): (&Node, &str, Ask), number: u32, latest: &Mutex<Option<Fate>>, fates: &Sender<Sent>) {
    let sent = Instant::now();
    let fate = ask(from, to, number).map_err(|error| error.to_string());
    let done = Instant::now();
    if let Ok(answer) = &fate
        && answer.is_delivered()
    {
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        stall::progressed();
    }
    // The receiver lives until the flow has stopped.
    let _ = fates.send(Sent { sent, done, fate });
}

impl Summary {
    /// Counts the messages of a flow that sent one every `every`
    pub fn of(sent: &[Sent], every: Duration) -> Self {
        let fates = || sent.iter().filter_map(|sent| sent.fate.as_ref().ok());
        let (outage, outage_start) = outage(sent, every);
        let delivered = fates().filter(|answer| answer.is_delivered()).count();
        let known = fates().count();
        Self {
            outage,
            outage_start,
            messages: sent.len(),
            delivered,
            resent: fates().filter(|answer| answer.attempts > 1).count(),
            relayed: fates().filter(|answer| answer.relayed).count(),
            failed: known - delivered,
            unknown: sent.len() - known,
        }
    }
}

/// The longest gap between two arrivals, less the interval, and the arrival before it
fn outage(sent: &[Sent], every: Duration) -> (Duration, Option<Instant>) {
    let arrived = |sent: &&Sent| sent.fate.as_ref().is_ok_and(Fate::is_delivered);
    let mut arrivals: Vec<Instant> = sent.iter().filter(arrived).map(|sent| sent.done).collect();
    // Whoever hears nothing, or nothing any more, has an outage from the start or to the end of the flow.
    arrivals.extend(sent.iter().map(|sent| sent.sent).min());
    let end = sent.iter().map(|sent| sent.sent).max();
    arrivals.extend(end.filter(|end| arrivals.iter().all(|arrival| arrival < end)));
    arrivals.sort_unstable();
    let gaps = arrivals.iter().zip(arrivals.iter().skip(1));
    let longest = gaps.map(|(a, b)| (b.duration_since(*a), *a)).max_by_key(|(gap, _)| *gap);
    longest.map_or((Duration::ZERO, None), |(gap, at)| (gap.saturating_sub(every), Some(at)))
}

/// The middle value; the lower one of two
pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kith_common::status::Status;

    use super::*;

    const EVERY: Duration = Duration::from_millis(20);

    /// Messages that were sent every 20 ms and arrived at these times
    fn flow(start: Instant, arrivals: &[(u64, u64)]) -> Vec<Sent> {
        let message = |(number, (at, attempts)): (usize, &(u64, u64))| Sent {
            sent: start + EVERY * u32::try_from(number).expect("small"),
            done: start + Duration::from_millis(*at),
            fate: Ok(Fate { attempts: *attempts, ..Fate::bare(Status::Delivered) }),
        };
        arrivals.iter().enumerate().map(message).collect()
    }

    #[test]
    fn outage_is_the_longest_gap_beyond_the_interval() {
        let start = Instant::now();
        let sent = flow(start, &[(1, 1), (21, 1), (160, 2), (161, 1), (180, 1)]);
        let summary = Summary::of(&sent, EVERY);
        assert_eq!(summary.outage, Duration::from_millis(119));
        assert_eq!(summary.outage_start, Some(start + Duration::from_millis(21)));
        assert_eq!((summary.messages, summary.delivered, summary.resent), (5, 5, 1));
    }

    #[test]
    fn outage_without_an_end_lasts_to_the_last_message() {
        let mut sent = flow(Instant::now(), &[(1, 1), (21, 1), (41, 1), (61, 1), (81, 1)]);
        for message in sent.iter_mut().skip(2) {
            message.fate = Ok(Fate::bare(Status::TimedOut));
        }
        let summary = Summary::of(&sent, EVERY);
        assert_eq!(summary.outage, Duration::from_millis(80 - 21 - 20));
        assert_eq!((summary.failed, summary.unknown), (3, 0));
    }

    #[test]
    fn flow_of_which_nothing_arrives_is_one_outage() {
        let mut sent = flow(Instant::now(), &[(1, 1), (21, 1), (41, 1)]);
        sent.iter_mut().for_each(|message| message.fate = Err("cut".into()));
        assert_eq!(Summary::of(&sent, EVERY).outage, Duration::from_millis(40 - 20));
    }

    #[test]
    fn message_without_an_answer_has_no_known_fate() {
        let mut sent = flow(Instant::now(), &[(1, 1), (21, 1), (41, 1)]);
        sent.iter_mut().take(1).for_each(|message| message.fate = Err("cut".into()));
        sent.iter_mut().skip(2).for_each(|message| message.fate = Err("the daemon hung up".into()));
        assert_eq!(Summary::of(&sent, EVERY).unknown, 2);
    }

    #[test]
    fn nothing_sent_is_no_outage() {
        assert_eq!(Summary::of(&[], EVERY).outage, Duration::ZERO);
    }

    #[test]
    fn median_is_the_middle_one() {
        let ms = |values: &[u64]| values.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(median(ms(&[9, 1, 5])), Duration::from_millis(5));
        assert_eq!(median(ms(&[9, 1, 5, 7])), Duration::from_millis(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
