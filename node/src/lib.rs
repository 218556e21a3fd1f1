//! The peer: the shell around the cores, its daemon, and the `kith` command.
//!
//! From the bottom up: [`home`] is where a node keeps its things; [`config`] decides what it does; [`logging`] tells
//! people about it; [`control`] is how programs on the same machine talk to a daemon; [`daemon`] is the process around
//! a driver; [`cli`] is the command line. All but the command's own verbs serve the supernode as well.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod home;
pub mod location;
pub mod logging;
mod verbs;
