use super::*;

fn mesh(n: u8, seed: u64) -> World {
    let mut world = World::new(seed);
    (1..=n).for_each(|n| world.join(n));
    world.push_full_mesh();
    world
}

fn downs(world: &World) -> usize {
    world.events.iter().filter(|(_, _, event)| matches!(event, Event::LinkDown { .. })).count()
}

fn assert_linked_once(world: &World) {
    for a in world.peers.keys() {
        for b in world.peers.keys().filter(|b| *b != a) {
            assert_eq!(world.links_between(*a, *b).len(), 1, "{a} and {b}");
        }
        assert_eq!(world.live(*a).len(), world.peers.len() - 1);
    }
}

#[test]
fn two_peers_that_dial_at_once_end_with_one_link_and_no_gap() {
    for spread in [0, 5, 15, 45] {
        let mut world = World::new(spread);
        world.config.head_start = ms(spread);
        world.join(1);
        world.join(2);
        world.push_full_mesh();
        world.run(10 * SECOND);
        assert_eq!(world.dials.len(), if spread < 40 { 2 } else { 1 }, "{spread}");
        assert_linked_once(&world);
        assert_eq!((downs(&world), &world.reports), (0, &vec![]));
    }
}

#[test]
fn eight_peers_link_each_pair_once_and_know_each_others_tables() {
    let mut world = mesh(8, 1);
    world.run(SECOND);
    assert_linked_once(&world);
    for peer in world.peers.values() {
        for view in peer.core.views() {
            assert_eq!(view.table.len(), 7);
            assert!(view.up && view.table.iter().all(|(_, up)| *up));
        }
    }
    let (steps, dials) = (world.steps, world.dials.len());
    world.run(60 * SECOND);
    assert_eq!((dials, world.dials.len()), (28, 28));
    assert!(world.steps - steps < 10, "a quiet mesh says nothing");
}

#[test]
fn killed_peer_is_known_as_down_by_all_within_two_latencies() {
    let mut world = mesh(6, 2);
    world.run(10 * SECOND);
    world.kill(6);
    world.run(2 * world.latency);
    for n in 1..=5 {
        for view in world.core(n).views() {
            let told = view.table.iter().find(|(address, _)| *address == world::address(6));
            assert_eq!(told.map(|(_, up)| *up), if view.address == world::address(6) { None } else { Some(false) });
        }
    }
    let down = (1..=5).filter(|n| {
        world.reports.iter().any(|(_, by, report)| by == n && *report == Report::LinkDown(world::address(6)))
    });
    assert_eq!(down.count(), 5);
}

#[test]
fn killed_peer_that_comes_back_at_the_same_place_is_linked_again() {
    let mut world = mesh(5, 3);
    world.run(10 * SECOND);
    world.kill(5);
    world.run(2 * SECOND);
    world.join_at(5, address(5), 2);
    world.push_full_mesh();
    world.run(2 * SECOND);
    assert_linked_once(&world);
}

#[test]
fn suspect_cut_from_home_is_let_go_by_all_without_hurting_the_others() {
    let mut world = mesh(4, 4);
    world.run(10 * SECOND);
    world.push(&[(1, &[2, 3]), (2, &[1, 3]), (3, &[1, 2])]);
    world.run(10 * SECOND);
    assert_eq!(world.live(4), []);
    assert_eq!(world.live(1), [address(2), address(3)]);
    let isolated = |(_, by, report): &(Instant, u8, Report)| *by == 4 && *report == Report::Isolated;
    assert!(world.reports.iter().any(isolated));
    assert!(!world.reports.iter().any(|(_, by, _)| *by != 4));
}

#[test]
fn make_before_break_leaves_every_peer_linked_throughout() {
    let mut world = World::new(5);
    (1..=6).for_each(|n| world.join(n));
    world.push(&[(1, &[2, 6]), (2, &[1, 3]), (3, &[2, 4]), (4, &[3, 5]), (5, &[4, 6]), (6, &[5, 1])]);
    world.run(10 * SECOND);
    world.push(&[(1, &[3, 5]), (2, &[4, 6]), (3, &[1, 5]), (4, &[2, 6]), (5, &[1, 3]), (6, &[2, 4])]);
    for _ in 0..600 {
        world.run(ms(10));
        assert!((1..=6).all(|n| world.live(n).len() >= 2), "{:?}", world.now);
    }
    assert!((1..=6).all(|n| world.live(n).len() == 2));
    assert_eq!(world.reports, []);
}

#[test]
fn rewire_that_reaches_one_side_two_seconds_late_still_links() {
    let mut world = mesh(2, 6);
    world.run(10 * SECOND);
    world.join(3);
    world.push(&[(1, &[2, 3])]);
    world.run(2 * SECOND);
    world.push(&[(3, &[1])]);
    world.run(SECOND);
    assert_eq!(world.live(1), [address(2), address(3)]);
    assert_eq!(world.live(3), [address(1)]);
    assert_eq!(world.reports, []);
}

#[test]
fn pair_that_cannot_connect_is_reported_by_both_after_five_seconds() {
    let mut world = World::new(7);
    world.cut.insert((1, 2));
    (1..=3).for_each(|n| world.join(n));
    world.push_full_mesh();
    world.run(6 * SECOND);
    let reports: Vec<(u8, Report)> = world.reports.iter().map(|(_, by, report)| (*by, *report)).collect();
    assert_eq!(reports, [(1, Report::Unreachable(address(2))), (2, Report::Unreachable(address(1)))]);
}

#[test]
fn link_that_one_side_lost_unnoticed_by_the_other_is_replaced_at_once() {
    for (a, b) in [(1, 2), (2, 1)] {
        let mut world = mesh(3, 8);
        world.run(10 * SECOND);
        world.break_link(a, b, [ms(0), ms(2_000)]);
        world.run(SECOND);
        assert_eq!(world.live(a).len(), 2, "{a} has a new link");
        world.run(5 * SECOND);
        assert_linked_once(&world);
    }
}

#[test]
fn peer_that_logs_in_at_another_address_is_linked_again_without_a_gap() {
    let mut world = mesh(4, 9);
    world.run(10 * SECOND);
    world.relogin(4, address(40), &[1, 2, 3]);
    world.push(&[(1, &[2, 3, 4]), (2, &[1, 3, 4]), (3, &[1, 2, 4])]);
    for _ in 0..100 {
        world.run(ms(10));
        assert!((1..=4).all(|n| world.live(n).len() >= 3), "{:?}", world.now);
    }
    world.run(10 * SECOND);
    assert_linked_once(&world);
    assert_eq!(world.live(1), [address(2), address(3), address(40)]);
    assert_eq!(downs(&world), 0);
}

#[test]
fn logged_out_peer_is_dialled_rarely_until_the_rewire_comes() {
    let mut world = mesh(3, 10);
    world.run(10 * SECOND);
    let before = world.dials.len();
    world.logout(3);
    world.run(20 * SECOND);
    assert!(world.dials.len() - before <= 2 * 8, "{}", world.dials.len() - before);
    world.push(&[(1, &[2]), (2, &[1])]);
    let before = world.dials.len();
    world.run(20 * SECOND);
    assert_eq!(world.dials.len(), before);
}

#[test]
fn mesh_without_a_home_heals_by_itself() {
    let mut world = mesh(5, 11);
    world.run(10 * SECOND);
    world.home(false);
    world.break_link(1, 2, [ms(0), ms(0)]);
    world.kill(5);
    world.run(SECOND);
    assert!((1..=4).all(|n| world.live(n).len() == 3));
    assert_eq!(world.reports, []);
}

#[test]
fn mesh_heals_after_random_breaks_and_kills() {
    for seed in 0..20 {
        let mut world = mesh(7, seed);
        world.run(6 * SECOND);
        for i in 0..30 {
            let (a, b) = ((seed + i * 3) % 6 + 1, (seed + i * 5 + 1) % 6 + 1);
            if a != b {
                let [x, y] = [i * 37 % 400, i * 91 % 400].map(ms);
                world.break_link(a as u8, b as u8, [x, y]);
            }
            world.run(ms(i * 53 % 700));
        }
        world.kill(7);
        world.push_full_mesh();
        world.run(15 * SECOND);
        assert_linked_once(&world);
    }
}
