//! Certificates and grants of strangers
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kith_common::fuzzing::grant(data));
