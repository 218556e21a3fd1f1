//! What the command lines of `kith` and `kith-supernode` share: exit codes, and how an end is told.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | done; also when whoever reads the output closed it |
//! | 1 | a fault on this side: a disk, a terminal |
//! | 2 | wrong arguments or settings |
//! | 3 | no daemon runs in that home |
//! | 40 … 69, 90 … 93 | the status, see [`kith_common::status`] |

mod answer;
mod completions;
mod screen;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

pub use answer::{Answer, ask};
pub use completions::Completions;
pub use screen::{Failure, Screen, Stop, count, escaped, short, size, span, table, time};

use self::screen::EXIT_USAGE;
use crate::home::Role;

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
