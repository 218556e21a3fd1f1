//! Where a command's words go: tables for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use kith_common::status::Status;
use serde::Serialize;

use crate::config::ConfigError;
use crate::control::client::{ClientError, Line};
use crate::home::HomeError;

/// The exit code of a fault on this side, such as a full disk; a mesh's faults have codes of their own
pub(crate) const EXIT_LOCAL: u8 = 1;
/// The exit code of arguments or settings that are wrong
pub(crate) const EXIT_USAGE: u8 = 2;
/// The exit code where no daemon runs
pub(crate) const EXIT_NO_DAEMON: u8 = 3;

/// Standard output and standard error of one command
pub struct Screen {
    out: Box<dyn Write>,
    errors: Box<dyn Write>,
    json: bool,
    out_is_terminal: bool,
}

impl Screen {
    /// The process's own; with `json` one object a line, errors too
    pub fn standard(json: bool) -> Self {
        let (out, errors) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { out, errors, json, out_is_terminal: io::stdout().is_terminal() }
    }

    /// Whether a program reads
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes lines for people; what others may have put into them cannot drive a terminal, not even the one at which a
    /// pipe or a file is read later
    ///
    /// # Errors
    /// Those of standard output.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        write_lines(&mut self.out, text)
    }

    /// Writes bytes as they are, for a pipe; they may drive a terminal
    ///
    /// # Errors
    /// Those of standard output.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Writes what comes out of a pipe: as it is, or at a terminal as text that cannot drive it
    ///
    /// # Errors
    /// Those of standard output.
    pub fn piped(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.out_is_terminal {
            return self.bytes(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split('\n').map(escaped).collect::<Vec<_>>();
        self.bytes(lines.join("\n").as_bytes())
    }

    /// Says something beside what is written, on standard error
    ///
    /// # Errors
    /// Those of standard error.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        write_lines(&mut self.errors, text)
    }

    /// Whether bytes of others may be written as they are
    ///
    /// # Errors
    /// [`Failure`] at a terminal, which would obey what is in them, and with `--json`, which has every byte anyway.
    pub fn may_be_raw(&self) -> Result<(), Failure> {
        let refused = |error: &str| Err(Failure::usage(error, None));
        match (self.json, self.out_is_terminal) {
            (true, _) => refused("--json has every byte: say one of --raw and --json"),
            (false, true) => refused("--raw is for a pipe or a file: a terminal would obey what others wrote"),
            (false, false) => Ok(()),
        }
    }

    /// Writes a line of an answer: as it came for a program, as `readable` makes it for people
    ///
    /// # Errors
    /// Those of standard output.
    pub fn show(&mut self, line: &Line, readable: impl FnOnce() -> String) -> io::Result<()> {
        if self.json { self.object_text(&line.text) } else { self.text(&readable()) }
    }

    /// Writes an object of the command's own, for a program
    ///
    /// # Errors
    /// Those of standard output.
    pub fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(object)?;
        self.object_text(&text)
    }

    fn object_text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Says what went wrong and what to type next: on standard error, or as an object on standard output
    ///
    /// # Errors
    /// Those of either.
    pub fn failure(&mut self, program: &str, failure: &Failure) -> io::Result<()> {
        if self.json {
            return self.object(&failure.object());
        }
        let mut text = format!("{program}: {}", failure.error);
        if let Some(hint) = &failure.hint {
            let _ = write!(text, "\n  {hint}");
        }
        write_lines(&mut self.errors, &text)
    }
}

fn write_lines(out: &mut dyn Write, text: &str) -> io::Result<()> {
    for line in text.trim_end_matches('\n').split('\n') {
        writeln!(out, "{}", escaped(line).trim_end_matches(' '))?;
    }
    out.flush()
}

/// The text with everything that could drive a terminal, or turn the direction of writing, spelt out
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// What a command says when it fails; it ends with `exit`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status for programs
    pub status: Status,
    pub exit: u8,
    pub error: String,
    /// What to type next
    pub hint: Option<String>,
}

#[derive(Serialize)]
struct FailureObject<'a> {
    done: bool,
    status: u16,
    exit: u8,
    error: &'a str,
    hint: Option<&'a str>,
}

impl Failure {
    /// One whose exit code follows its status
    pub fn new(status: Status, error: impl Into<String>, hint: Option<String>) -> Self {
        Self { status, exit: status.exit_code(), error: error.into(), hint }
    }

    /// Wrong arguments or settings
    pub fn usage(error: impl Into<String>, hint: Option<String>) -> Self {
        Self { exit: EXIT_USAGE, ..Self::new(Status::Malformed, error, hint) }
    }

    /// A fault on this side
    pub fn local(error: impl Into<String>) -> Self {
        Self { exit: EXIT_LOCAL, ..Self::new(Status::Failed, error, None) }
    }

    /// Whether it is that no daemon runs
    pub fn is_no_daemon(&self) -> bool {
        self.exit == EXIT_NO_DAEMON
    }

    fn object(&self) -> FailureObject<'_> {
        let Self { status, exit, error, hint } = self;
        FailureObject { done: true, status: status.code(), exit: *exit, error, hint: hint.as_deref() }
    }
}

/// Why a command ends early
#[derive(Debug)]
pub enum Stop {
    /// Whoever read our output has had enough: `kith inbox | head -1`; that is no failure
    OutputClosed,
    /// There is something to say
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(Failure::local(format!("cannot write the answer: {error}"))),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::NoDaemon { hint, .. } => Self {
                exit: EXIT_NO_DAEMON,
                ..Self::new(Status::Unavailable, text, Some(format!("start one: {hint}")))
            },
            ClientError::OtherRole { program, home } => {
                let hint =
                    format!("next: {program} --home {} status", crate::home::quoted(std::path::Path::new(&home)));
                Self::usage(text, Some(hint))
            }
            ClientError::TooLong(_) => Self::new(Status::TooLarge, text, None),
            ClientError::TimedOut(_) => {
                let hint = "it is stopped, or has too little processor; what was asked for may be done all the same";
                Self::new(Status::TimedOut, text, Some(hint.into()))
            }
            ClientError::Broken(_) => Self::new(Status::Failed, text, None),
            ClientError::Refused { status, refusal } => Self::new(status, refusal.error, refusal.hint),
            ClientError::Io(_) => Self::local(text),
        }
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let text = error.to_string();
        match error {
            HomeError::Locked { .. } => Self::new(Status::Conflict, text, None),
            HomeError::Io { .. } => Self::local(text),
            _ => Self::usage(text, None),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string(), None)
    }
}

/// Rows beneath each other, columns two spaces apart; the first row is the heading
///
/// Widths count characters: names are ASCII, and everything else stands in the last columns.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A time as people read it: `0.41 ms`, `2.1 ms`, `1.5 s`
pub fn time(micros: u64) -> String {
    let millis = micros as f64 / 1000.0;
    match micros {
        0..1_000 => format!("{millis:.2} ms"),
        1_000..1_000_000 => format!("{millis:.1} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

/// A long time as people read it: `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A size as people read it: `900 B`, `1.2 kB`, `3.4 MB`; a kB is 1000 bytes
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// What stands behind an answer that may have changed since, if it `is_stale`
pub const fn if_stale(is_stale: bool) -> &'static str {
    if is_stale { "; stale: the supernodes cannot agree at present, so it may be old" } else { "" }
}

/// `1 hop`, `3 hops`
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The first 8 digits, as people compare addresses; something else is left as it is
pub fn short(address: &str) -> &str {
    address.get(..8).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_lines(&mut out, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_of_others_cannot_drive_a_terminal() {
        let text = "a\u{1b}[2Jb\u{9b}c\r\u{202e}d\u{7f}";
        assert_eq!(written(text), "a\\u{1b}[2Jb\\u{9b}c\\r\\u{202e}d\\u{7f}\n");
        assert_eq!(written("grüße, 世界\nagain"), "grüße, 世界\nagain\n");
    }

    #[test]
    fn columns_stand_beneath_each_other() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(table(&[row("NAME", "WHY"), row("grüße", "x"), row("a", "")]), "NAME   WHY\ngrüße  x\na\n");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([412, 2_140, 999_900, 1_500_000].map(time), ["0.41 ms", "2.1 ms", "999.9 ms", "1.5 s"]);
        assert_eq!([59, 192, 7_500, 273_600].map(span), ["59 s", "3 min 12 s", "2 h 5 min", "3 d 4 h"]);
        assert_eq!([900, 1_234, 3_400_000, 5_000_000_000].map(size), ["900 B", "1.2 kB", "3.4 MB", "5.0 GB"]);
        assert_eq!((count(1, "hop"), count(0, "hop")), ("1 hop".into(), "0 hops".into()));
    }

    #[test]
    fn closed_output_is_no_failure() {
        assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::BrokenPipe)), Stop::OutputClosed));
        assert!(
            matches!(Stop::from(io::Error::from(io::ErrorKind::StorageFull)), Stop::Failed(f) if f.exit == EXIT_LOCAL)
        );
    }
}
