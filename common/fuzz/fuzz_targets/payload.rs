//! A packet's payload, and a message as it is signed
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kith_common::fuzzing::payload(data));
