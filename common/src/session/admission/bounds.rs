//! How long a login may take, and how much one connection may ask for.

use std::time::Duration;

use crate::session::ANSWER_WAIT;

/// From the proposal to its outcome: longer than any peer waits, so it only frees what a stuck shell holds
pub const PROPOSAL_WAIT: Duration = Duration::from_secs(30);
/// Of the time for which a peer waits for the answer to its login, so much is for the ways there and back and for busy
/// processors: one lost packet, sent again, on a slow continent
pub const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// From when a login came to when it must be answered: later, its peer has given it up, or will have when it hears of it
pub const LOGIN_WAIT: Duration = ANSWER_WAIT.saturating_sub(ANSWER_MARGIN);
/// Logins that one connection may try; the next one ends it with 429
pub const LOGINS_MAX: u32 = 4;
/// Time between two logins of one connection; an earlier one is refused with 429 and counts
pub const LOGIN_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Look-ups, renewals and questions for who was removed that a connection may send at once
pub const REQUESTS_BURST: u32 = 128;
/// One more request every so often; beyond, look-ups are answered with 429 and the rest is dropped and counted
pub const REQUEST_INTERVAL: Duration = Duration::from_millis(20);
/// Lists of names that a connection may ask for at once: somebody types them
pub const LISTS_BURST: u32 = 16;
/// One more list every so often, since what resembles a name takes up to a millisecond to find; beyond, 429
pub const LIST_INTERVAL: Duration = Duration::from_millis(100);
/// Reports that a connection may send at once: a full table of them, twice
pub const REPORTS_BURST: u32 = 128;
/// One more report every so often, as some of them become entries of the log; beyond, they are dropped and counted
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Packets that a connection may have relayed at once: what a peer sends while its mesh is cut, not its traffic
pub const RELAYS_BURST: u32 = 256;
/// One more relay every so often; beyond, packets are given back
pub const RELAY_INTERVAL: Duration = Duration::from_millis(10);
