//! `kith call NAME FUNCTION`

use kith_common::id::Name;
use kith_runtime::cli::{self, Failure, Screen, Stop};
use kith_runtime::control::hex;
use kith_runtime::control::peer::{CallAnswer, Content, Request};
use kith_runtime::home::Home;

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
}

impl Call {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let arguments = self.arguments.into_iter().map(Content).collect();
        let request = Request::Call { name: self.name, function: self.function, arguments };
        let answer = cli::ask::<CallAnswer>(home, &request)?;
        if answer.status.is_success() && !screen.is_json() && !screen.is_terminal() {
            screen.bytes(&result(&answer.answer))?;
            return Ok(0);
        }
        answer.tell(
            screen,
            |call| String::from_utf8_lossy(&result(call)).into_owned(),
            |call| {
                let why = super::why(answer.status, call.reason.as_deref());
                let error = format!("{} did not evaluate {}: {why}", call.name, call.function);
                Failure::new(answer.status, error, super::next(home, answer.status, call.name.as_str()))
            },
        )
    }
}

/// Text with a new line at its end; other bytes as they are.
fn result(answer: &CallAnswer) -> Vec<u8> {
    match (&answer.result, &answer.result_data) {
        (Some(Content(text)), _) => format!("{}\n", text.trim_end_matches('\n')).into_bytes(),
        (None, Some(digits)) => hex::decode(digits).unwrap_or_default(),
        (None, None) => Vec::new(),
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
            result: text.map(|text| Content(text.into())),
            result_data: digits.map(str::to_owned),
            elapsed_us: 1,
            reason: None,
        };
        assert_eq!(result(&answer(Some("hello"), None)), b"hello\n");
        assert_eq!(result(&answer(None, Some("ff0a"))), [255, 10]);
        assert_eq!(result(&answer(None, None)), b"");
    }
}
