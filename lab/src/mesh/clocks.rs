//! Supernodes whose time of day can be changed while they run.
//!
//! The library libfaketime stands between a process and the system's clocks, and reads an offset from a file. It is told to
//! leave the monotonic clock alone: a wall clock that is set, by hand or by NTP, jumps, and the monotonic one never does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Lab;
use crate::error::{LabError, io_error};
use crate::log;
use crate::role::Role;
use crate::state::Process;

/// In a home: the offset, as the library reads it
const OFFSET_FILE: &str = "clock";
/// An offset on its way to becoming it
const OFFSET_FILE_NEW: &str = ".clock.new";

/// Where Debian and Fedora have the library, the one for programs with threads
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A log is written within so many seconds of the event
const LATE_MAX: i64 = 300;
const DAY: i64 = 86_400;

/// The library that changes the time of day, if it is on this machine
pub(crate) fn library() -> Option<PathBuf> {
    LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists())
}

impl Lab {
    /// From now on the time of day that the supernode `name` is told is wrong by so many seconds
    ///
    /// # Errors
    /// The lab's supernodes ask the system for the time, there is none of that name, or its home cannot be written to.
    pub(crate) fn set_clock(&self, name: &str, offset: i64) -> Result<(), LabError> {
        let process = self.book.process(name)?;
        match self.options.clock {
            Some(_) => write_offset(&process.home, offset).map_err(io_error(format!("set the clock of {name}"))),
            None => {
                Err(LabError::Options(format!("{name} asks the system for the time, which is not the lab's to set")))
            }
        }
    }

    /// Whether the last line in the log of the supernode `name` has a time of day that is wrong by so many seconds
    pub(crate) fn shows_clock(&self, name: &str, offset: i64) -> bool {
        let Ok(process) = self.book.process(name) else { return false };
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return false };
        let last = log::tail(&process.home.join("log"), 1);
        shows(&last, i64::try_from(now.as_secs()).unwrap_or_default() + offset)
    }

    /// Lets `command`, which starts `process`, be told the time by the library, if the lab has it
    pub(super) fn set_its_clock(&self, process: &Process, command: &mut Command) -> Result<(), LabError> {
        let Some(library) = self.options.clock.as_ref().filter(|_| process.role == Role::Supernode) else {
            return Ok(());
        };
        let path = process.home.join(OFFSET_FILE);
        if !path.exists() {
            write_offset(&process.home, 0).map_err(io_error(format!("set the clock of {}", process.name)))?;
        }
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", path);
        // The file is read at each question, and not every ten seconds.
        command.env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        Ok(())
    }
}

/// Whole or not at all: the library reads it at any time
fn write_offset(home: &Path, offset: i64) -> std::io::Result<()> {
    let temporary = home.join(OFFSET_FILE_NEW);
    fs::write(&temporary, format!("{offset:+}\n"))?;
    fs::rename(temporary, home.join(OFFSET_FILE))
}

/// Whether a line of a log begins with this time of day, in seconds since 1970, give or take what a log is late
fn shows(line: &str, time: i64) -> bool {
    let clock = line.get(11..19).unwrap_or_default();
    let mut parts = clock.split(':').map(str::parse::<i64>);
    let (Some(Ok(hours)), Some(Ok(minutes)), Some(Ok(seconds))) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let off = (hours * 3_600 + minutes * 60 + seconds - time).rem_euclid(DAY);
    off.min(DAY - off) < LATE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_log_shows_the_time_of_day_that_its_process_was_told() {
        let line = "2026-11-29T23:30:05.123456Z  INFO logged_in";
        // Half past eleven in the evening, some day.
        let time = 20_000 * DAY + 23 * 3_600 + 30 * 60;
        assert!(shows(line, time) && shows(line, time + 290));
        assert!(!shows(line, time + 3_600) && !shows(line, time - 3_600));
        assert!(shows("2026-11-30T00:29:59Z x", time + 3_600), "it goes on at midnight");
        for other in ["", "(nothing)", "2026-11-29T23:3", "2026-11-29Tnoon and more"] {
            assert!(!shows(other, time), "{other}");
        }
    }

    #[test]
    fn offset_is_written_with_its_sign() {
        let dir = tempfile::tempdir().expect("dir");
        for (offset, text) in [(3_600, "+3600\n"), (-3_600, "-3600\n"), (0, "+0\n")] {
            write_offset(dir.path(), offset).expect("written");
            assert_eq!(fs::read_to_string(dir.path().join(OFFSET_FILE)).expect("read"), text);
        }
    }
}
