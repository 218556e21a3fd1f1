//! A time of day that jumps by an hour.

use super::{Breaker, Done};
use crate::error::LabError;

pub(super) const KIND: &str = "clock";

const HOUR: i64 = 3_600;

impl Breaker<'_> {
    /// Sets the time of day of one an hour forth or back, from wherever it is, and leaves it there: other faults meet clocks
    /// that are wrong
    pub(super) fn clock(&mut self) -> Result<Done, LabError> {
        let (name, span) = (self.any(), self.span(3_000, 8_000));
        let before = self.offsets.iter().find(|(known, _)| *known == name).map_or(0, |(_, offset)| *offset);
        // Never farther than an hour from the truth.
        let up = self.draw.below(2) == 0;
        let offset = if before == 0 && up || before < 0 { before + HOUR } else { before - HOUR };
        self.lab.set_clock(&name, offset)?;
        self.offsets.retain(|(known, _)| *known != name);
        self.offsets.push((name.clone(), offset));
        let bit = self.watch(span, |lab| lab.shows_clock(&name, offset));
        self.settle()?;
        Ok(Done { what: format!("clock of {name} from {before:+} s to {offset:+} s"), bit })
    }
}
