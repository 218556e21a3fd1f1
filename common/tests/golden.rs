//! The wire format cannot change by accident: every frame and every variant against `src/wire/golden.txt` and
//! `golden-signed.txt`, what is not in the format is refused, and `docs/protocol.md` says the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by its panic")]

mod golden {
    pub(crate) mod bounds;
    pub(crate) mod page;
    pub(crate) mod properties;
    pub(crate) mod sessions;
    pub(crate) mod signed;
    pub(crate) mod values;
    pub(crate) mod vectors;
}
