//! The command line of `kith-supernode`; exit codes and their telling are [`kith_runtime::cli`]'s.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use kith_runtime::cli::{Completions, Failure, Screen, Stop, play};
use kith_runtime::home::{Home, SUPERNODE};

use crate::verbs;

const EXAMPLES: &str = "\
Examples:
  kith-supernode run                      start a network, or take it up again, on port 7400
  kith-supernode run --degree 4           the same for a handful of peers
  kith-supernode peers                    every name, and whether its owner is here
  kith-supernode ring                     who is linked to whom
  kith-supernode release bob              give the name bob free for another key
  kith-supernode --json status            for programs: one JSON object a line

Exit codes: 0 done, 1 a fault on this side, 2 wrong arguments, 3 no daemon, else by status:
4xx is 40 + (code - 400), 5xx is 90 + (code - 500); so 404 (not found) is 44 and 410 (logged out) is 50.";

/// The supernode of a mesh that heals itself: run one, or talk to the one that runs
#[derive(Debug, Parser)]
#[command(name = "kith-supernode", version, after_long_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    /// Home directory of the supernode [default: ~/.kith-supernode]
    #[arg(long, global = true, env = "KITH_HOME", value_name = "DIR")]
    home: Option<PathBuf>,

    /// Answer with one JSON object a line, errors too
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    InHome(verbs::Verb),
    Completions(Completions),
}

/// The command line, for whoever checks what others write about it
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command `args` (its own name first) and returns its exit code
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    play(SUPERNODE, args, |cli: &Cli| cli.json, run)
}

fn run(cli: Cli, screen: &mut Screen) -> Result<u8, Stop> {
    let home = || Home::resolve(SUPERNODE, cli.home.as_deref()).map_err(Failure::from);
    match cli.verb {
        Verb::Completions(verb) => verb.run(Cli::command(), screen),
        Verb::InHome(verb) => verb.run(&home()?, screen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
