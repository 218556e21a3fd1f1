//! The product's own cores in virtual time: no sockets, no clock, no chance but the seed's.
//!
//! `routes` sends packets through a whole overlay of up to a million peers, decided hop by hop by
//! [`kith_common::routing`] as forwarders do; `churn` counts what joins and leaves change, `figures` measures all that
//! there are goals for, and `plot` draws it. What it needs, from the bottom up: [`chance`] (numbers from a seed),
//! [`members`] and `sessions` (who is on the ring), `overlay` (who is linked to whom, and who is dead), `walk` (one
//! packet's way), `stats` and `moore` (what to make of many).
//!
//! Results depend on the seed alone, not on the number of threads; what a clock measured is kept apart from them.
#![allow(
    clippy::indexing_slicing,
    reason = "all data is the simulator's own: a wrong index is its bug, and must stop it"
)]

mod arguments;
pub mod chance;
mod churn;
pub mod cli;
pub mod collapse;
mod crowd;
mod door;
mod figures;
mod goals;
pub mod members;
pub mod mesh;
mod moore;
mod mutants;
mod oracles;
pub mod outage;
mod output;
mod overlay;
pub mod overload;
mod parallel;
mod plot;
mod routes;
mod sessions;
mod stats;
pub mod sweep;
mod walk;
