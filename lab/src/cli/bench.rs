//! The benches of `kith-lab`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use super::{Mesh, binary, seconds, verdict};
use crate::bench::chain::{self, ChainOptions};
use crate::bench::directory::{self, DirectoryOptions};
use crate::bench::heal::{self, Fault, HealOptions, Over};
use crate::bench::home::{self, HomeOptions};
use crate::bench::idle::{self, IdleOptions};
use crate::bench::light::{self, LightOptions};
use crate::bench::messages::{self, MessagesOptions};
use crate::bench::opening;
use crate::bench::scale::{self, ScaleOptions};
use crate::bench::stream::{self, By, StreamOptions};
use crate::error::LabError;
use crate::options::Options;
use crate::storm::LIGHTS_MAX;

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Memory, processor time and bytes per second and link of peers that have nothing to do
    Idle {
        #[command(flatten)]
        mesh: Mesh,
        /// How long is measured, in seconds
        #[arg(long = "for", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
        measured: Duration,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Many peers at once: whether all come up, what one costs at rest, and how soon all is whole again after a third of
    /// them stood still, and after their supernode was killed
    Scale {
        #[command(flatten)]
        mesh: Mesh,
        /// How often they are disturbed in both ways
        #[arg(long, default_value_t = 3, value_name = "N")]
        rounds: u16,
        /// How long the mesh at rest is measured, in seconds
        #[arg(long = "for", default_value = "20", value_name = "SECONDS", value_parser = seconds)]
        measured: Duration,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Messages per second and round trips through three forwarders, beside relays that only copy bytes
    Chain {
        /// Bytes of a message, one size after the other
        #[arg(long, default_values_t = [64, 1024, 16 * 1024], value_delimiter = ',', value_name = "BYTES", value_parser = message_bytes)]
        sizes: Vec<usize>,
        /// How often each chain takes its turn at each size
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// How long is measured in all
        #[arg(long, default_value = "36", value_name = "SECONDS", value_parser = seconds)]
        seconds: Duration,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Processor time of a link's opening, beside that of a signature's check
    Opening {
        /// How often both are measured
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Logins and look-ups a second at one supernode and at three, beside group commits of the bare disk and echoes of the
    /// bare network; and how soon a supernode with a large directory starts
    ///
    /// On labs of its own, beneath the directory, which are ended with it.
    Directory {
        /// How many clients
        #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        clients: u16,
        /// How long all but the start is measured, in seconds
        #[arg(long, default_value = "40", value_name = "SECONDS", value_parser = seconds)]
        seconds: Duration,
        /// Names of the directory that is read at a start; 0: no start is measured
        #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        entries: u32,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Many light peers (true keys, sessions and links to their homes, in one process): whether all stay logged in, and what
    /// one costs its home; with several supernodes, how soon those of one that is killed have another
    ///
    /// On a lab of its own, beneath the directory, which is ended with it.
    Light {
        /// How many
        #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=LIGHTS_MAX as i64))]
        lights: u16,
        /// How many supernodes, 1 to 5
        #[arg(long, default_value_t = 1, value_name = "N")]
        supernodes: usize,
        /// How long the light peers at rest are measured, in seconds
        #[arg(long = "for", default_value = "60", value_name = "SECONDS", value_parser = seconds)]
        measured: Duration,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// A forwarder on the way of a running connection fails, again and again: how long nothing comes back over it
    ///
    /// In networks of their own, which take root.
    Heal {
        #[command(flatten)]
        mesh: Mesh,
        /// What befalls it, separated by commas
        #[arg(long, value_enum, value_delimiter = ',', default_values = ["silent", "stopped", "one-way", "killed"], value_name = "FAULTS")]
        faults: Vec<Fault>,
        /// What runs on the connection
        #[arg(long, value_enum, default_value = "calls")]
        over: Over,
        /// How often, of each
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Messages and calls a second over three forwarders, beside requests over relays that only copy bytes
    Messages {
        #[command(flatten)]
        mesh: Mesh,
        /// How many are under way at once, one number after the other
        #[arg(long, default_values_t = [1, 16, 256], value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        at_once: Vec<u16>,
        /// How often each is measured
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// How long each is measured each time, in seconds
        #[arg(long = "for", default_value = "3", value_name = "SECONDS", value_parser = seconds)]
        measured: Duration,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
    /// Bytes a second through one pipe over forwarders, beside a TCP connection through relays that only copy bytes
    Stream(Streamed),
    /// Bytes a second through one TCP connection over a tunnel, likewise
    Tunnel(Streamed),
    /// A home is killed under messages and look-ups of its peers, and started again: what is lost, and how soon look-ups are
    /// sure again
    Home {
        #[command(flatten)]
        mesh: Mesh,
        /// How often
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// One object for programs
        #[arg(long)]
        json: bool,
    },
}

/// How bytes are streamed
#[derive(Debug, clap::Args)]
pub(super) struct Streamed {
    #[command(flatten)]
    mesh: Mesh,
    /// How many forwarders, one number after the other
    #[arg(long, default_values_t = [1, 3], value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u16).range(0..=8))]
    forwarders: Vec<u16>,
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long is written each time, in seconds
    #[arg(long = "for", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    measured: Duration,
    /// One object for programs
    #[arg(long)]
    json: bool,
}

impl Streamed {
    fn run(self, dir: PathBuf, by: By) -> Result<ExitCode, LabError> {
        let Self { mesh, forwarders, rounds, measured, json } = self;
        let lab = mesh.options(dir, true)?;
        let forwarders = forwarders.into_iter().map(usize::from).collect();
        let options = StreamOptions { lab, by, forwarders, rounds: rounds.into(), measured, json };
        Ok(verdict(stream::run(&options)?))
    }
}

impl Bench {
    pub(super) fn run(self, dir: PathBuf) -> Result<ExitCode, LabError> {
        match self {
            Self::Idle { mesh, measured, json } => {
                idle::run(&IdleOptions { lab: mesh.options(dir, true)?, measured, json }).map(|_| ExitCode::SUCCESS)
            }
            Self::Scale { mesh, rounds, measured, json } => {
                let report = scale::run(&ScaleOptions { lab: mesh.options(dir, true)?, rounds, measured, json })?;
                Ok(verdict(report.held()))
            }
            Self::Chain { sizes, rounds, seconds, json } => {
                let rounds = usize::from(rounds);
                let report = chain::run(&ChainOptions { binary: binary()?, sizes, rounds, measured: seconds, json })?;
                Ok(verdict(report.is_whole()))
            }
            Self::Opening { rounds, json } => opening::run(rounds.into(), json).map(|_| ExitCode::SUCCESS),
            Self::Directory { clients, seconds, entries, json } => {
                let lab = Options::new(dir, binary()?);
                let (clients, entries) = (clients.into(), entries as usize);
                let options = DirectoryOptions { lab, clients, measured: seconds, entries, json };
                Ok(verdict(directory::run(&options)?))
            }
            Self::Light { lights, supernodes, measured, json } => {
                let lab = Options { supernodes, ..Options::new(dir, binary()?) };
                Ok(verdict(light::run(&LightOptions { lab, lights: lights.into(), measured, json })?))
            }
            Self::Heal { mesh, faults, over, rounds, json } => {
                let lab = Options { netns: true, ..mesh.options(dir, true)? };
                Ok(verdict(heal::run(&HealOptions { lab, over, faults, rounds: rounds.into(), json })?))
            }
            Self::Messages { mesh, at_once, rounds, measured, json } => {
                let lab = mesh.options(dir, true)?;
                let at_once = at_once.into_iter().map(usize::from).collect();
                let options = MessagesOptions { lab, at_once, rounds: rounds.into(), measured, json };
                Ok(verdict(messages::run(&options)?))
            }
            Self::Stream(streamed) => streamed.run(dir, By::Pipe),
            Self::Tunnel(streamed) => streamed.run(dir, By::Tunnel),
            Self::Home { mesh, rounds, json } => {
                let options = HomeOptions { lab: mesh.options(dir, true)?, rounds: rounds.into(), json };
                Ok(verdict(home::run(&options)?))
            }
        }
    }
}

fn message_bytes(text: &str) -> Result<usize, String> {
    let range = chain::MESSAGE_BYTES_MIN..=chain::MESSAGE_BYTES_MAX;
    let bytes = text.parse().ok().filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| format!("{text:?} is no number of bytes from {} to {}", range.start(), range.end()))
}
