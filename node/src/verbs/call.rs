//! `kith call NAME FUNCTION`

use std::time::Duration;

use kith_common::hex;
use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::client::ANSWER_WITHIN;
use kith_runtime::control::peer::{CallAnswer, Content, Request};
use kith_runtime::home::Home;

/// Long enough for the mesh to heal on the way
const TIMEOUT_DEFAULT: &str = "10";

/// Evaluate a function at another peer and print its result
///
/// Every peer has echo (returns its arguments), time and status.
#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    /// Where
    name: Name,

    /// Which function
    function: String,

    /// Its arguments, at most 64; after -- they may begin with a hyphen
    arguments: Vec<String>,

    /// How long to wait for the result; whoever evaluates hears it when nobody waits any more
    #[arg(long, value_name = "SECONDS", default_value = TIMEOUT_DEFAULT, value_parser = super::seconds)]
    timeout: Duration,

    /// Write the bytes of the result as they are, into a pipe or a file
    #[arg(long)]
    raw: bool,
}

impl Call {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        if self.raw {
            screen.may_be_raw()?;
        }
        let arguments = self.arguments.into_iter().map(Content).collect();
        let timeout_ms = Some(self.timeout.as_millis() as u64);
        let request = Request::Call { name: self.name, function: self.function, arguments, timeout_ms };
        let answer = cli::ask_within::<CallAnswer>(home, &request, self.timeout + ANSWER_WITHIN)?;
        if answer.status.is_success() && self.raw {
            screen.bytes(&bytes(&answer.answer)?)?;
            return Ok(0);
        }
        answer.tell(screen, readable, |call| {
            let why = super::why(answer.status, call.reason.as_deref());
            let error = format!("{} did not evaluate {}: {why}", call.name, call.function);
            // What the other peer says of its functions is the whole answer: looking for it would find nothing new.
            let hint = if call.answered { None } else { super::next(home, answer.status, &call.name) };
            Failure::new(answer.status, error, hint)
        })
    }
}

fn bytes(answer: &CallAnswer) -> Result<Vec<u8>, Failure> {
    match (&answer.result, &answer.result_data) {
        (Some(Content(text)), _) => Ok(text.clone().into_bytes()),
        (None, Some(digits)) => hex::decode(digits)
            .ok_or_else(|| Failure::new(Status::Failed, "the daemon's answer is no hexadecimal digits", None)),
        (None, None) => Ok(Vec::new()),
    }
}

fn readable(answer: &CallAnswer) -> String {
    match (&answer.result, &answer.result_data) {
        (Some(Content(text)), _) => text.clone(),
        (None, Some(digits)) => super::no_text(digits.len() as u64 / 2),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn result_that_is_no_text_keeps_its_bytes() {
        let answer = |text: Option<&str>, digits: Option<&str>| CallAnswer {
            name: name("heidi"),
            function: "echo".into(),
            answered: true,
            result: text.map(|text| Content(text.into())),
            result_data: digits.map(str::to_owned),
            elapsed_us: 1,
            reason: None,
        };
        assert_eq!(bytes(&answer(Some("hello"), None)).unwrap(), b"hello");
        assert_eq!(bytes(&answer(None, Some("ff0a"))).unwrap(), [255, 10]);
        assert_eq!(bytes(&answer(None, None)).unwrap(), b"");
        assert!(bytes(&answer(None, Some("no digits"))).is_err());
        assert_eq!(readable(&answer(None, Some("ff0a"))), "(2 bytes, not text: --raw or --json has them)");
    }
}
