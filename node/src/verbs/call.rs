//! `kith call NAME FUNCTION`

use std::time::Duration;

use kith_common::hex;
use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::client::ANSWER_WITHIN;
use kith_runtime::control::peer::{CallAnswer, Content, Id, Request};
use kith_runtime::home::Home;

/// Long enough for the mesh to heal on the way
const TIMEOUT_DEFAULT: &str = "10";

/// Evaluate a function at another peer and print its result
///
/// Every peer has echo (returns its arguments), time and status. A call that got no answer may have been evaluated: the same
/// command with --id and the call's id asks again for the same result, which is remembered there for two hours, or less if
/// there are many.
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

    /// Repeat the call that had this id, as --json or a call without an answer shows it: 32 hexadecimal digits; 409 if that was
    /// another call. Any other id is good for a new one
    #[arg(long, value_name = "ID")]
    id: Option<MessageId>,

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
        let (timeout_ms, id) = (Some(self.timeout.as_millis() as u64), self.id.map(Id));
        let request = Request::Call { name: self.name, function: self.function, arguments, timeout_ms, id };
        let answer = cli::ask_within::<CallAnswer>(home, &request, self.timeout + ANSWER_WITHIN)?;
        if answer.status.is_success() && self.raw {
            screen.bytes(&bytes(&answer.answer)?)?;
            return Ok(0);
        }
        answer.tell(screen, readable, |call| unanswered(answer.status, call, home))
    }
}

fn unanswered(status: Status, call: &CallAnswer, home: &Home) -> Failure {
    let CallAnswer { id, name, function, answered, reason, .. } = call;
    let why = super::why(status, reason.as_deref());
    // What the other peer says of its functions is the whole answer: looking for it would find nothing new.
    let next = if *answered { None } else { super::next(home, status, name) };
    if *answered || status != Status::TimedOut {
        return Failure::new(status, format!("{name} did not evaluate {function}: {why}"), next);
    }
    let again = format!("the same call with --id {:?} is evaluated once", id.0);
    let hint = next.map_or(again.clone(), |next| format!("{next}; {again}"));
    Failure::new(status, format!("no result of {function} came from {name}: {why}"), Some(hint))
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

    fn answered() -> CallAnswer {
        CallAnswer {
            id: Id(MessageId([1; 16])),
            name: name("heidi"),
            function: "echo".into(),
            answered: true,
            result: None,
            result_data: None,
            elapsed_us: 1,
            reason: None,
        }
    }

    #[test]
    fn call_that_may_have_been_evaluated_is_told_with_the_id_to_repeat_it_by() {
        let home = Home::resolve(kith_runtime::home::PEER, Some(std::path::Path::new("/srv/a"))).unwrap();
        let told = |status, answered| unanswered(status, &CallAnswer { answered, ..self::answered() }, &home);
        let lost = told(Status::TimedOut, false);
        assert_eq!(lost.error, "no result of echo came from heidi: 408 timed out");
        let hint = "next: kith --home /srv/a trace heidi; the same call with --id 01010101010101010101010101010101 is \
                    evaluated once";
        assert_eq!(lost.hint.as_deref(), Some(hint));
        let refused = told(Status::Conflict, true);
        assert_eq!((refused.error.as_str(), refused.hint), ("heidi did not evaluate echo: 409 conflict", None));
    }

    #[test]
    fn result_that_is_no_text_keeps_its_bytes() {
        let answer = |text: Option<&str>, digits: Option<&str>| CallAnswer {
            result: text.map(|text| Content(text.into())),
            result_data: digits.map(str::to_owned),
            ..answered()
        };
        assert_eq!(bytes(&answer(Some("hello"), None)).unwrap(), b"hello");
        assert_eq!(bytes(&answer(None, Some("ff0a"))).unwrap(), [255, 10]);
        assert_eq!(bytes(&answer(None, None)).unwrap(), b"");
        assert!(bytes(&answer(None, Some("no digits"))).is_err());
        assert_eq!(readable(&answer(None, Some("ff0a"))), "(2 bytes, not text: --raw or --json has them)");
    }
}
