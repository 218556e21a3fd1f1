//! Whom this supernode dials: those with smaller ids at once, those with larger ones when they have not come by themselves,
//! and its contacts as long as it knows nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::id::SupernodeId;
use crate::link::limits::DIAL_MAX;
use crate::link::{Dial, LinkId};
use crate::mutant::{self, Mutant};
use crate::time::{Instant, doubled, earliest};
use crate::wire::session::{Location, Purpose};

/// The longest first wait until a supernode is dialled again …
pub(super) const RETRY_MIN: Duration = Duration::from_millis(250);
/// … and the longest of all, as it doubles with each failure: a supernode that starts is linked within seconds
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
/// So long a supernode with a larger id may take to dial this one: two of its longest waits. It may not be able to, or not
/// want to, as it has heard that this one is a supernode no more, of which this one must hear
pub(super) const TURN: Duration = Duration::from_secs(10);

/// … but only so long when this one has just started: the others may wait to dial it again, and without a link to whoever
/// leads it can let nobody in
pub(super) const FIRST_TURN: Duration = Duration::from_millis(500);

/// Who is to be dialled
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A supernode that the log names
    Member(SupernodeId),
    /// Whoever lives at the configured location of this number
    Contact(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be dialled then
    Waiting { at: Instant },
    /// Being dialled; nobody will say more after `until`
    Dialling { number: u64, until: Instant },
    /// The dial has made this link
    Linked { link: LinkId },
}

#[derive(Debug)]
struct Slot {
    locations: Vec<Location>,
    /// How long the other side is waited for before each dial
    turn: Duration,
    state: State,
    /// Since it last said anything
    failures: u32,
}

/// Who is to be dialled, and where
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) target: Target,
    pub(super) locations: Vec<Location>,
    /// How long the other side is waited for before each dial
    pub(super) turn: Duration,
}

/// All that are to be dialled, [`SUPERNODES_MAX`](crate::wire::session::SUPERNODES_MAX) supernodes and as many contacts at
/// most
#[derive(Debug, Default)]
pub(super) struct Dials {
    slots: BTreeMap<Target, Slot>,
    /// Whether this process has been told who the others are
    has_known: bool,
    last_number: u64,
}

impl Dials {
    /// These are to be dialled from now on, and nobody else
    pub(super) fn plan(&mut self, now: Instant, wanted: impl IntoIterator<Item = Wanted>) {
        let mut before = std::mem::take(&mut self.slots);
        let first = if self.has_known { Duration::MAX } else { FIRST_TURN };
        for Wanted { target, locations, turn } in wanted {
            self.has_known |= matches!(target, Target::Member(_));
            let slot = match before.remove(&target) {
                Some(slot) => Slot { locations, turn, ..slot },
                None => Slot { locations, turn, state: State::Waiting { at: now + turn.min(first) }, failures: 0 },
            };
            self.slots.insert(target, slot);
        }
    }

    /// The dials that are due, but of those whom `is_linked` says that they need none
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        rng: &mut ChaCha20Rng,
        is_linked: impl Fn(Target) -> bool,
    ) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (target, slot) in &mut self.slots {
            match slot.state {
                State::Dialling { until, .. } if until <= now => slot.fail(now, rng),
                State::Waiting { at } if at <= now && is_linked(*target) => {
                    slot.state = State::Waiting { at: now + RETRY_MAX.max(slot.turn) };
                    slot.failures = 0;
                }
                State::Waiting { at } if at <= now => {
                    self.last_number += 1;
                    let number = self.last_number;
                    slot.state = State::Dialling { number, until: now + DIAL_MAX };
                    let locations = slot.locations.clone();
                    dials.push(Dial { number, key: None, locations, purpose: Purpose::Backbone });
                }
                _ => {}
            }
        }
        dials
    }

    /// The dial of this number has made `link`: whom it was for; `None`: it was given up meanwhile
    pub(super) fn handle_opened(&mut self, number: u64, link: LinkId) -> Option<Target> {
        let (target, slot) = self.find(|state| matches!(state, State::Dialling { number: of, .. } if of == number))?;
        slot.state = State::Linked { link };
        Some(target)
    }

    /// The dial of this number has made no link: whom it was for
    pub(super) fn handle_failed(&mut self, now: Instant, number: u64, rng: &mut ChaCha20Rng) -> Option<Target> {
        let (target, slot) = self.find(|state| matches!(state, State::Dialling { number: of, .. } if of == number))?;
        slot.fail(now, rng);
        Some(target)
    }

    /// This link is gone
    pub(super) fn handle_closed(&mut self, now: Instant, link: LinkId, rng: &mut ChaCha20Rng) {
        if let Some((_, slot)) = self.find(|state| matches!(state, State::Linked { link: of } if of == link)) {
            slot.fail(now, rng);
        }
    }

    /// The link with this supernode is gone, whoever had dialled it. One that was made while it was a contact, or by the other
    /// side, is no slot's: the next look would be seconds away
    pub(super) fn handle_lost(&mut self, now: Instant, id: SupernodeId, rng: &mut ChaCha20Rng) {
        let slot = self.slots.get_mut(&Target::Member(id)).filter(|slot| slot.failures == 0);
        if let Some(slot) = slot.filter(|slot| matches!(slot.state, State::Waiting { at } if at > now)) {
            slot.fail(now, rng);
        }
    }

    /// Whoever is at the other end of `link` is well: the next wait is a short one again
    pub(super) fn handle_well(&mut self, link: LinkId) {
        if let Some((_, slot)) = self.find(|state| matches!(state, State::Linked { link: of } if of == link)) {
            slot.failures = 0;
        }
    }

    /// When to call [`Self::take_due`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let due = self.slots.values().map(|slot| match slot.state {
            State::Waiting { at } => Some(at),
            State::Dialling { until, .. } => Some(until),
            State::Linked { .. } => None,
        });
        due.fold(None, earliest)
    }

    fn find(&mut self, is_wanted: impl Fn(State) -> bool) -> Option<(Target, &mut Slot)> {
        self.slots.iter_mut().find(|(_, slot)| is_wanted(slot.state)).map(|(target, slot)| (*target, slot))
    }
}

impl Slot {
    /// Dialled again after a wait with full jitter: supernodes that lost each other do not all come back at once
    fn fail(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let longest = doubled(RETRY_MIN, self.failures, RETRY_MAX).as_micros() as u64;
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_micros((u64::from(rng.next_u32()) * longest) >> 32);
        let at = now + self.turn + if mutant::is(Mutant::BackboneNotRedialled) { DIAL_MAX * 9 } else { wait };
        self.state = State::Waiting { at };
    }
}
