//! End-to-end tests: meshes of real processes, started, used and broken through the lab's library.
//!
//! Choices are drawn anew in every run. A failure prints the seed that gives the same mesh and the same choices again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod addresses;
mod alone;
mod bench;
mod calls;
mod canary;
mod cli;
mod cuts;
mod functions;
mod histories;
mod hostile;
mod invites;
mod join;
mod keeping;
mod kills;
mod labs;
mod liars;
mod names;
mod pause;
mod pings;
mod pipes;
mod rolling;
mod rubbish;
mod sending;
mod soak;
mod supernode;
mod supernodes;
mod trust;
mod tunnels;

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use kith_lab::{Lab, Options, Progress, log};

/// The program that plays the roles
const BINARY: &str = env!("CARGO_BIN_EXE_kith-lab");
/// For what takes as long as it takes: only a hang exceeds it
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of each log that are shown when a test fails
const TAIL_LINES: usize = 12;

/// A lab in a directory of its own; both go when it is dropped, and after a failure the logs' ends are shown
struct TestLab {
    lab: Lab,
    _dir: tempfile::TempDir,
}

impl Deref for TestLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for process in self.lab.state().map(|state| state.processes).unwrap_or_default() {
            let tail = log::tail(&process.home.join("log"), TAIL_LINES);
            eprintln!("--- {} ({})\n{tail}", process.name, process.condition().word());
        }
    }
}

/// The run's seed, which a failing test shows
fn seed() -> u64 {
    let given = std::env::var("KITH_LAB_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| kith_lab::draw::seed().expect("randomness"));
    eprintln!("reproduce: KITH_LAB_TEST_SEED={seed} cargo test -p kith-lab --test e2e");
    seed
}

fn options(dir: &Path, seed: u64) -> Options {
    Options { seed: Some(seed), ..Options::new(dir.join("lab"), BINARY) }
}

/// One supernode and so many peers of degree 4, everybody with their links
fn mesh_of(peers: usize, seed: u64) -> TestLab {
    mesh(seed, |options| Options { peers, ..options })
}

/// What `made` makes of the usual options, with everybody's links
fn mesh(seed: u64, made: impl FnOnce(Options) -> Options) -> TestLab {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::up(made(options(dir.path(), seed)), Progress::Quiet);
    TestLab { lab: lab.unwrap_or_else(|error| panic!("the mesh did not come up: {error}")), _dir: dir }
}

/// One supernode and no peer yet
fn supernode_only(seed: u64) -> TestLab {
    supernodes_only(1, seed)
}

/// So many supernodes and no peer yet
fn supernodes_only(supernodes: usize, seed: u64) -> TestLab {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::empty(Options { supernodes, ..options(dir.path(), seed) }, Progress::Quiet);
    TestLab { lab: lab.unwrap_or_else(|error| panic!("the supernodes did not come up: {error}")), _dir: dir }
}

/// The names of the peers that run
fn peers(lab: &Lab) -> Vec<String> {
    let peers = lab.running(kith_lab::role::Role::Peer).expect("peers");
    peers.into_iter().map(|peer| peer.name).collect()
}

/// Everybody holds their links again
fn settle(lab: &Lab) {
    lab.settle("everybody to hold their links", PATIENCE).expect("settled");
}
