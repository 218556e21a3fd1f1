//! The command line of `kith-lab soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{Mesh, seconds, verdict};
use crate::draw;
use crate::error::{LabError, io_error};
use crate::options::Options;
use crate::soak::{self, DisastersOptions, Load, MessagesOptions, SoakOptions};

/// Pairs that send to each other unless it is said otherwise, while one process after the other is killed
const PAIRS_DEFAULT: usize = 12;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(super) struct Soak {
    #[command(flatten)]
    mesh: Mesh,
    /// Kill every choice of two peers at once
    #[arg(long, group = "what")]
    kills: bool,
    /// Kill one process after the other, peers and supernodes alike, until so many messages are accepted: each is delivered
    /// once and in order, and has a true fate
    #[arg(long, group = "what", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Kill 40 of a hundred peers and as many supernodes as may die at once while messages flow, so often: the others hear
    /// each other again within 10 s, and nothing that was accepted is lost
    #[arg(long, group = "what", value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..))]
    disasters: Option<u32>,
    /// A new mesh for each of so many seeds, with --kills
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with_all = ["messages", "disasters"])]
    seeds: u64,
    /// From one kill to the next, in seconds, with --messages
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["kills", "disasters"])]
    every: Duration,
    /// How many pairs of peers send; 12 with --messages, and all with --disasters, if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "kills")]
    pairs: Option<u32>,
    /// Messages a second, of all pairs together
    #[arg(long, default_value_t = 150.0, value_name = "N", value_parser = rate, conflicts_with = "kills")]
    rate: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = bytes, conflicts_with = "kills")]
    bytes: usize,
    /// The kith-lab that plays peers and supernodes, if that is another one
    #[arg(long, value_name = "FILE", conflicts_with = "kills")]
    played_by: Option<PathBuf>,
    /// One object for programs
    #[arg(long, conflicts_with = "kills")]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if rate.is_finite() && rate >= 0.1 { Ok(rate) } else { Err("give 0.1 or more".into()) }
}

fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if bytes <= soak::BYTES_MAX { Ok(bytes) } else { Err(format!("give {} or fewer", soak::BYTES_MAX)) }
}

impl Soak {
    pub(super) fn run(self, dir: PathBuf) -> Result<ExitCode, LabError> {
        let lab = self.mesh.options(dir, true)?;
        let lab = Options { binary: self.played_by.unwrap_or(lab.binary), ..lab };
        let pairs = self.pairs.map(|pairs| pairs as usize);
        let load = |pairs| Load { pairs, rate: self.rate, bytes: self.bytes };
        let json = self.json;
        if let Some(messages) = self.messages {
            let load = load(Some(pairs.unwrap_or(PAIRS_DEFAULT)));
            let options = MessagesOptions { lab, load, messages, every: self.every, json };
            return Ok(verdict(soak::messages(&options)?));
        }
        if let Some(rounds) = self.disasters {
            let options = DisastersOptions { lab, load: load(pairs), rounds: rounds as usize, json };
            return Ok(verdict(soak::disasters(&options)?));
        }
        let seed = self.mesh.seed.map_or_else(draw::seed, Ok).map_err(io_error("draw a seed"))?;
        let failed = soak::kills(&SoakOptions { lab, seed, seeds: self.seeds })?;
        Ok(verdict(failed == 0))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    #[test]
    fn one_soak_is_chosen_and_has_its_own_options_only() {
        let parses = |args: &str| Cli::try_parse_from(["kith-lab", "soak"].into_iter().chain(args.split(' '))).is_ok();
        for args in ["--kills --seeds 4", "--messages 100 --every 1 --pairs 3 --json", "--disasters 2 --rate 300"] {
            assert!(parses(args), "{args}");
        }
        for args in [
            "--messages 0",
            "--disasters 0",
            "--kills --messages 100",
            "--messages 100 --seeds 4",
            "--disasters 2 --every 1",
            "--kills --json",
            "--messages 100 --rate 0",
            "--messages 100 --bytes 100000000",
        ] {
            assert!(!parses(args), "{args}");
        }
    }
}
