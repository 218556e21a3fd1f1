//! An answer of many lines, as `peers` and `ring` have them.

use kith_runtime::cli::{Screen, Stop};
use kith_runtime::control::client::{self, ANSWER_WITHIN, ClientError};
use kith_runtime::control::supernode::Request;
use kith_runtime::home::Home;
use serde::de::DeserializeOwned;

/// Rows of one table for people, as many as a page of `kith peers` has: a list may be longer than memory
const ROWS: usize = 100;

/// Tells what `request` asks for: a table for each [`ROWS`], and what the last line says of all; for programs each line as
/// it came
///
/// # Errors
/// [`Stop`]; what was told before is right.
pub(super) fn tell<T: DeserializeOwned, A: DeserializeOwned>(
    home: &Home,
    screen: &mut Screen,
    request: &Request,
    table: impl Fn(&[T]) -> String,
    summary: impl Fn(&A) -> String,
) -> Result<u8, Stop> {
    let mut rows = Vec::new();
    for line in client::open(home, request, Some(ANSWER_WITHIN))? {
        let line = line?;
        if line.status.is_some() {
            let done = line.done::<A>()?;
            let rest = if rows.is_empty() { String::new() } else { table(&rows) };
            screen.show(&line, || format!("{rest}{}", summary(&done.answer)))?;
            return Ok(done.status.exit_code());
        }
        if screen.is_json() {
            screen.show(&line, String::new)?;
            continue;
        }
        rows.push(line.parse()?);
        if rows.len() == ROWS {
            screen.text(&table(&rows))?;
            rows.clear();
        }
    }
    Err(ClientError::Broken("it has no last line".into()).into())
}
