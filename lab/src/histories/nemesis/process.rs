//! Processes that are killed, stopped and paused, the leader as often as not.

use std::time::Duration;

use super::{Breaker, CALM, Done};
use crate::error::LabError;

pub(super) const KILL_LEADER: &str = "kill the leader";

/// By then the others have another leader
const ELECTED: Duration = Duration::from_secs(30);

impl Breaker<'_> {
    /// Kills, stops or pauses one
    pub(super) fn process(&mut self) -> (&'static str, Result<Done, LabError>) {
        let (name, span) = (self.any(), self.span(500, 6_500));
        let kind = ["pause", "stop", "kill"].get(self.draw.below(3)).copied().unwrap_or("kill");
        (kind, self.break_process(kind, &name, span))
    }

    fn break_process(&mut self, kind: &'static str, name: &str, span: Duration) -> Result<Done, LabError> {
        match kind {
            "pause" => self.lab.pause(name),
            "stop" => self.lab.stop(name),
            _ => self.lab.kill(name),
        }?;
        self.wait(span);
        if kind == "pause" { self.lab.resume(name) } else { self.lab.start(name) }?;
        self.settle()?;
        // Each of these waits until the system shows it.
        Ok(Done { what: format!("{kind} {name} for {span:?}"), bit: true })
    }

    /// Kills whoever leads, and starts it when another one does
    pub(super) fn kill_leader(&mut self) -> Result<Done, LabError> {
        let mut leader = None;
        self.lab.wait_until("somebody to lead", ELECTED, || {
            leader = Some(self.lab.leader().map_err(|error| error.to_string())?.name);
            Ok(())
        })?;
        let leader = leader.unwrap_or_default();
        self.lab.kill(&leader)?;
        let elected = self.lab.wait_until("another one to lead", ELECTED, || {
            self.lab.leader().map(drop).map_err(|error| error.to_string())
        });
        self.wait(CALM);
        self.lab.start(&leader)?;
        self.lab.wait_agreed()?;
        let what = format!("kill {leader}, which leads; another one leads after {:.2?}", elected?);
        Ok(Done { what, bit: true })
    }
}
