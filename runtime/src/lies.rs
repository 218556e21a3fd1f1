//! Peers that look alive and forward nothing, for tests of what honest ones make of them.
//!
//! Only a build with debug assertions has them, and only one whose environment says so is one.

/// Is set, to whatever
pub const VARIABLE: &str = "KITHTEST_LIES";

/// Whether this process is one
pub(crate) fn are_told() -> bool {
    cfg!(debug_assertions) && std::env::var_os(VARIABLE).is_some()
}
