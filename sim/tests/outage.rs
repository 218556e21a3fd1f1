//! Two outages, played again: everybody is let in soon, and nobody is put out.

use kith_sim::outage::{Year, run};

#[test]
fn everything_restarts_at_once_and_everybody_is_back_within_a_minute() {
    let outcome = run(Year::Restart, 200, 2.0, 1);
    assert!(outcome.is_good, "{outcome:?}");
}

#[test]
fn supernodes_that_stay_take_the_peers_of_those_that_crashed_and_put_nobody_out() {
    let outcome = run(Year::Crash, 200, 2.0, 1);
    assert!(outcome.is_good, "{outcome:?}");
}

/// Late replies come of the load alone, so that the crash above has the cause that it is said to have.
#[test]
fn nobody_crashes_under_half_the_load_that_there_is_processor_for() {
    let outcome = run(Year::Crash, 200, 0.5, 1);
    assert_eq!((outcome.crashed, outcome.fallen, outcome.put_out), (0, 0, 0), "{outcome:?}");
}
