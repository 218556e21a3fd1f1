//! The command lines of `kith` and `kith-supernode`, but for their verbs: homes, exit codes, and how an end is told.
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
mod environment;
mod interrupt;
mod screen;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use answer::{Answer, ask, ask_within};
pub use environment::VARIABLES;
pub use interrupt::on_interrupt;
pub use screen::{Failure, Screen, Stop, count, escaped, if_stale, short, size, span, table, time};

use self::completions::Completions;
use self::environment::deafened;
use self::screen::EXIT_USAGE;
use crate::home::{HOME_VARIABLE, Home, Role};

/// One of the two programs: what its command line says of it
pub struct Program {
    pub role: Role,
    /// The first line of its help
    pub about: &'static str,
    /// The last lines of its help: what to type, and what exit codes mean
    pub examples: &'static str,
}

/// What a program can do in a home, each verb a file of its own
pub trait Verbs: Subcommand {
    /// Does it; the exit code, or why it ended early
    ///
    /// # Errors
    /// [`Stop`]
    fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop>;
}

#[derive(Debug, Parser)]
#[command(version = env!("CARGO_PKG_VERSION"), long_version = LONG_VERSION, max_term_width = 110)]
struct Cli<V: Subcommand> {
    /// Home directory of the daemon
    #[arg(long, global = true, env = HOME_VARIABLE, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Answer with one JSON object a line, errors too
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb<V>,
}

#[derive(Debug, Subcommand)]
enum Verb<V: Subcommand> {
    #[command(flatten)]
    InHome(V),
    Completions(Completions),
}

const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)");
const _: () = assert!(kith_common::wire::VERSION == 1, "write the new version into LONG_VERSION");

impl Program {
    /// The command line, for whoever checks what others write about it
    pub fn command<V: Verbs>(&self) -> Command {
        let home = format!("Home directory of the daemon [default: ~/{}]", self.role.directory);
        Cli::<V>::command()
            .name(self.role.program)
            .about(self.about)
            .after_long_help(self.examples)
            .mut_arg("home", |arg| arg.help(home))
    }

    /// Runs the command `args` (its own name first) and returns its exit code
    ///
    /// The verb `run` comes back when the daemon has ended; a second signal ends the process itself.
    pub fn main<V: Verbs>(&self, args: impl Iterator<Item = OsString>) -> ExitCode {
        let args: Vec<OsString> = args.collect();
        let wants_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
        let program = self.role.program;
        let command = deafened(self.command::<V>(), &args, &|name| std::env::var_os(name));
        let cli = command.try_get_matches_from(args).and_then(|matches| Cli::<V>::from_arg_matches(&matches));
        match cli {
            Ok(cli) => {
                let mut screen = Screen::standard(cli.json);
                let end = environment::check(std::env::vars_os()).map_err(Stop::from);
                let end = end.and_then(|()| self.run(cli, &mut screen));
                finish(program, &mut screen, end)
            }
            Err(error) => usage(program, &error, wants_json),
        }
    }

    fn run<V: Verbs>(&self, cli: Cli<V>, screen: &mut Screen) -> Result<u8, Stop> {
        match cli.verb {
            Verb::Completions(verb) => verb.run(self.command::<V>(), screen),
            Verb::InHome(verb) => {
                verb.run(&Home::resolve(self.role, cli.home.as_deref()).map_err(Failure::from)?, screen)
            }
        }
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
