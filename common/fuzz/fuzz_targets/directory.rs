//! A command of a supernode's log, and a snapshot of its directory
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kith_common::fuzzing::directory(data));
