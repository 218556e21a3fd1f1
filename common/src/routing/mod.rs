//! Forwards packets and looks after links.

pub mod liveness;
pub mod neighbourhood;
