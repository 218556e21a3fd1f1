//! Series of pings, as ping(8) sends them: one each interval, whether or not those before it were answered, and what came of
//! them.
//!
//! | what happens | what is done |
//! |---|---|
//! | a series is new | a connection is held with whoever has the name, as a call finds him (`calls`) |
//! | the first time that one stands | the first ping goes, and another one each interval |
//! | none can be had before any ping | the series ends with why not |
//! | none can be had any more | the series goes on, and tries again, as the peer may come back: ping(8) does so, too |
//! | … and never will be: nobody has the name, or he was removed, or this peer has left | the series ends |
//! | a pong comes over a connection with the key that was pinged | it answers the ping of its number |
//! | all pings are sent | the series ends with the last answer, or when that is due no more |
//!
//! A ping is lost where no connection stands, and where more of them wait than QUIC has room for, as a new connection may have
//! little under way: it counts as sent, as one does that gets lost on its way. Numbers are drawn, so that a pong proves that its ping has come. Times are from when this core says a ping to when
//! it hears the pong: both are told by the shell, and the shells of both ends are on the way.

mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kith_common::id::{Key, MessageId, Name};
use kith_common::mutant::{self, Mutant};
use kith_common::status::Status;
use kith_common::time::{Instant, Timers};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

pub use self::tally::Tally;
use super::called::{Called, Why};
use super::wishes::Wish;
use crate::sayings::{PING_BYTES_MAX, PING_BYTES_MIN, ping};

/// Series at once; they cost at most 16 MiB
pub const SERIES_MAX: usize = 64;

/// From one ping of a series to the next at least: a hundred a second see what a person would hear, and are no load
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// … and at most: who wants less often starts another series
pub const INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);

/// For so long a series looks for its peer at most, and for an answer: a connection that is silent for longer is over
pub const TIMEOUT_MAX: Duration = crate::settings::IDLE;

/// Pings of one series whose answers are known as such: those of [`TIMEOUT_MAX`], and some more
const KNOWN_MAX: usize = 8_192;
const _: () = assert!(KNOWN_MAX as u128 * INTERVAL_MIN.as_millis() > TIMEOUT_MAX.as_millis());

/// After the last ping of a series that was answered at all, its answer is waited for so long at least: in which packets wait
/// for the next tables where a link has just ended
const LINGER_MIN: Duration = Duration::from_secs(1);

/// After a connection could not be had, another one is tried so much later, with the ping that is due then
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What a series is to be
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many pings; `None`: until it is ended
    pub count: Option<u64>,
    /// [`INTERVAL_MIN`] to [`INTERVAL_MAX`]
    pub interval: Duration,
    /// Bytes of each ping as it is said, and of its pong: [`PING_BYTES_MIN`] to [`PING_BYTES_MAX`]
    pub size: usize,
    /// How long a connection may take, and an answer; [`TIMEOUT_MAX`] at most
    pub timeout: Duration,
}

/// Why there is no series
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPinged {
    #[error("this peer is not logged in")]
    NotLoggedIn,
    #[error("a count begins at 1")]
    NoPing,
    #[error("an interval is between {} ms and {} s", INTERVAL_MIN.as_millis(), INTERVAL_MAX.as_secs())]
    Interval,
    #[error("a ping has {PING_BYTES_MIN} to {PING_BYTES_MAX} bytes")]
    Size,
    #[error("an answer is waited for {} s at most", TIMEOUT_MAX.as_secs())]
    Timeout,
    #[error("{SERIES_MAX} series of pings are under way")]
    TooMany,
}

impl NotPinged {
    /// As a status
    pub const fn status(self) -> Status {
        match self {
            Self::NotLoggedIn => Status::NotLoggedIn,
            Self::NoPing | Self::Interval | Self::Timeout => Status::Malformed,
            Self::Size => Status::TooLarge,
            Self::TooMany => Status::SlowDown,
        }
    }
}

impl Plan {
    /// # Errors
    /// [`NotPinged`], if it is out of its bounds.
    pub(super) fn check(&self) -> Result<(), NotPinged> {
        match () {
            () if self.count == Some(0) => Err(NotPinged::NoPing),
            () if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&self.interval) => Err(NotPinged::Interval),
            () if !(PING_BYTES_MIN..=PING_BYTES_MAX).contains(&self.size) => Err(NotPinged::Size),
            () if self.timeout > TIMEOUT_MAX => Err(NotPinged::Timeout),
            () => Ok(()),
        }
    }
}

/// What is told of a series
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinged {
    Answered(Pong),
    /// Pings get lost, as there is no connection, and why; it goes on
    Troubled {
        series: MessageId,
        status: Status,
        reason: String,
    },
    /// It is over; nothing more is told of it
    Ended {
        series: MessageId,
        to: Name,
        tally: Tally,
        /// 200 if any ping was answered, else why none was
        status: Status,
        /// Why there was no connection in the end, or no answer; none if all is well
        reason: Option<String>,
    },
}

/// An answer
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    pub series: MessageId,
    /// Of its ping in the series, counted from 1
    pub sequence: u64,
    /// As it was said
    pub bytes: usize,
    /// From its ping to it, in whole microseconds
    pub time: Duration,
    /// Its ping was answered before
    pub is_duplicate: bool,
    /// A later ping was answered before
    pub is_reordered: bool,
    /// It has taken longer than the series' timeout
    pub is_late: bool,
}

/// A ping that was sent
#[derive(Debug)]
struct Sent {
    number: u64,
    at: Instant,
    is_answered: bool,
}

#[derive(Debug)]
struct Series {
    to: Name,
    plan: Plan,
    /// The key whose holder is pinged; `None`: no connection has stood yet
    key: Option<Key>,
    /// It is this peer itself
    is_own: bool,
    tally: Tally,
    /// The last pings, the newest last
    known: VecDeque<Sent>,
    /// The last ping that was answered
    answered: u64,
    /// Why there was no connection when one was looked for last
    trouble: Option<(Status, String)>,
    /// When a connection is looked for anew
    hold_at: Option<Instant>,
}

impl Series {
    fn is_all_sent(&self) -> bool {
        self.plan.count.is_some_and(|count| self.tally.sent >= count)
    }

    /// Until when answers are waited for, once all is sent: as ping(8), twice the longest time, or for the first one as long as
    /// may be
    fn until(&self) -> Instant {
        let last = self.known.back().map(|sent| sent.at).unwrap_or_default();
        let linger = self.tally.most.map(|most| (2 * most).max(self.plan.interval).max(LINGER_MIN));
        last + linger.unwrap_or(self.plan.timeout).min(self.plan.timeout)
    }
}

/// Every series from its beginning to its end
#[derive(Debug, Default)]
pub(super) struct Pings {
    series: BTreeMap<MessageId, Series>,
    /// Series and sequence of each ping that is known
    numbers: BTreeMap<u64, (MessageId, u64)>,
    /// The next ping of each series, or its end
    timers: Timers<MessageId>,
    wishes: VecDeque<Wish>,
}

impl Pings {
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.series.contains_key(id)
    }

    /// Begins a series whose plan is within its bounds
    pub(super) fn begin(&mut self, now: Instant, id: MessageId, to: Name, plan: Plan, is_own: bool) {
        let series = Series {
            to: to.clone(),
            plan,
            key: None,
            is_own,
            tally: Tally::default(),
            known: VecDeque::new(),
            answered: 0,
            trouble: None,
            hold_at: None,
        };
        self.series.insert(id, series);
        if is_own {
            self.timers.set(now, id);
        } else {
            self.wishes.push_back(Wish::Hold { id, to, patience: plan.timeout });
        }
    }

    /// A connection with the holder of this key stands, for the first time or again
    pub(super) fn handle_met(&mut self, now: Instant, id: &MessageId, key: Key) {
        let Some(series) = self.series.get_mut(id) else { return };
        series.trouble = None;
        if series.key.replace(key).is_none() {
            self.timers.set(now, *id);
        }
    }

    /// There is no connection, and why
    pub(super) fn handle_not_held(&mut self, now: Instant, called: &Called) {
        let Some(series) = self.series.get_mut(&called.id) else { return };
        let (status, reason) = (called.status, called.why());
        series.trouble = Some((status, reason.clone()));
        // Who is refused for good, or until a user says otherwise, does not come to be heard by trying.
        let is_final =
            matches!(status, Status::NotFound | Status::NotAllowed | Status::NotLoggedIn | Status::AnotherKey);
        if series.key.is_none() || is_final {
            return self.end(&called.id);
        }
        series.hold_at = Some(now + TRY_AGAIN);
        self.wishes.push_back(Wish::Pinged(Pinged::Troubled { series: called.id, status, reason }));
    }

    /// A pong has come from the holder of this key; the series of its ping, if that is known
    pub(super) fn handle_pong(&mut self, now: Instant, key: &Key, number: u64, bytes: usize) -> Option<MessageId> {
        let (id, sequence) = *self.numbers.get(&number)?;
        self.series.get(&id).filter(|series| series.key == Some(*key))?;
        self.answer(now, id, sequence, bytes)?;
        Some(id)
    }

    fn answer(&mut self, now: Instant, id: MessageId, sequence: u64, bytes: usize) -> Option<()> {
        let series = self.series.get_mut(&id)?;
        let before = series.tally.sent - series.known.len() as u64;
        let last = series.known.back()?.at;
        let sent = series.known.get_mut(usize::try_from(sequence.checked_sub(before + 1)?).ok()?)?;
        let at = if mutant::is(Mutant::PongTimedByLast) { last } else { sent.at };
        let (time, is_duplicate) = (now - at, std::mem::replace(&mut sent.is_answered, true));
        let (is_reordered, is_late) = (sequence < series.answered, time > series.plan.timeout);
        series.answered = series.answered.max(sequence);
        if is_duplicate {
            series.tally.duplicates += 1;
        } else {
            series.tally.note(time);
            series.tally.reordered += u64::from(is_reordered);
        }
        let pong = Pong { series: id, sequence, bytes, time, is_duplicate, is_reordered, is_late };
        self.wishes.push_back(Wish::Pinged(Pinged::Answered(pong)));
        if series.is_all_sent() {
            let until = if series.tally.lost() == 0 { now } else { series.until() };
            self.timers.set(until, id);
        }
        Some(())
    }

    fn send(&mut self, now: Instant, id: MessageId, rng: &mut ChaCha20Rng) {
        let Some(series) = self.series.get_mut(&id) else { return };
        let is_awaited = series.known.back().is_some_and(|sent| !sent.is_answered);
        if is_awaited && mutant::is(Mutant::PingsWaitForAnswers) {
            return self.timers.set(now + series.plan.interval, id);
        }
        let (number, size) = (rng.next_u64(), series.plan.size);
        series.tally.sent += 1;
        let sequence = series.tally.sent;
        if series.known.len() >= KNOWN_MAX
            && let Some(oldest) = series.known.pop_front()
        {
            self.numbers.remove(&oldest.number);
        }
        series.known.push_back(Sent { number, at: now, is_answered: false });
        self.numbers.insert(number, (id, sequence));
        let next = if series.is_all_sent() { series.until() } else { now + series.plan.interval };
        self.timers.set(next, id);
        match (series.is_own, series.key) {
            (true, _) => _ = self.answer(now, id, sequence, size),
            (false, Some(key)) => self.wishes.push_back(Wish::Say { key, bytes: ping(number, size) }),
            (false, None) => {}
        }
    }

    /// Sends what is due, and ends what is over
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        while let Some(id) = self.timers.take_due(now) {
            let Some(series) = self.series.get_mut(&id) else { continue };
            if series.is_all_sent() {
                self.end(&id);
                continue;
            }
            if series.hold_at.take_if(|at| *at <= now).is_some() {
                let (to, patience) = (series.to.clone(), series.plan.timeout);
                self.wishes.push_back(Wish::Hold { id, to, patience });
            }
            self.send(now, id, rng);
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// The session is over, and so are all series, that of this peer itself among them
    pub(super) fn handle_logout(&mut self) {
        for id in self.series.keys().copied().collect::<Vec<_>>() {
            if let Some(series) = self.series.get_mut(&id) {
                series.trouble = Some((Status::NotLoggedIn, Why::LoggedOut.to_string()));
            }
            self.end(&id);
        }
    }

    /// Ends a series, if there is one
    pub(super) fn end(&mut self, id: &MessageId) {
        let Some(series) = self.series.remove(id) else { return };
        self.timers.stop(id);
        series.known.iter().for_each(|sent| _ = self.numbers.remove(&sent.number));
        let (status, reason) = match series.trouble {
            Some((status, reason)) => (status, Some(reason)),
            None if series.tally.received > 0 => (Status::Delivered, None),
            None => (Status::TimedOut, Some("no answer came".to_owned())),
        };
        let status = if series.tally.received > 0 { Status::Delivered } else { status };
        tracing::debug!(event = "pings_ended", series = %id, to = %series.to, %status, tally = ?series.tally);
        self.wishes.push_back(Wish::Release { id: *id });
        let ended = Pinged::Ended { series: *id, to: series.to, tally: series.tally, status, reason };
        self.wishes.push_back(Wish::Pinged(ended));
    }

    /// The next thing to do
    pub(super) fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }
}

/// A pong, as many times as mistakes want it
pub(super) fn pongs(pong: Bytes) -> impl Iterator<Item = Bytes> {
    let twice = mutant::is(Mutant::PongedTwice).then(|| pong.clone());
    std::iter::once(pong).chain(twice)
}
