//! The supernode: logs peers in and out and rewires their neighbourhoods.
//!
//! `network` is whose supernode it is; `log` the log of the directory's commands, agreed on and durable, and `others` who
//! else counts on it; the driver the loop between links, directory and log; `daemon` the process; `config` and [`cli`] are
//! what people see.
//! Links, homes, logs and the control socket are what both daemons run on: [`kith_runtime`].

pub mod cli;
mod config;
mod daemon;
mod driver;
mod log;
mod network;
mod others;
mod verbs;
