//! Lines for people: whoever reads them may go away, and then the program ends without a complaint.

use std::io::{IsTerminal, Write};

/// A line on standard output; if nobody reads it any more, this process ends, and a tied mesh with it
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// A line on standard error; lost if nobody reads it
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `[held]` or `[FAILED]`, in colour where a terminal shows it: on standard error if `is_note`
pub(crate) fn verdict(held: bool, is_note: bool) -> String {
    let is_terminal = if is_note { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (word, colour) = if held { ("[held]  ", 32) } else { ("[FAILED]", 31) };
    if is_terminal && !wants_none { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
}
