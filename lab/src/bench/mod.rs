//! `kith-lab bench`: what the mesh costs.

pub mod chain;
pub mod idle;
