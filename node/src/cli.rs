//! The command line of `kith`: its arguments. Each verb is a file in `verbs/`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use kith_runtime::cli::{Completions, Failure, Screen, Stop, play};
use kith_runtime::home::{Home, PEER};

use crate::verbs;

const EXAMPLES: &str = "\
Examples:
  kith run --supernode supernode-1:7400 --name alice   join, and stay until Ctrl-C
  kith status                                          is alice logged in
  kith send heidi hello                                deliver a message, see its way and time
  echo hello | kith send heidi -                       the same from standard input
  kith inbox --follow                                  read what comes
  kith --json ping heidi                               for programs: one JSON object a line

Exit codes: 0 done, 1 a fault on this side, 2 wrong arguments, 3 no daemon, else by status:
4xx is 40 + (code - 400), 5xx is 90 + (code - 500); so 404 (not found) is 44 and 503 (unavailable) 93.";

/// A peer of a mesh that heals itself: run one, or talk to the one that runs
#[derive(Debug, Parser)]
#[command(name = "kith", version, long_version = LONG_VERSION, after_long_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    /// Home directory of the peer [default: ~/.kith]
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

const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)");
const _: () = assert!(kith_common::wire::VERSION == 1, "write the new version into LONG_VERSION");

/// The command line, for whoever checks what others write about it
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command `args` (its own name first) and returns its exit code
///
/// The verb `run` comes back when the daemon has ended; a second signal ends the process itself.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    play(PEER, args, |cli: &Cli| cli.json, run)
}

fn run(cli: Cli, screen: &mut Screen) -> Result<u8, Stop> {
    let home = || Home::resolve(PEER, cli.home.as_deref()).map_err(Failure::from);
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

    #[test]
    fn global_flags_may_stand_before_and_after_the_verb() {
        for args in [["kith", "--home", "/x", "--json", "status"], ["kith", "status", "--json", "--home", "/x"]] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.json && cli.home == Some("/x".into()));
        }
    }
}
