use std::time::Duration;

use super::*;

/// Peer 5 with links to 7, which comes and goes, and to 8, which does not
fn peer_5_with_8() -> Neighbourhood {
    peer_5_linked(&[7, 8])
}

/// The link to this peer is lost at `lost`, and another one is up a millisecond later; for how long it is held back
fn flap(core: &mut Neighbourhood, lost_at: u64, n: u8, link: u64) -> u64 {
    core.handle_link_closed(at(lost_at), LinkId(link), lost());
    bring_up(core, at(lost_at + 1), link + 10, n);
    drain(core);
    held(core, n).map_or(0, |until| until.as_micros() / 1_000 - lost_at - 1)
}

/// The links 1, 11 … to 7 are lost one second after the other
fn flap_often(core: &mut Neighbourhood, times: u64) {
    for i in 0..times {
        flap(core, 1_000 * (i + 1), 7, 1 + 10 * i);
    }
}

fn held(core: &Neighbourhood, n: u8) -> Option<Instant> {
    let held = core.neighbours().into_iter().find(|status| status.key == key(n)).and_then(|status| status.held_until);
    let view = core.views().into_iter().find(|view| view.address == address(n)).unwrap();
    assert_eq!((view.up, view.held), (true, held.is_some()));
    held
}

#[test]
fn link_that_is_lost_again_and_again_is_held_back_for_longer_each_time() {
    let mut core = peer_5_with_8();
    let held: Vec<u64> = (0..9).map(|i| flap(&mut core, 2_000 * (i + 1), 7, 1 + 10 * i)).collect();
    assert_eq!(held, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
}

#[test]
fn link_that_has_lasted_carries_again_and_begins_anew_once_it_lasted_long() {
    for (lasts, expected) in [(19_999, 4_000), (20_001, 0)] {
        let mut core = peer_5_with_8();
        flap_often(&mut core, 3);
        assert_eq!(held(&core, 7), Some(at(5_001)));
        run(&mut core, at(5_000));
        assert!(held(&core, 7).is_some());
        core.handle_timeout(at(5_001));
        let taken = |event: &Event| matches!(event, Event::TakenAgain { .. });
        assert_eq!(events(&mut core).iter().filter(|event| taken(event)).count(), 1);
        assert_eq!(held(&core, 7), None);
        assert_eq!(flap(&mut core, 3_001 + lasts, 7, 31), expected, "{lasts}");
    }
}

#[test]
fn link_that_was_held_back_for_long_must_last_four_times_as_long() {
    for (lasts, expected) in [(31_999, 16_000), (32_000, 0)] {
        let mut core = peer_5_with_8();
        flap_often(&mut core, 5);
        assert_eq!(flap(&mut core, 5_001 + lasts, 7, 51), expected, "{lasts}");
    }
}

#[test]
fn link_that_has_lasted_begins_anew_however_it_ends() {
    let mut core = peer_5_with_8();
    flap_often(&mut core, 4);
    core.handle_link_closed(at(30_000), LinkId(41), bye(Status::SlowDown));
    bring_up(&mut core, at(30_001), 51, 7);
    assert_eq!(held(&core, 7), None);
}

#[test]
fn losses_are_remembered_while_a_peer_is_in_no_table() {
    let mut core = peer_5_with_8();
    flap(&mut core, 1_000, 7, 1);
    core.handle_link_closed(at(2_000), LinkId(11), lost());
    core.handle_rewire(at(2_500), &rewire(11, &[8]));
    core.handle_rewire(at(3_000), &rewire(12, &[7, 8]));
    bring_up(&mut core, at(3_100), 21, 7);
    assert_eq!(held(&core, 7), Some(at(4_100)));
}

#[test]
fn peer_that_has_started_anew_has_a_clean_sheet() {
    let mut core = peer_5_with_8();
    flap_often(&mut core, 5);
    core.handle_link_closed(at(6_000), LinkId(51), lost());
    core.handle_link_opened(at(6_001), Opened { boot: 2, ..opened(61, 7, Direction::Incoming) });
    core.handle_table(at(6_001), LinkId(61), table(10, &[]));
    assert_eq!(held(&core, 7), None);
    assert_eq!(flap(&mut core, 7_000, 7, 61), 0, "its first loss");
}

#[test]
fn whoever_takes_leave_has_lost_nothing() {
    let mut core = peer_5_with_8();
    for i in 0..5 {
        core.handle_link_closed(at(1_000 * (i + 1)), LinkId(1 + 10 * i), bye(Status::SlowDown));
        bring_up(&mut core, at(1_000 * (i + 1) + 1), 11 + 10 * i, 7);
    }
    assert_eq!(held(&core, 7), None);
}

#[test]
fn who_dials_again_without_a_word_has_lost_the_link_that_we_still_held() {
    let mut core = peer_5_with_8();
    for (at_ms, link, expected) in [(3_000, 11, None), (6_000, 21, Some(at(7_000)))] {
        bring_up_by(&mut core, at(at_ms), link, 7, Direction::Incoming);
        assert_eq!(held(&core, 7), expected);
        drain(&mut core);
    }
    // Those that crossed are one.
    bring_up_by(&mut core, at(6_500), 31, 7, Direction::Outgoing);
    assert_eq!(flap(&mut core, 7_000, 7, 31), 2_000);
}

#[test]
fn of_more_peers_than_are_remembered_the_one_lost_longest_ago_is_forgotten() {
    let mut flaps = super::super::flaps::Flaps::default();
    for n in 0..300_u16 {
        let key = Key(std::array::from_fn(|i| if i < 2 { n.to_be_bytes()[i] } else { 0 }));
        (0..2).for_each(|_| flaps.on_end(at(n.into()), key, 1, at(n.into()), true));
        let first = Key([0; 32]);
        let expected = if n < 256 { Duration::from_secs(1) } else { Duration::ZERO };
        assert_eq!(flaps.held(&first, 1).0, expected, "{n}");
        assert_eq!(flaps.held(&key, 1).0, Duration::from_secs(1));
    }
}
