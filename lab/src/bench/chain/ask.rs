//! What the bench asks its processes, and what they answer: a line of JSON each, over standard input and output.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Processes of a chain: a sender, three forwarders, a receiver
pub(super) const PLACES: usize = 5;
/// The receiver's place; the sender's is 0
pub(super) const LAST: usize = PLACES - 1;

/// One question or order; each gets one [`Answer`]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Connect to the next of the chain, and wait for the one before
    Connect { next: Option<String> },
    /// Sender: as many messages of this size as go through, until [`Ask::Stop`]
    Send { bytes: usize },
    /// Sender: no more
    Stop,
    /// Receiver: count what comes, once it has come for a while
    Count { warm_ms: u64, measured_ms: u64 },
    /// Receiver: wait until so many have come since the last time, though not for ever
    Settle { messages: u64 },
    /// Receiver: send everything back from now on, or count it
    Echo { on: bool },
    /// Sender: one message at a time, there and back
    RoundTrips { bytes: usize, measured_ms: u64 },
    /// What went wrong on the way so far
    Faults,
}

/// What came of an [`Ask`]; the first one, [`Answer::Listening`], comes unasked
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Where the one before is to connect to
    Listening {
        at: String,
    },
    Done,
    /// Messages since [`Ask::Send`]
    Sent {
        messages: u64,
    },
    /// Messages in the time that was measured
    Counted {
        messages: u64,
        took_us: u64,
    },
    /// Messages that have come since the last time
    Settled {
        messages: u64,
    },
    /// One message at a time
    RoundTrips(RoundTrips),
    /// Packets passed on by real decisions, and those that were not
    Faults {
        forwarded: u64,
        dropped: u64,
    },
    Failed {
        reason: String,
    },
}

/// Times from a message's leaving to its coming back
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RoundTrips {
    pub(super) count: usize,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl RoundTrips {
    /// Round trips kept at most: ten seconds of the fastest
    pub(super) const MAX: usize = 500_000;
    /// The first few find caches cold
    pub(super) const SKIPPED: usize = 20;

    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.drain(..Self::SKIPPED.min(times.len() / 2));
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6);
        Self { count: times.len(), p50_us: at(50), p99_us: at(99) }
    }
}

/// How long the receiver waits for what was sent, once nothing more is sent
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(3);
/// How long a message may take there and back before it counts as lost
pub(super) const ROUND_TRIP_LIMIT: Duration = Duration::from_secs(3);

/// Hands each order to `take` as it comes; when no more can come the process ends, and nothing is left behind
pub(super) fn read_asks(mut take: impl FnMut(Ask) + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.map(|line| serde_json::from_str(&line)) {
                Ok(Ok(ask)) => take(ask),
                Ok(Err(error)) => answer(&Answer::Failed { reason: error.to_string() }),
                Err(_) => break,
            }
        }
        std::process::exit(0);
    });
}

/// Gives an answer; nobody is left to be told if nobody reads it, and then the process ends
pub(super) fn answer(answer: &Answer) {
    let mut out = std::io::stdout().lock();
    let written = serde_json::to_string(answer).map_err(std::io::Error::from).and_then(|line| writeln!(out, "{line}"));
    if written.and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// The last answer of a process that cannot go on
pub(super) fn fail(reason: String) -> ExitCode {
    answer(&Answer::Failed { reason });
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_leave_out_the_first_round_trips() {
        let cold = (0..20).map(|_| Duration::from_secs(9));
        let times = cold.chain((0..100).map(Duration::from_micros));
        assert_eq!(RoundTrips::of(times.collect()), RoundTrips { count: 100, p50_us: 50.0, p99_us: 99.0 });
        assert_eq!(RoundTrips::of(Vec::new()), RoundTrips::default());
    }

    #[test]
    fn orders_and_answers_survive_the_way_as_lines() {
        let ask = Ask::Count { warm_ms: 1, measured_ms: 2 };
        let line = serde_json::to_string(&ask).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Ask>(&line).unwrap(), ask);
        let answer = Answer::RoundTrips(RoundTrips { count: 1, p50_us: 2.5, p99_us: 3.5 });
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}
