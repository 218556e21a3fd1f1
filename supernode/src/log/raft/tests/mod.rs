//! The agreement, in one process: openraft's own suite on our store, and supernodes that agree over links that are cut.

mod cluster;
mod conformance;
mod stories;
