//! Names that were taken and not used: they become free again.
//!
//! Whoever takes names that it does not need would keep them from others for ever. So a name is *on trial* until its owner
//! has come back to it once, or has stayed for [`STAY`] at a time; if its owner has not by [`TERM`] after it took the name,
//! and is not here, the name belongs to nobody. Time is counted in the minutes for which a supernode led the log, as for
//! invites: no wall clock has a say, and while no supernode runs nothing ends.

use crate::id::Name;
use crate::time::Timers;

/// How long an owner has to come back: whoever tries it out before a holiday keeps the name
pub const TERM: u64 = 30 * DAY;
/// Whoever stays so long has used the name
pub const STAY: u64 = DAY;
/// In minutes
const DAY: u64 = 24 * 60;

/// The names on trial, and the minute at which each trial ends
#[derive(Clone, Debug, Default)]
pub(super) struct Unused {
    trials: Timers<Name, u64>,
}

impl Unused {
    /// The minute at which the trial of this name ends, if it is on trial
    pub(super) fn end_of(&self, name: &Name) -> Option<u64> {
        self.trials.moment(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.trials.len()
    }

    /// The name was taken at this minute
    pub(super) fn begin(&mut self, name: Name, minute: u64) {
        self.restore(name, minute.saturating_add(TERM));
    }

    /// As a snapshot has it
    pub(super) fn restore(&mut self, name: Name, end: u64) {
        self.trials.set(end, name);
    }

    /// The name is on trial no more: its owner has used it, or it has none
    pub(super) fn forget(&mut self, name: &Name) {
        self.trials.stop(name);
    }

    /// A session under this name has ended at this minute: one that was long enough ends the trial
    pub(super) fn stayed(&mut self, name: &Name, minute: u64) {
        let taken_at = self.end_of(name).map(|end| end.saturating_sub(TERM));
        if taken_at.is_some_and(|taken_at| minute.saturating_sub(taken_at) >= STAY) {
            self.forget(name);
        }
    }

    /// The names whose trial is over at this minute, in the order of their ends; they are on trial no more
    pub(super) fn take_over(&mut self, minute: u64) -> Vec<Name> {
        std::iter::from_fn(|| self.trials.take_due(minute)).collect()
    }
}
