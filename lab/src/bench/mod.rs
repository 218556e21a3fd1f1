//! `kith-lab bench`: what the mesh costs.

pub mod idle;
