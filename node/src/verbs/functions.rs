//! `kith functions NAME`

use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop, count, escaped, table};
use kith_runtime::control::client::ANSWER_WITHIN;
use kith_runtime::control::peer::{CallAnswer, Content, Function, FunctionsResult, Request};
use kith_runtime::home::Home;

/// Long enough for the mesh to heal on the way
const TIMEOUT: Duration = Duration::from_secs(10);

/// List the functions of a peer that this one may call
#[derive(Debug, clap::Args)]
pub(crate) struct Functions {
    /// Whose
    name: Name,
}

impl Functions {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let (name, function, arguments) = (self.name, "functions".to_owned(), Vec::new());
        let request =
            Request::Call { name, function, arguments, timeout_ms: Some(TIMEOUT.as_millis() as u64), id: None };
        let answer = cli::ask_within::<CallAnswer>(home, &request, TIMEOUT + ANSWER_WITHIN)?;
        answer.tell(screen, readable, |call| not_told(answer.status, call, home))
    }
}

fn not_told(status: Status, call: &CallAnswer, home: &Home) -> Failure {
    let error = format!("{} did not tell its functions: {}", call.name, super::why(status, call.reason.as_deref()));
    let next = if call.answered { None } else { super::next(home, status, &call.name) };
    Failure::new(status, error, next)
}

fn readable(call: &CallAnswer) -> String {
    let Content(text) = call.result.clone().unwrap_or_default();
    match serde_json::from_str::<FunctionsResult>(&text) {
        Ok(FunctionsResult { functions }) => rows(&functions),
        // Another version of it.
        Err(_) => escaped(&text),
    }
}

fn rows(functions: &[Function]) -> String {
    let heading = ["FUNCTION", "ARGUMENTS"].map(str::to_owned);
    let row = |function: &Function| {
        let arguments = if function.arguments.is_empty() { "-".to_owned() } else { escaped(&function.arguments) };
        [escaped(&function.name), arguments]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(functions.iter().map(row)).collect();
    format!("{}{}", table(&rows), count(functions.len() as u64, "function"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_written_as_a_table() {
        let function = |name: &str, arguments: &str| Function { name: name.into(), arguments: arguments.into() };
        let expected = "FUNCTION  ARGUMENTS\nsum       number...\ntime      -\n2 functions";
        assert_eq!(rows(&[function("sum", "number..."), function("time", "")]), expected);
    }
}
