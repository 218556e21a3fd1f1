//! A disk that is full for a while.

use std::time::Duration;

use super::{Breaker, Done};
use crate::error::LabError;
use crate::mesh::{Lab, Standing};
use crate::process::Condition;

pub(super) const KIND: &str = "full disk";

/// What a home's disk holds: log, snapshots and the lines of an hour, with room to spare
pub(in crate::histories) const BYTES: u64 = 512 << 20;

/// While a disk takes nothing that is what its supernode says
const FULL: &str = "the disk is full";

/// By then it has wanted more than the pages that its file has already, if it does at all
const NOTICED: Duration = Duration::from_secs(5);

impl Breaker<'_> {
    /// Fills the disk of one, and empties it
    pub(super) fn full_disk(&mut self) -> Result<Done, LabError> {
        let (name, span) = (self.any(), self.span(3_000, 8_000));
        let filled = self.lab.fill_disk(&name);
        let bit = filled.and_then(|()| self.is_noticed(&name));
        self.wait(span);
        self.lab.clear_disk(&name)?;
        let bit = bit?;
        // It may have ended rather than go on with a disk that fails.
        let has_ended = ended(self.lab, &name);
        if has_ended {
            self.lab.start(&name)?;
        }
        self.settle()?;
        let ending = if has_ended { ", which ended" } else { "" };
        Ok(Done { what: format!("full disk of {name} for {span:?}{ending}"), bit })
    }

    /// Whether it wants room in vain; who writes only over what it has for long is killed and started, which takes more
    fn is_noticed(&self, name: &str) -> Result<bool, LabError> {
        let shows = |lab: &Lab| is_full(lab, name) || ended(lab, name);
        if self.watch_until(NOTICED, shows) {
            return Ok(true);
        }
        self.lab.kill(name)?;
        self.lab.start(name)?;
        Ok(self.watch_until(NOTICED, shows))
    }
}

fn is_full(lab: &Lab, name: &str) -> bool {
    let standing = lab.node(name).and_then(Standing::of);
    standing.is_ok_and(|standing| standing.status.reason.is_some_and(|reason| reason.contains(FULL)))
}

fn ended(lab: &Lab, name: &str) -> bool {
    let state = lab.state().ok();
    state
        .and_then(|state| state.process(name).map(|process| process.condition() == Condition::Ended))
        .unwrap_or_default()
}
