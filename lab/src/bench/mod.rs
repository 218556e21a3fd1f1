//! `kith-lab bench`: what the mesh costs.

pub(crate) mod chain;
pub(crate) mod idle;
