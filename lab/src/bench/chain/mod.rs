//! `kith-lab bench chain`: messages per second and round trips through three forwarders, beside a chain that only copies.
//!
//! Two chains of five processes each (a sender, three forwarders, a receiver) take turns on the same machine, so that
//! their ratio means something where the figures themselves do not: `links` is Kith's link layer with the real
//! decisions, `bare` is TCP relays. Both carry the same packets (`message`) and check them alike. `stage` runs
//! the processes, `ask` is what is said to them, `report` what comes out.

mod ask;
pub(super) mod bare;
mod links;
mod message;
mod report;
mod stage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::error::LabError;
use crate::output;
pub(crate) use report::{Report, Row};
use stage::Stage;

/// The hidden subcommand of `kith-lab` that plays one process of a chain: `role-chain bare|kith PLACE`
pub(crate) const ROLE: &str = "role-chain";
/// The largest message: its packet must fit into a frame
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// The smallest message: it carries its run and its number
pub(crate) const MESSAGE_BYTES_MIN: usize = message::STAMP_BYTES;

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct ChainOptions {
    /// The program that plays the processes: the lab's own
    pub binary: PathBuf,
    /// Bytes of the messages, one size after the other
    pub sizes: Vec<usize>,
    /// How often each chain takes its turn at each size
    pub rounds: usize,
    /// How long is measured in all
    pub measured: Duration,
    /// Whether the report is for programs
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bare,
    Kith,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Kith => "kith",
        }
    }
}

/// One turn of one chain at one size
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lap {
    /// Messages per second
    rate: f64,
    /// Processor time of all five processes for a message, in nanoseconds
    cpu_ns: f64,
    /// … and of one of its forwarders, which have nothing to do but to pass it on
    forwarder_ns: f64,
    p50_us: f64,
    p99_us: f64,
    sent: u64,
    lost: u64,
}

/// Of each turn, so much goes to sending and the rest to round trips
const SENDING_PART: f64 = 0.65;

/// Starts both chains, measures them in turns, ends them, and prints the report
///
/// # Errors
/// A process did not start, ended, or did not answer. All processes have ended then.
pub(crate) fn run(options: &ChainOptions) -> Result<Report, LabError> {
    let (mut bare, mut kith) = (Stage::start(Kind::Bare, &options.binary)?, Stage::start(Kind::Kith, &options.binary)?);
    let turns = 2 * options.sizes.len() * options.rounds;
    let turn = options.measured / u32::try_from(turns).unwrap_or(u32::MAX).max(1);
    let sending = turn.mul_f64(SENDING_PART);
    let mut rows = Vec::new();
    for size in &options.sizes {
        let mut laps = Vec::new();
        for round in 1..=options.rounds {
            let lap = (bare.lap(*size, sending, turn - sending)?, kith.lap(*size, sending, turn - sending)?);
            if !options.json {
                output::note(&report::progress(*size, round, options.rounds, &lap.0, &lap.1));
            }
            laps.push(lap);
        }
        rows.push(Row::of(*size, &laps));
    }
    let report = Report::new(rows, options.rounds, kith.faults()?);
    output::line(&if options.json { report.json() } else { report.table() });
    Ok(report)
}

/// If `args` (without the program's own name) ask for a process of a chain, plays it until the bench ends
pub(crate) fn play(args: &[OsString]) -> Option<ExitCode> {
    let [role, kind, place] = args else { return None };
    let place = place.to_str()?.parse().ok().filter(|place| *place < ask::PLACES)?;
    if role != ROLE {
        return None;
    }
    // Ctrl-C is for the bench alone; its processes end with it.
    let _ = rustix::process::setsid();
    match kind.to_str()? {
        "bare" => Some(bare::play(place)),
        "kith" => Some(links::play(place)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_a_chain_are_played() {
        for args in [&["role-chain", "bare", "5"][..], &["role-chain", "other", "1"], &["up", "bare", "1"], &[]] {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            assert!(play(&args).is_none(), "{args:?}");
        }
    }
}
