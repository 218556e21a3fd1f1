//! The command line of `kith`.
//!
//! Each verb is a file in `verbs/`; here is what they share: arguments, exit codes, and how an end is told.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | done; also when whoever reads the output closed it |
//! | 1 | a fault on this side: a disk, a terminal |
//! | 2 | wrong arguments or settings |
//! | 3 | no daemon runs in that home |
//! | 40 … 69, 90 … 93 | the status, see [`kith_common::status`] |

mod answer;
mod screen;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

pub use answer::{Answer, ask, last_status};
pub use screen::{
    EXIT_LOCAL, EXIT_NO_DAEMON, EXIT_USAGE, Failure, Screen, Stop, count, escaped, short, size, span, table, time,
};

use crate::home::{Home, PEER, Role};
use crate::verbs::Verb;

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
pub(crate) struct Cli {
    /// Home directory of the peer [default: ~/.kith]
    #[arg(long, global = true, env = "KITH_HOME", value_name = "DIR")]
    home: Option<PathBuf>,

    /// Answer with one JSON object a line, errors too
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)");
const _: () = assert!(kith_common::wire::VERSION == 1, "write the new version into LONG_VERSION");

/// Runs the command `args` (its own name first) and returns its exit code
///
/// The verb `run` comes back when the daemon has ended; a second signal ends the process itself.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    play(PEER, args, |cli: &Cli| cli.json, run)
}

/// Parses the arguments of one of the programs, does what they say, and tells how it ended
pub fn play<C: Parser>(
    role: Role,
    args: impl Iterator<Item = OsString>,
    is_json: impl FnOnce(&C) -> bool,
    run: impl FnOnce(C, &mut Screen) -> Result<u8, Stop>,
) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let wants_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let cli = without_empty_environment(C::command())
        .try_get_matches_from(args)
        .and_then(|matches| C::from_arg_matches(&matches));
    match cli {
        Ok(cli) => {
            let mut screen = Screen::standard(is_json(&cli));
            let end = run(cli, &mut screen);
            finish(role.program, &mut screen, end)
        }
        Err(error) => usage(role.program, &error, wants_json),
    }
}

fn run(cli: Cli, screen: &mut Screen) -> Result<u8, Stop> {
    let home = || Home::resolve(PEER, cli.home.as_deref()).map_err(Failure::from);
    match cli.verb {
        Verb::Completions(verb) => verb.run(screen),
        verb => verb.run(&home()?, screen),
    }
}

/// Tells how a command ended, and its exit code
fn finish(program: &str, screen: &mut Screen, end: Result<u8, Stop>) -> ExitCode {
    match end {
        Ok(exit) => ExitCode::from(exit),
        Err(Stop::OutputClosed) => ExitCode::SUCCESS,
        Err(Stop::Failed(failure)) => match screen.failure(program, &failure) {
            Ok(()) => ExitCode::from(failure.exit),
            // There is nowhere left to say it; the exit code still does.
            Err(_) => ExitCode::from(failure.exit),
        },
    }
}

/// Tells what clap has to say: help and version are no errors
fn usage(program: &str, error: &clap::Error, json: bool) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !is_help {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().to_owned();
        let failure = Failure::usage(text, Some(format!("{program} --help")));
        return finish(program, &mut Screen::standard(true), Err(failure.into()));
    }
    if error.print().and_then(|()| std::io::stdout().flush()).is_err() {
        tracing::trace!(reason = "output closed", "help not printed");
    }
    ExitCode::from(if is_help { 0 } else { EXIT_USAGE })
}

/// The command, deaf to variables of the environment that are empty: compose files set what nobody gave to nothing
fn without_empty_environment(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let deafen = |arg: Arg| match arg.get_env().is_some_and(is_empty) {
        true => arg.env(Resettable::<clap::builder::OsStr>::Reset),
        false => arg,
    };
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let command = command.mut_args(deafen);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, without_empty_environment))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
