//! stub

pub mod functions;
pub mod inbox;
