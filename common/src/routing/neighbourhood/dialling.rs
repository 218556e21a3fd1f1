//! Whom to dial, and when: few at a time, and fewer the longer this process is kept waiting for a processor.
//!
//! Each dial costs both sides a handshake. One begins [`GAP`] after the one before: if this process is short of processor,
//! it is kept waiting in that time, and rests some times as long before the next ([`Rest`](crate::link::rest::Rest)).
//! Which one that is, is decided when it begins: whoever was to be dialled has often dialled by then.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::neighbour::{Dial, Failure, Neighbour};
use super::output::{Event, NeighbourhoodOutput};
use super::{Neighbourhood, NeighbourhoodConfig};
use crate::id::{Address, Key};
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::{Instant, doubled};
use crate::wire::session::{Reason, Record};

/// Dials in flight at most: as many as a peer has links at the usual degree, so that those that nobody answers, which take
/// five seconds, keep no other waiting
pub const DIALS_MAX: usize = 16;

/// From one dial to the next at least: what the handshake takes both sides
pub(super) const GAP: Duration = Duration::from_millis(5);

/// The longest time from one dial to the next, however slow this process is: sixty that share a tenth of a core leave nine
/// tenths of that to all else even then; half of the longest backoff
pub(super) const REST_MAX: Duration = Duration::from_secs(30);

/// How many times as long as it was kept waiting a process rests before it dials again, half of it left to chance, so that
/// processes that were all kept waiting at once do not all go on at once: of many, one in six computes
const RESTS_PER_WAIT: RangeInclusive<u32> = 3..=7;

impl Neighbourhood {
    /// This process was kept waiting for a processor for so long since it said so last
    pub(crate) fn handle_kept_waiting(&mut self, now: Instant, by: Duration) {
        self.rest.handle_kept_waiting(now, by);
        self.due = self.earliest_due();
    }

    /// A dial came to nothing, with 408 if nobody answered in time; ignored if the peer is not wanted any more
    pub fn handle_dial_failed(&mut self, now: Instant, key: Key, status: Status, reason: &str) {
        self.in_flight.remove(&key);
        let failure = if status == Status::TimedOut { Failure::Silence } else { Failure::told(status) };
        self.on_dial_failed(&key, failure, Reason::truncated(reason));
        self.settle(now);
    }

    /// Whether somebody is to be dialled, or is being dialled: then how long this process is kept waiting matters
    pub(crate) fn is_dialling(&self) -> bool {
        self.neighbours.values().any(|neighbour| neighbour.dial != Dial::Idle)
    }

    /// Whether this process was kept waiting, and rests
    pub(super) fn dials_rest(&self, now: Instant) -> bool {
        self.rest.is_slow(now)
    }

    /// When somebody is dialled next, unless something else happens
    pub(super) fn next_dial(&self) -> Option<Instant> {
        // With all dials in flight the next one begins when one of them ends.
        let first = self.neighbours.values().filter_map(Neighbour::dial_at).min().filter(|_| self.has_dial_left())?;
        Some(self.rest.until(first).unwrap_or(first))
    }

    fn has_dial_left(&self) -> bool {
        self.in_flight.len() < DIALS_MAX || mutant::is(Mutant::DialsUnbounded)
    }

    /// The shell owes an answer to every dial; without this, a lost one would end the dialling for good
    pub(super) fn expire_dials(&mut self, now: Instant) {
        self.in_flight.retain(|_, until| *until > now);
        for neighbour in self.neighbours.values_mut() {
            if neighbour.dial == Dial::Running && !self.in_flight.contains_key(&neighbour.record.key) {
                neighbour.dial = Dial::Idle;
                neighbour.on_failure(Failure::Silence, Reason::truncated("the dial was not answered"));
            }
        }
    }

    /// Dials what lacks a link: one dial a peer at most is out, and none while a link with it is open or waits
    pub(super) fn dial(&mut self, now: Instant) {
        self.plan_dials(now);
        while let Some(address) = self.next_to_dial(now) {
            let span = RESTS_PER_WAIT.end() - RESTS_PER_WAIT.start() + 1;
            self.rest.begin(now, GAP, RESTS_PER_WAIT.start() + self.rng.next_u32() % span);
            let Some(neighbour) = self.neighbours.get_mut(&address) else { return };
            neighbour.dial = Dial::Running;
            self.in_flight.insert(neighbour.record.key, now + self.config.dial_max);
            let Record { key, address, locations, .. } = neighbour.record.clone();
            self.outputs.push_back(NeighbourhoodOutput::Dial { key, address, locations });
        }
    }

    fn on_dial_failed(&mut self, key: &Key, failure: Failure, reason: Reason) {
        let Some(neighbour) = self.neighbours.values_mut().find(|neighbour| neighbour.record.key == *key) else {
            return;
        };
        neighbour.dial = Dial::Idle;
        // The peer may have dialled us meanwhile; then nothing failed that anybody waits for.
        if neighbour.trying.is_some() {
            neighbour.on_failure(failure, reason.clone());
            let (name, address) = (neighbour.record.name.clone(), neighbour.record.address);
            let failures = neighbour.failures;
            self.event(Event::DialFailed { name, address, failures, reason });
        }
    }

    fn plan_dials(&mut self, now: Instant) {
        let Self { neighbours, links, in_flight, config, rng, own, .. } = self;
        for neighbour in neighbours.values_mut() {
            let key = neighbour.record.key;
            let has_link = links.values().any(|link| link.key == key && !link.is_leaving());
            match neighbour.dial {
                Dial::At(_) if has_link => neighbour.dial = Dial::Idle,
                Dial::Idle if neighbour.failures > 0 && mutant::is(Mutant::NoRedial) => {}
                // It has left the table and is back, and is dialled still.
                Dial::Idle if !has_link && in_flight.contains_key(&key) => neighbour.dial = Dial::Running,
                Dial::Idle if !has_link => {
                    neighbour.waited = delay(rng, config, own, neighbour);
                    neighbour.dial = Dial::At(now + neighbour.waited);
                }
                _ => {}
            }
        }
    }

    /// Whose turn it is now, if anybody may be dialled: who has failed least often, then who has waited longest
    fn next_to_dial(&self, now: Instant) -> Option<Address> {
        if self.rest.until(now).is_some() || !self.has_dial_left() {
            return None;
        }
        let due = self.neighbours.values().filter_map(|neighbour| neighbour.dial_at().map(|at| (neighbour, at)));
        let due = due.filter(|(_, at)| *at <= now);
        let first = due.min_by_key(|(neighbour, at)| (neighbour.failures, *at))?;
        Some(first.0.record.address)
    }
}

/// The wait before a dial: at first only the head start of the smaller key, so that two peers do not dial each other at
/// once; then 0.2 … 0.4 s, doubling up to a bound, with half of it left to chance, so that many peers do not dial one in step
fn delay(rng: &mut ChaCha8Rng, config: &NeighbourhoodConfig, own: &Key, neighbour: &Neighbour) -> Duration {
    let Some(doublings) = neighbour.failures.checked_sub(1) else {
        return if *own < neighbour.record.key { Duration::ZERO } else { config.head_start };
    };
    let is_cheap = neighbour.failure == Failure::Answer;
    let max = if is_cheap { config.redial_max } else { config.redial_max_silent };
    let longest = doubled(config.redial_min, doublings + 1, max);
    let shortest = longest / 2;
    let micros = u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX);
    shortest + Duration::from_micros(rng.next_u64() % micros.max(1))
}
