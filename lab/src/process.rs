//! Processes: which is which, and signals to them.
//!
//! A pid alone is not a name: it is given to another process once its owner is gone. So a process is known by its pid
//! and its start time together, and a signal goes only to one whose both agree.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// One process of this machine since its boot
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The system's number for it
    pub pid: u32,
    /// When it started, in clock ticks since the machine's boot (field 22 of `/proc/PID/stat`)
    pub started: u64,
}

/// How a process is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It runs, or could
    Running,
    /// It is stopped by a signal
    Paused,
    /// It is gone, or dead and not yet waited for
    Ended,
}

impl Condition {
    /// A word for tables
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// What a process has used so far
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system, in milliseconds
    pub cpu_ms: u64,
    /// Resident memory in KiB
    pub rss_kib: u64,
}

/// The few fields of `/proc/PID/stat` that matter here
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    ticks: u64,
    started: u64,
}

impl ProcessId {
    /// The process that has this pid now; `None` when there is none
    pub fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// How the process is
    pub fn condition(&self) -> Condition {
        match stat(self.pid) {
            Some(stat) if stat.started != self.started => Condition::Ended,
            Some(Stat { state: 'Z' | 'X', .. }) | None => Condition::Ended,
            Some(Stat { state: 'T' | 't', .. }) => Condition::Paused,
            Some(_) => Condition::Running,
        }
    }

    /// Whether nothing of the process runs any more: it counts as ended with its first thread, and what it had open goes with
    /// its last
    pub(crate) fn is_gone(&self) -> bool {
        let threads = || fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        match stat(self.pid) {
            Some(stat) if stat.started == self.started => self.condition() == Condition::Ended && threads() <= 1,
            _ => true,
        }
    }

    /// Sends `signal`; whether it was sent: false when the process is gone, and then nobody got it
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        match pid {
            Some(pid) if self.condition() != Condition::Ended => kill_process(pid, signal).is_ok(),
            _ => false,
        }
    }

    /// What the process has used; `None` when it is gone
    pub fn usage(&self) -> Option<Usage> {
        let stat = stat(self.pid).filter(|stat| stat.started == self.started)?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_kib = rss.split_whitespace().next()?.parse().ok()?;
        Some(Usage { cpu_ms: stat.ticks * TICK_MS, rss_kib })
    }
}

/// Linux shows processor time in hundredths of a second to every program, whatever the kernel counts in
const TICK_MS: u64 = 10;

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses and may hold anything, a parenthesis too.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // From here `nth` counts on from field 4: user and system time are 14 and 15, the start time is 22.
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let started = fields.nth(6)?.parse().ok()?;
    Some(Stat { state, ticks: user + system, started })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const LINE: &str = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 9 0 12345 1000 200 \
                        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn stat_of_a_program_with_a_parenthesis_in_its_name_is_read() {
        assert_eq!(parse_stat(LINE), Some(Stat { state: 'S', ticks: 12, started: 12_345 }));
        assert_eq!(parse_stat("42 (cut"), None);
    }

    #[test]
    fn another_process_with_the_same_pid_gets_no_signal() {
        let own = ProcessId::of(std::process::id()).expect("own process");
        assert_eq!(own.condition(), Condition::Running);
        let other = ProcessId { started: own.started + 1, ..own };
        assert_eq!(other.condition(), Condition::Ended);
        assert!(!other.signal(Signal::KILL));
    }

    #[test]
    fn process_is_paused_resumed_and_ended_by_signals() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep");
        let process = ProcessId::of(child.id()).expect("child");
        let until = |condition| {
            while process.condition() != condition {
                std::thread::yield_now();
            }
        };
        assert!(process.signal(Signal::STOP));
        until(Condition::Paused);
        assert!(process.signal(Signal::CONT));
        until(Condition::Running);
        assert!(process.usage().is_some());
        assert!(process.signal(Signal::KILL));
        // A zombie counts as ended before anybody waits for it.
        until(Condition::Ended);
        while !process.is_gone() {
            std::thread::yield_now();
        }
        child.wait().expect("wait");
        assert!(!process.signal(Signal::KILL));
    }
}
