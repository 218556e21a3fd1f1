//! The command line of `kith-lab`.

mod actions;
mod bench;
mod histories;
mod soak;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::bench::Bench;
use self::histories::Histories;
use self::soak::Soak;
use crate::bench::chain;
use crate::compose::{self, ComposeOptions};
use crate::demo::{self, DemoOptions};
use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::options::{Options, Progress, SUPERNODES_DEFAULT};
use crate::role;
use crate::rolling::{self, RollingOptions};
use crate::storm::{self, StormOptions};
use crate::{output, programs, status, watch};

/// Where a lab is if nothing else is said
const DIR_DEFAULT: &str = ".kith-lab";
/// Whoever runs this learns by it that this machine cannot do what was asked: as automake's tests say so
const SKIPPED: u8 = 77;

/// Real processes on one machine: start a mesh, break it, watch it heal
#[derive(Debug, Parser)]
#[command(name = "kith-lab", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// Everything that the lab makes lies beneath this directory
    #[arg(long, global = true, default_value = DIR_DEFAULT, value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a mesh and wait until every peer holds its links
    Up(Mesh),
    /// List the processes
    Ps {
        /// One object for programs: seed, degree, dir, processes with name, role, pid, state, home, listen
        #[arg(long)]
        json: bool,
    },
    /// Show who leads the supernodes, how each of them is, and which of them is whose home
    Status {
        /// One object for programs: leader, term, supernodes, peers with their homes
        #[arg(long)]
        json: bool,
    },
    /// Run a verb of `kith` (or `kith-supernode`) at one process: exec alice send heidi hello
    Exec {
        /// Whose daemon is asked
        name: String,
        /// What would follow `kith`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "VERB")]
        verb: Vec<OsString>,
    },
    /// Kill processes without a chance to say goodbye (kill -9), all at once
    Kill {
        /// Whom; `leader` is the supernode that leads
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// End processes as their machines would: they say goodbye (SIGTERM)
    Stop {
        /// Whom
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Stop a process where it is (SIGSTOP)
    Pause {
        /// Whom
        name: String,
    },
    /// Let a paused process go on (SIGCONT), and wait until everybody holds their links
    Resume {
        /// Whom
        name: String,
    },
    /// Start a dead process again, in its old home, and wait until everybody holds their links
    Start {
        /// Whom
        name: String,
    },
    /// Show the links and what happens to them, live; Ctrl-C ends it
    Watch {
        /// End after this many seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
        limit: Option<Duration>,
    },
    /// Cut nodes off from each other, without a word to either: cut alice bob, or cut leader,alice supernode-2,supernode-3;
    /// in a lab that was started with --netns
    Cut {
        /// Whom, separated by commas
        #[arg(value_name = "NAMES", value_parser = names)]
        these: Names,
        /// Off from whom, likewise
        #[arg(value_name = "NAMES", value_parser = names)]
        those: Names,
        /// Only what the first ones send is lost; the others are heard
        #[arg(long)]
        one_way: bool,
    },
    /// Undo all cuts, and wait until everybody holds their links
    Heal,
    /// Let many light peers log in at once (true keys, sessions and links to their homes, in one process), and stay until
    /// Ctrl-C: how soon all are in, and again whenever they lose their homes
    ///
    /// They stand in the ring and take no links, so messages among the lab's own peers suffer: begin with up --peers 0.
    Storm {
        /// How many
        #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=storm::LIGHTS_MAX as i64))]
        lights: u16,
        /// End after this many seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
        limit: Option<Duration>,
        /// Once all are in, kill all supernodes and start them again, judge how soon all are back, and end
        #[arg(long, conflicts_with = "limit")]
        kill: bool,
        /// One object for programs at the end
        #[arg(long)]
        json: bool,
    },
    /// Let clients log in, look up and log out at three supernodes that are killed, stopped and started meanwhile, write down
    /// what they are told, and judge whether one directory could have said all of it
    ///
    /// On a lab of its own, beneath the directory, which is ended with it.
    Histories(Histories),
    /// Restart every supernode, and then replace it by a new one, one at a time, while messages flow and peers log in: no
    /// login may be refused without a word when to come again, and nothing may be lost
    ///
    /// On a lab of its own, beneath the directory, which is ended with it.
    Rolling {
        #[command(flatten)]
        mesh: Mesh,
        /// How many peers log out and in all the time, beside those that stay
        #[arg(long, default_value_t = 3, value_name = "N")]
        visitors: usize,
        /// How often each is restarted and replaced
        #[arg(long, default_value_t = 1, value_name = "N")]
        rounds: usize,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Show a process's log
    Logs {
        /// Whose
        name: String,
        /// Go on as it grows; Ctrl-C ends it
        #[arg(short, long)]
        follow: bool,
        /// Only this many of its last lines
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<usize>,
    },
    /// End every process that the lab has started, and no other; homes and logs stay until the next `up`
    Down,
    /// Start a mesh, kill the forwarder of a flow of messages, see it heal, bring the dead peer back; kill the supernode that
    /// leads, see another one lead; say goodbye
    Demo {
        #[command(flatten)]
        mesh: Mesh,
        /// Kill a forwarder so often, and judge the median
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        runs: u16,
        /// The longest median outage that still holds, in milliseconds
        #[arg(long, default_value_t = 500, value_name = "MS")]
        outage_max: u64,
        /// One object for programs on standard output, and the rest on standard error
        #[arg(long)]
        json: bool,
    },
    /// Break a mesh in every way there is
    Soak(Soak),
    /// Measure a mesh
    #[command(subcommand)]
    Bench(Bench),
    /// Write the manual pages of both programs and of their verbs into a directory
    Man {
        /// Where; it is made if it is not there
        #[arg(value_name = "DIR")]
        into: PathBuf,
    },
    /// Start the containers, break them in every way, see them heal; needs a docker engine with compose
    Compose {
        /// Make the image of what .ci/static has built, and not from source
        #[arg(long)]
        prebuilt: bool,
        /// Where docker-compose.yml is
        #[arg(long, default_value = ".", value_name = "DIR")]
        repository: PathBuf,
        /// Leave the containers running at the end
        #[arg(long)]
        keep: bool,
    },
}

/// The mesh to start
#[derive(Debug, Args)]
struct Mesh {
    /// How many supernodes share the directory, 1 to 5; with three, any one may die
    #[arg(long, default_value_t = SUPERNODES_DEFAULT, value_name = "N")]
    supernodes: usize,
    /// How many peers
    #[arg(long, default_value_t = 8, value_name = "N")]
    peers: usize,
    /// The network's degree: even, at least 4
    #[arg(long, default_value_t = 4, value_name = "D")]
    degree: u8,
    /// What keys and salts are drawn from; with one supernode the same seed gives the same ring again
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Seconds that a session lasts without a renewal; 30 where nobody says otherwise, and less in a lab to see more
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    lease: Duration,
    /// Give each process a network of its own, so that `cut` can cut it off: needs root, or user namespaces for everybody
    #[arg(long)]
    netns: bool,
}

impl Mesh {
    fn options(&self, dir: PathBuf, tied: bool) -> Result<Options, LabError> {
        let options = Options::new(dir, binary()?);
        let (supernodes, peers, degree, seed) = (self.supernodes, self.peers, self.degree, self.seed);
        let (netns, lease) = (self.netns, self.lease);
        Ok(Options { supernodes, peers, degree, seed, lease, netns, tied, ..options })
    }
}

/// Some processes of a lab
#[derive(Clone, Debug)]
struct Names(Vec<String>);

#[expect(clippy::unnecessary_wraps, reason = "so clap wants it")]
fn names(text: &str) -> Result<Names, String> {
    Ok(Names(text.split(',').map(|name| name.trim().to_owned()).collect()))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn binary() -> Result<PathBuf, LabError> {
    std::env::current_exe().map_err(io_error("find the lab's own program"))
}

/// The command line, for whoever checks what others write about it
pub fn command() -> clap::Command {
    Cli::command()
}

pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    let args: Vec<OsString> = args.collect();
    let other = || programs::play(program.as_deref(), &args);
    if let Some(code) = role::play(&args).or_else(|| chain::play(&args)).or_else(other) {
        return code;
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("kith-lab: {error}"));
            if matches!(error, LabError::Lacking(_)) { ExitCode::from(SKIPPED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, LabError> {
    let dir = cli.dir;
    let lab = || Lab::open(&dir, binary()?, Progress::Lines);
    match cli.verb {
        Verb::Up(mesh) => actions::up(mesh.options(dir.clone(), false)?, &dir),
        Verb::Ps { json } => actions::ps(&lab()?, json),
        Verb::Exec { name, verb } => actions::exec(&lab()?, &name, verb),
        Verb::Kill { names } => actions::kill(&lab()?, &names),
        Verb::Pause { name } => lab()?.pause(&name).map(|()| ExitCode::SUCCESS),
        Verb::Stop { names } => actions::stop(&lab()?, &names),
        Verb::Status { json } => status::run(&lab()?, json).map(|()| ExitCode::SUCCESS),
        Verb::Resume { name } => actions::resume(&lab()?, &name),
        Verb::Start { name } => actions::start(&lab()?, &name),
        Verb::Watch { limit } => watch::run(&lab()?, limit).map(|()| ExitCode::SUCCESS),
        Verb::Logs { name, follow, lines } => actions::logs(&lab()?, &name, follow, lines),
        Verb::Cut { these, those, one_way } => lab()?.cut(&these.0, &those.0, one_way).map(|()| ExitCode::SUCCESS),
        Verb::Heal => actions::heal(&lab()?),
        Verb::Storm { lights, limit, kill, json } => {
            let options = StormOptions { lights: lights.into(), limit, kill, json };
            Ok(verdict(storm::run(&lab()?, options)?))
        }
        Verb::Histories(histories) => histories.run(dir),
        Verb::Rolling { mesh, visitors, rounds, json } => {
            let lab = mesh.options(dir, true)?;
            Ok(verdict(rolling::run(&RollingOptions { lab, visitors, rounds, json })?))
        }
        Verb::Down => actions::down(&lab()?),
        Verb::Demo { mesh, runs, outage_max, json } => {
            let (runs, outage_max) = (runs.into(), Duration::from_millis(outage_max));
            let (first, other) = (crate::names::peer(0), actions::other_dir(&dir));
            let up = format!("kith-lab{other} up                             # starts it, and says what to type then");
            let next = [programs::export(&dir), up, format!("kith-lab{other} exec {first} peers")];
            let lab = mesh.options(dir.clone(), true)?;
            let report = demo::run(&DemoOptions { lab, runs, outage_max, json, next: next.to_vec() })?;
            actions::link_programs(&dir, &binary()?)?;
            Ok(verdict(report.held()))
        }
        Verb::Soak(soak) => soak.run(dir),
        Verb::Bench(bench) => bench.run(dir),
        Verb::Man { into } => programs::write_manual(&into).map(|()| ExitCode::SUCCESS),
        Verb::Compose { prebuilt, repository, keep } => {
            Ok(containers(ComposeOptions { dir: repository, prebuilt, keep }))
        }
    }
}

fn verdict(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn containers(options: ComposeOptions) -> ExitCode {
    match compose::run(options) {
        Ok(steps) => verdict(steps.iter().all(|step| step.held)),
        Err(error) => {
            output::note(&format!("kith-lab: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verb_after_exec_keeps_its_own_flags() {
        let args = ["kith-lab", "--dir", "d", "exec", "alice", "send", "heidi", "-", "--json"];
        let cli = Cli::try_parse_from(args).expect("parse");
        let Verb::Exec { name, verb } = cli.verb else { unreachable!("not exec") };
        assert_eq!((name.as_str(), verb.len()), ("alice", 4));
        assert_eq!(cli.dir, Path::new("d"));
    }

    #[test]
    fn each_side_of_a_cut_may_be_several() {
        let cli = Cli::try_parse_from(["kith-lab", "cut", "leader,alice", "bob", "--one-way"]).expect("parse");
        let Verb::Cut { these, those, one_way } = cli.verb else { unreachable!("not cut") };
        assert_eq!((these.0.join(" "), those.0.join(" "), one_way), ("leader alice".into(), "bob".into(), true));
    }

    #[test]
    fn directory_may_stand_before_or_after_the_verb() {
        for args in [["kith-lab", "--dir", "d", "down"], ["kith-lab", "down", "--dir", "d"]] {
            assert_eq!(Cli::try_parse_from(args).expect("parse").dir, Path::new("d"));
        }
    }

    #[test]
    fn wrong_numbers_are_refused() {
        for args in [
            &["kith-lab", "watch", "--for", "-1"][..],
            &["kith-lab", "watch", "--for", "soon"],
            &["kith-lab", "demo", "--runs", "0"],
            &["kith-lab", "soak"],
            &["kith-lab"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
