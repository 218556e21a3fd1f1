//! What most verbs do: ask, and tell the answer of one line.

use std::time::Duration;

use kith_common::status::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::screen::{Failure, Screen, Stop};
use crate::control::Done;
use crate::control::client::{self, ANSWER_WITHIN, Line};
use crate::home::Home;

/// An answer of one line: the daemon tried
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// As it came
    pub line: Line,
    /// What became of the request
    pub status: Status,
    pub answer: T,
}

/// Asks for an answer of one line; another status than 200 is for the verb to tell
///
/// # Errors
/// [`Stop::Failed`] if there is no daemon, no answer, or it says that the request could not be tried.
pub fn ask<T: DeserializeOwned>(home: &Home, request: &impl Serialize) -> Result<Answer<T>, Stop> {
    ask_within(home, request, ANSWER_WITHIN)
}

/// Asks a daemon what may take it so long
///
/// # Errors
/// [`Stop`]
pub fn ask_within<T: DeserializeOwned>(
    home: &Home,
    request: &impl Serialize,
    within: Duration,
) -> Result<Answer<T>, Stop> {
    let line = client::ask(home, request, within)?;
    let Done { status, answer, .. } = line.done()?;
    Ok(Answer { line, status, answer })
}

impl<T> Answer<T> {
    /// Tells it and returns the exit code; a bad one is a failure for people, and the same object for programs
    ///
    /// # Errors
    /// [`Stop`]
    pub fn tell(
        &self,
        screen: &mut Screen,
        good: impl FnOnce(&T) -> String,
        bad: impl FnOnce(&T) -> Failure,
    ) -> Result<u8, Stop> {
        if self.status.is_success() || screen.is_json() {
            screen.show(&self.line, || good(&self.answer))?;
            return Ok(self.status.exit_code());
        }
        Err(bad(&self.answer).into())
    }
}
