//! Lines for people and for programs.

use std::io::{ErrorKind, Write};

use serde::Serialize;

/// A line on standard output; if that takes no more, this process ends, and says why unless the reader has gone
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            note(&format!("kith-sim: cannot write the output: {error}"));
        }
        std::process::exit(1);
    }
}

/// A figure and what it is, beneath a heading
pub(crate) fn row(figure: &str, value: &str) {
    line(&format!("  {figure:<30} {value}"));
}

/// One object for programs, on lines of its own
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("kith-sim: cannot write JSON: {error}")),
    }
}

/// A line on standard error; lost if nobody reads it
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A number of peers as people write it: 500, 10k, 1M
pub(crate) fn size(peers: usize) -> String {
    match peers {
        0 => "0".into(),
        _ if peers.is_multiple_of(1_000_000) => format!("{}M", peers / 1_000_000),
        _ if peers.is_multiple_of(1_000) => format!("{}k", peers / 1_000),
        _ => peers.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_do() {
        assert_eq!([0, 500, 1_000, 100_000, 2_000_000, 1_500].map(size), ["0", "500", "1k", "100k", "2M", "1500"]);
    }
}
