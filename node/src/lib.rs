//! The peer: the shell around the cores, its daemon, and the `kith` command.
//!
//! `config` decides what it does; `inbox` keeps messages, and `functions` answers calls; `daemon` puts its parts
//! together, and the driver is the loop between the peer's core and all of these; [`cli`] is the command line. Links,
//! homes, logs and the control socket are what both daemons run on: [`kith_runtime`].

pub mod cli;
mod config;
mod daemon;
mod driver;
mod functions;
mod inbox;
mod joined;
mod piping;
mod tunnels;
mod verbs;
mod who;
