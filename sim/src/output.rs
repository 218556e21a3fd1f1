//! Lines for people and for programs.

use std::io::Write;

use serde::Serialize;

/// A line on standard output; if nobody reads it any more, this process ends
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// One object for programs, on lines of its own
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("kith-sim: cannot write JSON: {error}")),
    }
}

/// A line on standard error; lost if nobody reads it
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
