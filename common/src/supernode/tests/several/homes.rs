use super::*;

/// Three, of which the second is the home of peers 1 and 2, and the third of peer 3, on the link that is returned
fn three() -> (Several, LinkId) {
    let mut several = Several::of(3);
    several.enter(1, 1);
    several.enter(1, 2);
    let third = several.enter(2, 3);
    (several, third)
}

#[test]
fn sessions_of_a_home_that_is_gone_end_a_lease_after_the_leader_saw_it_go_and_nobody_is_suspected() {
    let (mut several, third) = three();
    several.kill(1);
    several.live(LEASE - millis(1_000), &[third]);
    assert_eq!((several.logged("Expire"), several.logged("Suspect")), (0, 0));
    several.live(millis(2_000), &[third]);
    assert_eq!((several.logged("Expire"), several.logged("Suspect")), (2, 0));
    assert_eq!((several.home(1), several.home(2), several.home(3)), (None, None, Some(id_of(2))));
}

#[test]
fn home_that_comes_back_in_time_keeps_its_sessions() {
    let (mut several, third) = three();
    several.kill(1);
    several.live(LEASE / 2, &[third]);
    several.restart(1);
    several.live(LEASE - millis(2_000), &[third]);
    assert_eq!(several.logged("Expire"), 0, "each has a whole lease from its home's start");
    several.live(millis(4_000), &[third]);
    assert_eq!(several.logged("Expire"), 2, "nobody came back");
}

#[test]
fn peer_that_goes_on_elsewhere_keeps_its_session() {
    let (mut several, third) = three();
    let (session, address) = (several.session(1), several.address(1));
    several.kill(1);
    let epoch = several.core(0).directory().epoch();
    let link = several.ask(2, 1, Some(session));
    assert_eq!(several.take_said(), ["1: Granted"]);
    assert_eq!((several.home(1), several.session(1), several.address(1)), (Some(id_of(2)), session, address));
    assert_eq!(several.core(0).directory().epoch(), epoch, "nobody has another table");
    several.live(LEASE * 2, &[third, link]);
    assert_eq!((several.home(1), several.home(2)), (Some(id_of(2)), None));
}

#[test]
fn home_that_another_supernode_sees_is_not_gone() {
    let (mut several, third) = three();
    let links = [third];
    several.cut(0, 1);
    several.live(LEASE - millis(2_000), &links);
    assert_eq!(several.core(0).backbone_to(id_of(1)), None);
    // Its peers have no links in this test; its own judgement ends nothing before a lease, and proposes through nobody.
    assert_eq!(several.logged("Expire"), 0);
    several.live(LEASE * 2, &links);
    assert_eq!(several.logged("Expire"), 0, "the third supernode sees it");
    several.cut(2, 1);
    several.live(LEASE + millis(7_000), &links);
    assert_eq!(several.logged("Expire"), 2);
}

#[test]
fn new_leader_and_one_that_stood_still_count_anew() {
    let (mut several, third) = three();
    several.kill(1);
    several.live(LEASE - millis(2_000), &[third]);
    several.lead(Some(2));
    several.live(LEASE - millis(1_000), &[third]);
    assert_eq!(several.logged("Expire"), 0);
    // All of them, as this is one machine.
    several.now = several.now + millis(2_000);
    for node in [0, 2] {
        several.nodes[node].core.handle_timeout(several.now);
    }
    several.live(LEASE - millis(1_000), &[third]);
    assert_eq!(several.logged("Expire"), 0);
    several.live(millis(3_000), &[third]);
    assert_eq!(several.logged("Expire"), 2);
}

#[test]
fn sessions_of_a_supernode_that_was_removed_end_a_lease_later() {
    let (mut several, third) = three();
    several.tell_members(3);
    let entries: Vec<_> = [0, 2].map(entry).into();
    for node in [0, 2] {
        several.nodes[node].core.handle_log(several.now, LogEvent::Supernodes(entries.clone()));
    }
    several.live(LEASE - millis(1_000), &[third]);
    assert_eq!(several.logged("Expire"), 0);
    several.live(millis(2_000), &[third]);
    assert_eq!(several.logged("Expire"), 2);
}

#[test]
fn ends_go_to_the_log_in_slices_and_those_that_are_lost_again() {
    let mut several = Several::of(3);
    for peer in 1..=SLICE as u8 + 9 {
        several.enter(1, peer);
    }
    several.kill(1);
    several.wait(LEASE - millis(500));
    several.leader = None;
    several.wait(millis(3_000));
    assert_eq!(several.logged("Expire"), 0, "the log has lost them");
    several.leader = Some(0);
    several.wait(millis(1_100));
    assert_eq!(several.logged("Expire"), SLICE + 9);
}

#[test]
fn only_its_home_judges_a_session_and_only_the_leader_counts_minutes() {
    let (mut several, third) = three();
    several.live(LEASE + millis(31_000), &[third]);
    let by = |several: &Several, name: &str| -> BTreeSet<usize> {
        let logged = several.log.iter().filter(|(command, _)| command_name(command) == name);
        logged.filter_map(|(_, by)| by.map(|(node, _)| node)).collect()
    };
    assert_eq!(by(&several, "Expire"), [1].into(), "peers 1 and 2 never renewed");
    assert_eq!((several.logged("Expire"), by(&several, "Minute")), (2, [0].into()));
    assert_eq!(several.home(3), Some(id_of(2)));
}

#[test]
fn each_supernode_pushes_tables_to_its_own_homes() {
    let mut several = Several::of(2);
    let links = [several.enter(0, 1), several.enter(1, 2)];
    several.live(millis(1_000), &links);
    several.said.clear();
    several.enter(0, 3);
    several.said.clear();
    several.wait(GATHER);
    let mut rewires: Vec<_> = several.said.iter().filter(|said| said.ends_with("Rewire")).cloned().collect();
    rewires.sort_unstable();
    assert_eq!(rewires, ["1: Rewire", "2: Rewire", "3: Rewire"]);
}
