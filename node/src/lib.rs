//! The peer: the shell around the cores, its daemon, and the `kith` command.
//!
//! From the bottom up: [`home`] is where a node keeps its things, [`identity`] its key; [`config`] decides what it does;
//! [`logging`] tells people about it; [`link`] makes links and forwards packets on a thread of its own; [`inbox`] keeps
//! messages, and [`functions`] answers calls; [`control`] is how programs on the same machine talk to a daemon;
//! [`daemon`] is the process around a driver, and the driver the loop between the peer's core and all of these; [`cli`]
//! is the command line. All but the in-box, the driver and the command's own verbs serve the supernode as well.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
mod driver;
pub mod functions;
pub mod home;
pub mod identity;
pub mod inbox;
pub mod link;
pub mod location;
pub mod logging;
mod verbs;
