//! Lines for people: whoever reads them may go away, and then the program ends without a complaint.

use std::io::Write;

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
