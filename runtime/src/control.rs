//! How programs on the same machine talk to a daemon: one JSON line asks, one or more JSON lines answer.
//!
//! The socket is a unix one in the daemon's home ([`crate::home`]). A connection is for one request; one whose first request has
//! a number, `"request":7`, is for many at once, and each line of an answer has the number of its request. The last line of every
//! answer has `"done":true` and a status; lines before it, where there are any, have neither. What can be asked, and
//! what is answered, is in [`peer`] and [`supernode`], in types that the daemons, their commands and the lab share.
//!
//! A request that could not be tried is answered by a [`Refusal`]: `{"done":true,"status":503,"error":…,"hint":…}`.
//! Times are whole microseconds (`_us`) or seconds (`_s`); addresses are 16 hexadecimal digits, keys 64, message ids 32.

pub mod client;
mod hex;
pub mod peer;
pub mod server;
pub mod supernode;

use kith_common::id::Address;
use kith_common::status::Status;
use kith_common::wire::content::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest request, in bytes without its new line: the longest message as hexadecimal digits, and what stands around it
pub(crate) const REQUEST_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX + 8 * 1024;

/// The last line of an answer
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done<T> {
    /// Always true; lines that are not the last don't have it
    pub done: bool,
    /// What became of the request; the command's exit code follows it
    #[serde(with = "code")]
    pub status: Status,
    /// The verb's own keys
    #[serde(flatten)]
    pub answer: T,
}

/// The last line's own keys where a request could not be tried
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, for people
    pub error: String,
    /// What to type next
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An address as the answers write it, complete
pub fn address(address: Address) -> String {
    format!("{address:?}")
}

mod code {
    use super::{Deserialize, Deserializer, Serializer, Status};

    pub(super) fn serialize<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.code())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let code = u16::deserialize(deserializer)?;
        Status::from_code(code).ok_or_else(|| serde::de::Error::custom(format_args!("{code} is no status")))
    }
}

#[cfg(test)]
mod tests;
