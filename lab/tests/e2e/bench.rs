//! The chains that are measured.

use std::time::Duration;

use kith_lab::bench::chain::{self, BareChain};

#[test]
fn bare_chain_of_processes_brings_messages_through_and_back() {
    let chain = BareChain::start(super::BINARY.as_ref()).expect("a chain");
    let mut stream = chain.connect().expect("connected");
    let figures = chain::measure(&mut stream, 1_024, Duration::from_millis(100), 20).expect("measured");
    assert!(figures.messages_per_s > 0.0 && figures.rtt_p50_us > 0.0, "{figures:?}");
}
