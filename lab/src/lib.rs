//! Real processes on one machine: start a mesh, break it, watch it heal.
//!
//! A [`Lab`] is a directory. Beneath it each process has a home of its own, and `lab.json` lists what was started, so
//! that another terminal (or a later command) can go on with the same lab. `mesh` starts and ends processes,
//! `node` asks them, `observe` tells what changes in them, and on these stand `watch`, `demo`, [`soak`],
//! `bench` and the end-to-end tests.
//!
//! The daemons are this program itself in another role ([`role`]), so that one `cargo run` builds all that it needs.

mod bench;
mod book;
pub mod cli;
mod compose;
mod demo;
pub mod draw;
mod error;
pub mod fate;
#[cfg(test)]
mod fixtures;
pub mod flow;
mod goals;
pub mod graph;
mod histories;
pub mod log;
mod mesh;
mod names;
pub mod net;
mod node;
mod observe;
mod options;
mod output;
pub mod process;
mod programs;
pub mod role;
mod rolling;
pub mod soak;
pub mod state;
mod status;
mod storm;
mod threads;
pub mod verify;
mod watch;
pub mod wire;

pub use error::LabError;
pub use mesh::{Lab, Standing};
pub use node::{Node, OpenTunnel};
pub use options::{Options, Progress};
