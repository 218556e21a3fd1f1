//! More logins than a slow log can take: nobody is put out, the log is used, and all are in soon after.

use std::time::Duration;

use kith_sim::overload::run;

/// For long enough that the log's twelve seconds without a word are a small part of it
const LOAD: Duration = Duration::from_secs(120);

#[test]
fn overloaded_supernode_serves_as_many_as_its_log_can_take_and_puts_nobody_out() {
    let outcome = run(1, 400, LOAD, 1);
    assert!(outcome.is_good(), "{:?}", outcome.missed().collect::<Vec<_>>());
}

#[test]
fn three_overloaded_supernodes_share_a_slow_log_and_put_nobody_out() {
    let outcome = run(3, 400, LOAD, 1);
    assert!(outcome.is_good(), "{:?}", outcome.missed().collect::<Vec<_>>());
}
