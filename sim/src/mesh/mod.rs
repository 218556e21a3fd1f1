//! The whole protocol in virtual time: peers and supernodes with their full cores, a network that fails, users.
//!
//! ```text
//! queue ─► world ─► links, processes, packets ─► the product's cores
//!            │          │                             │
//!          faults      net ◄──────── frames ──────────┘
//!            └─► watch ─► oracles
//! ```
//!
//! A run has three phases: calm, in which the mesh forms; faults; and, once everything is whole again, one lease and
//! 15 s within which it must heal, and as long as peers that were kept apart are just being tried again. One seed gives one
//! run, event by event. Work is free there; [`processor`] gives machines cores, on which it takes time.

mod acting;
pub mod agreement;
mod boxes;
mod breaking;
mod calling;
mod clock;
pub mod config;
mod costs;
pub mod disk;
pub mod faults;
pub mod hellos;
pub mod lies;
mod links;
pub mod log;
pub mod net;
pub mod node;
mod opening;
mod operator;
pub mod oracle;
mod packets;
pub mod pipes;
pub mod processes;
pub mod processor;
mod queue;
mod run;
pub mod shape;
pub mod slow_log;
mod story;
pub mod users;
pub mod watch;
pub mod world;

pub use self::run::{Report, run};
