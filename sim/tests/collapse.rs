//! A mesh that is short of processor, disturbed: it must be whole again by itself within two leases.

use kith_sim::collapse::{Story, run};

#[track_caller]
fn comes_back(story: Story) {
    let outcome = run(story, 1);
    assert!(outcome.is_good, "{outcome:?}");
}

#[test]
fn third_of_the_peers_that_stands_still_finds_back_though_all_are_short_of_processor() {
    comes_back(Story::Peers);
}

#[test]
fn supernode_that_stands_still_longer_than_a_lease_finds_its_peers_again() {
    comes_back(Story::Supernode);
}

#[test]
fn thousand_peers_that_start_at_once_on_two_cores_are_whole_in_time() {
    comes_back(Story::Start);
}

#[test]
fn third_of_a_thousand_peers_that_stands_still_finds_back() {
    comes_back(Story::Thousand);
}
