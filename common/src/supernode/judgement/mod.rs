//! What this supernode judges by itself, and replicas do not share: which commands time demands.
//!
//! Leases, suspicions and terms of pairs go by this supernode's own clock and links, and start anew with it. What they
//! come to is proposed to the log like anybody's command; until it is committed the directory says what is so.

mod leases;
mod pair_terms;
mod suspicion;

pub use pair_terms::{PAIR_TERM_MAX, PAIR_TERM_MIN};

pub(super) use leases::Leases;
pub(super) use pair_terms::PairTerms;
pub(super) use suspicion::{Output, Suspicion};
