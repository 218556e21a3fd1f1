//! What both daemons run on, the peer's and the supernode's, and the programs that talk to them.
//!
//! From the bottom up: [`files`] is how things are kept on disk, [`home`] where a node keeps its things, [`identity`] its
//! key; [`config`] puts together what people set, and [`logging`] tells them what happens; [`clock`] is the cores' time,
//! [`kept_waiting`] how short of a processor a thread is, and [`location`] how addresses are written; [`link`] makes links
//! and forwards packets on a thread of its own; [`control`] is how programs on the same machine talk to a daemon; [`host`]
//! is the process around a driver, [`sync`] what threads share things by, [`stall`] a watchdog for long runs,
//! [`turning`] one for the threads of a daemon, and [`cli`] what the command lines share.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod crash;
pub mod files;
pub mod home;
pub mod host;
pub mod identity;
pub mod kept_waiting;
pub mod lies;
pub mod link;
pub mod location;
pub mod logging;
pub mod stall;
pub mod sync;
pub mod turning;
