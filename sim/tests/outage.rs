//! Two outages, played again: everybody is let in soon, and nobody is put out.

use kith_sim::outage::{Year, run};

#[test]
fn everything_restarts_at_once_and_everybody_is_back_within_a_minute() {
    let outcome = run(Year::Restart, 200, 1);
    assert!(outcome.is_good, "{outcome:?}");
}

#[test]
fn supernodes_that_stay_take_the_peers_of_those_that_crashed_and_put_nobody_out() {
    let outcome = run(Year::Crash, 200, 1);
    assert!(outcome.is_good, "{outcome:?}");
}
