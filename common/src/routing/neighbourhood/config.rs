//! Time limits, each with its default and the reason for it.

use std::time::Duration;

use crate::link::limits::DIAL_MAX;

/// Time limits of a neighbourhood
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourhoodConfig {
    /// How long old links wait for new ones, and a neighbour's hello is waited for before it is reported as
    /// unreachable (5 s: one lost SYN and a slow continent)
    pub patience: Duration,
    /// How long an unknown peer waits for a rewire that makes it a neighbour (3 s: below `patience`, so that the
    /// dialler learns of the refusal before it gives up)
    pub unknown_wait: Duration,
    /// By how much the larger key lets the smaller one dial first (0.3 s: a round trip round the world)
    pub head_start: Duration,
    /// Dials that opened within this of each other crossed (2 s: as `head_start`, with a lost SYN)
    pub simultaneous: Duration,
    /// The shortest backoff before a dial (0.2 s)
    pub redial_min: Duration,
    /// The longest backoff after an answer, which costs little (5 s)
    pub redial_max: Duration,
    /// The longest backoff while nobody answers in time, the link breaks as soon as it is up, or the other side's table
    /// does not have this peer (60 s: who is too slow is dialled less and less, and a way that was cut for long is tried
    /// again within a fifth of that time)
    pub redial_max_silent: Duration,
    /// A link that was up for so long is dialled again at once (5 s: below it, at once would be a loop)
    pub stable_after: Duration,
    /// How long an open link may be without a table (5 s)
    pub table_wait: Duration,
    /// How long the shell has for a dial ([`DIAL_MAX`])
    pub dial_max: Duration,
    /// How often an unreachable neighbour, or isolation, is reported while it lasts, as a report may be lost (10 s)
    pub report_every: Duration,
    /// How long what is gained waits to be told with what else is gained, so that a peer whose table changes with each
    /// of many joins does not send it to everybody each time (50 ms: what a link takes to open, and nobody is short of
    /// a way meanwhile, as all that is lost is told at once)
    pub gather: Duration,
}

impl Default for NeighbourhoodConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            unknown_wait: Duration::from_secs(3),
            head_start: Duration::from_millis(300),
            simultaneous: Duration::from_secs(2),
            redial_min: Duration::from_millis(200),
            redial_max: Duration::from_secs(5),
            redial_max_silent: Duration::from_secs(60),
            stable_after: Duration::from_secs(5),
            table_wait: Duration::from_secs(5),
            dial_max: DIAL_MAX,
            report_every: Duration::from_secs(10),
            gather: Duration::from_millis(50),
        }
    }
}
