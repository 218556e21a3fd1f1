//! Points at which a process ends as if it were killed, for tests of what its disk holds then.
//!
//! Only a build with debug assertions has them, and only one whose environment names a point ends there.

/// Names the point
pub const VARIABLE: &str = "KITHTEST_CRASH_AT";

/// Ends the process, if this point is named and `is_met`
pub fn at(point: &str, is_met: bool) {
    if cfg!(debug_assertions) && is_met && std::env::var(VARIABLE).is_ok_and(|named| named == point) {
        // Without a word, and without a chance to tidy up; it does not return.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
