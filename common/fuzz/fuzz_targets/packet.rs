//! A packet, read and forwarded
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kith_common::fuzzing::packet(data));
