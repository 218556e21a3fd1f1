//! `kith-sim mutants`: whether the oracles see mistakes.
//!
//! Oracles that are content with the product prove something only if they object to products that are wrong. With the
//! feature `mutants` the cores can make each of [`kith_common::mutant`]'s mistakes; here each is switched on in one run
//! of [`crate::mesh`] after the other, until an oracle objects. The same run without the mistake must please the oracles.
//!
//! `scenarios`: which runs; `hunt`: a mistake through the runs; `report`: what came of it.

#[cfg(feature = "mutants")]
pub(crate) mod hunt;
#[cfg(feature = "mutants")]
pub(crate) mod report;
pub(crate) mod scenarios;

use std::process::ExitCode;

use clap::Args;
use kith_common::mutant::Mutant;

use crate::output;

/// The mistakes to make, and how
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only these mistakes, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Mutant>,
    /// Print an object instead of a table
    #[arg(long)]
    json: bool,
    /// How many threads; what is found does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// List the mistakes and the runs that they go through, and do nothing
    #[arg(long, conflicts_with_all = ["only", "json"])]
    list: bool,
}

/// Runs the verb; 1 if a mistake was not seen that should be, 2 if this program cannot make any
pub(crate) fn verb(options: &Options) -> ExitCode {
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    run(options)
}

fn list() {
    let width = Mutant::ALL.iter().map(|mutant| mutant.name().len()).max().unwrap_or(0) + 2;
    for mutant in Mutant::ALL {
        output::line(&format!("{:<width$}{}", mutant.name(), mutant.describe()));
    }
    output::line("");
    for scenario in scenarios::ALL {
        let seeds = scenario.seeds;
        output::line(&format!("{:<width$}{}, {seeds} seeds", scenario.name, scenario.replay(scenario.first)));
    }
}

#[cfg(feature = "mutants")]
fn run(options: &Options) -> ExitCode {
    let threads = options.threads.unwrap_or_else(crate::parallel::threads_default);
    let began = std::time::Instant::now();
    let hunted: Vec<Mutant> = match options.only.as_slice() {
        [] => Mutant::ALL.iter().copied().filter(|mutant| !scenarios::UNSEEN.contains(mutant)).collect(),
        only => only.to_vec(),
    };
    let hunts = hunt::all(&hunted, threads);
    let left_out = if options.only.is_empty() { scenarios::UNSEEN } else { &[] };
    let report = report::Report::new(&hunts, left_out, began.elapsed());
    if options.json {
        output::json(&report)
    } else {
        report.print()
    }
    if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "mutants"))]
fn run(_: &Options) -> ExitCode {
    output::note("kith-sim: this program was built without mistakes to make; build and run one that has them by");
    output::note("  cargo run --release -p kith-sim --features mutants -- mutants");
    ExitCode::from(2)
}
