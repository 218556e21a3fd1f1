//! `kith-sim plot`: what packets need and what becomes of them, as two pictures.
//!
//! `hops.svg` has mean hops by the number of peers for four degrees, beside the least that any graph of the degree could
//! reach and beside Chord. `dead.svg` has the share of packets delivered by the share of peers that died. Every point is
//! what `kith-sim routes` finds.

mod chart;
mod dead;
mod hops;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::{arguments, output};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the pictures go; what has their names there is replaced
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The largest size in the picture of hops
    #[arg(long, value_name = "N", default_value = "1M", value_parser = arguments::peers)]
    pub max_peers: usize,
    /// How many peers of which some die
    #[arg(long, value_name = "N", default_value = "10k", value_parser = arguments::peers)]
    pub dead_peers: usize,
    /// Packets for each point
    #[arg(long, value_name = "K", default_value = "20k", value_parser = arguments::some)]
    pub pairs: usize,
    /// The seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = arguments::seed)]
    pub seed: u64,
    /// Threads; what is found does not depend on them [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match draw(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("kith-sim plot: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn draw(options: &Options) -> Result<(), String> {
    check(&options.out)?;
    for (name, chart) in [("dead.svg", dead::chart(options)), ("hops.svg", hops::chart(options))] {
        let path = options.out.join(name);
        let svg = chart.svg().map_err(|error| format!("{name}: {error}"))?;
        std::fs::write(&path, svg).map_err(|error| format!("{}: {error}", path.display()))?;
        output::line(&path.display().to_string());
    }
    Ok(())
}

/// Whether pictures can be written there, before an hour of work shows that they cannot
fn check(out: &Path) -> Result<(), String> {
    if out.exists() && !out.is_dir() {
        return Err(format!("{} is a file: name a directory", out.display()));
    }
    let probe = out.join(".kith-sim");
    let written = std::fs::create_dir_all(out).and_then(|()| std::fs::write(&probe, ""));
    let written = written.and_then(|()| std::fs::remove_file(&probe));
    written.map_err(|error| format!("nothing can be written into {}: {error}", out.display()))
}

#[cfg(test)]
mod tests;
