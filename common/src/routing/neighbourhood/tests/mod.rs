use proptest::prelude::*;

use super::*;
use crate::routing::NeighbourView;
use crate::wire::link::Probe;
use crate::wire::session::{NEIGHBOURS_MAX, Record, Report};

mod acceptance;
mod dialling;
mod duplicates;
mod flaps;
mod losses;
mod meshes;
mod rewires;
mod sessions;
mod standing_in;
mod tables;
mod world;
use world::*;

/// Peer 5, logged in, with these neighbours in its table
fn peer_5(neighbours: &[u8]) -> Neighbourhood {
    let mut core = Neighbourhood::new(key(5), NeighbourhoodConfig::default(), 1);
    core.handle_login(at(0), &grant(5), &rewire(10, neighbours));
    core
}

/// … whose links 1, 2, … to them are up since the beginning
fn peer_5_linked(neighbours: &[u8]) -> Neighbourhood {
    let mut core = peer_5(neighbours);
    for (link, n) in (1..).zip(neighbours) {
        bring_up(&mut core, at(0), link, *n);
    }
    core.handle_timeout(at(50));
    acts(&mut core);
    core
}

/// By the dial that is out, or else by the other side's
fn bring_up(core: &mut Neighbourhood, now: Instant, link: u64, n: u8) {
    let is_dialled = core.neighbours.values().any(|it| it.record.key == key(n) && it.dial == Dial::Running);
    bring_up_by(core, now, link, n, if is_dialled { Direction::Outgoing } else { Direction::Incoming });
}

fn bring_up_by(core: &mut Neighbourhood, now: Instant, link: u64, n: u8, direction: Direction) {
    core.handle_link_opened(now, opened(link, n, direction));
    core.handle_table(now, LinkId(link), table(10, &[(5, true)]));
}

fn closed(core: &mut Neighbourhood) -> Vec<(u64, CloseReason)> {
    let close = |output| {
        if let NeighbourhoodOutput::Close { link, reason, .. } = output { Some((link.0, reason)) } else { None }
    };
    acts(core).into_iter().filter_map(close).collect()
}

fn dialled(outputs: &[NeighbourhoodOutput]) -> Vec<u8> {
    outputs
        .iter()
        .filter_map(|output| if let NeighbourhoodOutput::Dial { key, .. } = output { Some(key.0[0]) } else { None })
        .collect()
}

fn live(core: &Neighbourhood) -> Vec<(u64, u64)> {
    core.live_links().map(|(address, link)| (address.0 >> 32, link.0)).collect()
}

/// Handles every timeout that is due up to `end`, one by one; the acts, with the milliseconds at which they came
fn run(core: &mut Neighbourhood, end: Instant) -> Vec<(u64, NeighbourhoodOutput)> {
    let mut seen = Vec::new();
    while let Some(due) = core.next_timeout().filter(|due| *due <= end) {
        core.handle_timeout(due);
        seen.extend(acts(core).into_iter().map(|act| (due.as_micros() / 1_000, act)));
    }
    seen
}

#[derive(Clone, Debug)]
enum Input {
    Login(u8, u64, Vec<u8>),
    Rewire(u64, Vec<u8>),
    Logout,
    Opened { link: u64, n: u8, place: u8, epoch: u64, boot: u64, is_outgoing: bool, has_grant: bool },
    Table(u64, u64, Vec<(u8, bool)>),
    Delta(u64, Vec<(u8, bool)>),
    Closed(u64, Option<usize>),
    DialFailed(u8),
    Home(bool),
    Timeout,
}

fn input() -> impl Strategy<Value = Input> {
    let peers = || prop::collection::vec(0u8..90, 0..70);
    let bits = || prop::collection::vec((any::<u8>(), any::<bool>()), 0..10);
    let opened = (0u64..200, 0u8..90, 0u8..3, 0u64..4, 0u64..3, any::<(bool, bool)>());
    prop_oneof![
        1 => (0u8..3, 0u64..100, peers()).prop_map(|(place, epoch, row)| Input::Login(place, epoch, row)),
        3 => (0u64..100, peers()).prop_map(|(epoch, row)| Input::Rewire(epoch, row)),
        1 => Just(Input::Logout),
        30 => opened.prop_map(|(link, n, place, epoch, boot, (is_outgoing, has_grant))| {
            Input::Opened { link, n, place, epoch, boot, is_outgoing, has_grant: has_grant || n > 9 }
        }),
        20 => (0u64..200, 0u64..20, bits()).prop_map(|(link, epoch, row)| Input::Table(link, epoch, row)),
        5 => (0u64..200, bits()).prop_map(|(link, row)| Input::Delta(link, row)),
        5 => (0u64..200, prop::option::of(0usize..14)).prop_map(|(link, end)| Input::Closed(link, end)),
        5 => (0u8..90).prop_map(Input::DialFailed),
        2 => any::<bool>().prop_map(Input::Home),
        10 => Just(Input::Timeout),
    ]
}

fn feed(core: &mut Neighbourhood, now: Instant, input: Input) {
    let place = |n: u8, place: u8| Address(address(n).0 + u64::from(place / 2));
    match input {
        Input::Login(to, epoch, row) => core.handle_login(now, &grant_at(5, place(5, to), epoch), &rewire(epoch, &row)),
        Input::Rewire(epoch, row) => core.handle_rewire(now, &rewire(epoch, &row)),
        Input::Logout => core.handle_logout(now),
        Input::Opened { link, n, place: to, epoch, boot, is_outgoing, has_grant } => {
            let direction = if is_outgoing { Direction::Outgoing } else { Direction::Incoming };
            let grant = has_grant.then(|| grant_at(n, place(n, to), epoch));
            core.handle_link_opened(now, Opened { link: LinkId(link), key: key(n), direction, boot, grant });
        }
        Input::Table(link, epoch, row) => core.handle_table(now, LinkId(link), table(epoch, &row)),
        Input::Delta(link, row) => core.handle_delta(now, LinkId(link), &delta(&row)),
        Input::Closed(link, end) => {
            let end = end.and_then(|end| Status::ALL.get(end)).map_or_else(lost, |status| bye(*status));
            core.handle_link_closed(now, LinkId(link), end);
        }
        Input::DialFailed(n) => core.handle_dial_failed(now, key(n), Status::Unavailable, "refused"),
        Input::Home(reachable) => core.handle_home(now, reachable),
        Input::Timeout => core.handle_timeout(core.next_timeout().unwrap_or(now)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_bounds_hold_and_only_the_table_is_dialled(
        inputs in prop::collection::vec((input(), 0u64..900), 1..250),
        seed: u64,
    ) {
        let mut core = Neighbourhood::new(key(5), NeighbourhoodConfig::default(), seed);
        let (mut now, mut epoch) = (at(0), None);
        for (input, step) in inputs {
            now = now + ms(step);
            feed(&mut core, now, input);
            prop_assert!(core.epoch() >= epoch);
            epoch = core.epoch();
            let outputs = drain(&mut core);
            prop_assert!(outputs.len() <= 20 * (LINKS_MAX + NEIGHBOURS_MAX));
            for output in outputs {
                match output {
                    NeighbourhoodOutput::Dial { key, address, .. } => prop_assert!(core.is_neighbour(&key, address)),
                    NeighbourhoodOutput::Send { link, .. } => prop_assert!(core.links.contains_key(&link)),
                    NeighbourhoodOutput::Close { link, .. } => prop_assert!(!core.links.contains_key(&link)),
                    NeighbourhoodOutput::Report(_) => prop_assert!(core.is_home_reachable),
                    NeighbourhoodOutput::RoutesChanged | NeighbourhoodOutput::LossBeyond { .. } | NeighbourhoodOutput::Event(_) => {}
                }
            }
            let views = core.views();
            prop_assert!(views.windows(2).all(|pair| pair[0].address < pair[1].address));
            prop_assert!(views.iter().all(|view| Some(view.address) != core.own_address()));
            prop_assert_eq!(views.iter().filter(|view| view.up).count(), core.live_links().count());
        }
        // Left alone, it comes to rest but for its dials and reports.
        let mut steps = 0;
        let end = now + 60 * SECOND;
        while let Some(due) = core.next_timeout().filter(|due| *due <= end) {
            core.handle_timeout(due);
            drain(&mut core);
            steps += 1;
            prop_assert!(steps < 10_000);
            prop_assert!(core.next_timeout().is_none_or(|next| next > due));
        }
    }
}
