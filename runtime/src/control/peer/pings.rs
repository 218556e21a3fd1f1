//! What is answered of pings: of one by itself, and of a series.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

use super::Id;

/// What a series of pings is to be; with none of these a ping is one by itself, which finds its way
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// How many pings; without end if nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// From one to the next, 10 at least; a second if nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Bytes of each, 9 to 5,900; 64 if nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How long the connection may take, and an answer, 60,000 at most; 10,000 if nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Answers `ping` with no more than a name
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingAnswer {
    pub name: Name,
    /// Links on the way there; 0 if there was no answer
    pub hops: u64,
    /// Names, both ends included
    pub path: Vec<String>,
    /// There and back, if there was an answer
    pub rtt_us: Option<u64>,
    /// Why there was none
    pub reason: Option<String>,
}

/// What happens to a series of pings, a line each; whoever reads too slowly misses some
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PingLine {
    /// It is under way; with this id `end_pings` ends it
    Begun { series: Id },
    /// A ping was answered
    Answer(PingEcho),
    /// Pings get lost, as there is no connection any more; another one is looked for
    Trouble { status: u16, reason: String },
}

/// The answer to a ping of a series
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingEcho {
    pub name: Name,
    /// Of the ping in its series, counted from 1
    pub seq: u64,
    /// Of the answer, which is as long as the ping
    pub bytes: u64,
    /// From the ping to its answer, measured in the daemon
    pub rtt_us: u64,
    /// It was answered before
    pub duplicate: bool,
    /// A later ping was answered before
    pub reordered: bool,
    /// It took longer than the timeout
    pub late: bool,
}

/// Answers `ping` of a series when that is over: 200 if any was answered, else why none was
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingsAnswer {
    pub name: Name,
    /// Those among them that nobody could carry, as there was no connection
    pub sent: u64,
    /// Pings that were answered, each counted once
    pub received: u64,
    pub lost: u64,
    /// Answers to what had been answered
    pub duplicates: u64,
    /// Answers that were overtaken by a later ping's
    pub reordered: u64,
    pub rtt_min_us: Option<u64>,
    /// The mean
    pub rtt_avg_us: Option<u64>,
    pub rtt_max_us: Option<u64>,
    /// The standard deviation, as ping(8) has it
    pub rtt_mdev_us: Option<u64>,
    /// The running mean of how much successive times differ, as RFC 3550 has it (6.4.1); from the second answer on
    pub jitter_us: Option<u64>,
    /// Why there was no connection in the end, or no answer
    pub reason: Option<String>,
}

/// Answers `end_pings`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndPingsAnswer {
    pub series: Id,
}
