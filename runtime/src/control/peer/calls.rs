//! What is answered of calls.

use kith_common::id::Name;
use serde::{Deserialize, Serialize};

use super::{Content, Id};

/// Answers `call`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswer {
    /// For [`Request::Call`](super::Request::Call), to repeat it
    pub id: Id,
    pub name: Name,
    pub function: String,
    /// Whether the other peer has answered, well or not
    pub answered: bool,
    /// What it returned, if that is UTF-8
    pub result: Option<Content>,
    /// What it returned, in hexadecimal digits, if it is not
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_data: Option<String>,
    /// The time from the request to the reply
    pub elapsed_us: u64,
    pub reason: Option<String>,
}

/// The result of the function `functions`, which every peer has
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionsResult {
    /// Those that whoever asks may call
    pub functions: Vec<Function>,
}

/// A function that may be called
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// Their kinds, such as `word, number...`
    pub arguments: String,
}
