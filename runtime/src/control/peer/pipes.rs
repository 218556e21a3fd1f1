//! What is answered of pipes.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

/// Answers `pipe` and `listen`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeAnswer {
    /// Whose the other end is
    pub name: Name,
    /// With 200 its number, which [`Request::PipeEnd`](super::Request::PipeEnd) takes
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe: Option<u64>,
    /// Whether the other peer has answered, well or not
    pub answered: bool,
    /// Why there is none
    pub reason: Option<String>,
}

/// Answers `pipe_end`: 200 both halves were closed in order, 202 it is open, 404 it is not known any more, else what broke it off
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeEndAnswer {
    /// Why it was broken off
    pub reason: Option<String>,
}
