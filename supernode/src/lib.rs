//! The supernode: logs peers in and out and rewires their neighbourhoods.

pub mod store;
