//! A frame as a link reads it
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kith_common::fuzzing::frame(data));
