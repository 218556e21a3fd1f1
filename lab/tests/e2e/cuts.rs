//! Nodes that are cut off from each other, in networks of their own.

use kith_lab::{Lab, LabError, Options, Progress};

use super::supernodes::{assert_delivered, flow, serial, sessions, wait_homes_without};
use super::{PATIENCE, TestLab};

/// A mesh in networks of its own; none where the system has none to give, and then there is nothing to test
fn mesh(seed: u64, peers: usize) -> Option<TestLab> {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { supernodes: 3, peers, netns: true, ..super::options(dir.path(), seed) };
    match Lab::up(options, Progress::Quiet) {
        Ok(lab) => Some(TestLab { lab, _dir: dir }),
        Err(LabError::Options(reason)) if reason.starts_with("networks of their own need") => {
            eprintln!("SKIPPED: {reason}");
            None
        }
        Err(error) => panic!("the mesh did not come up: {error}"),
    }
}

#[test]
fn leader_that_is_cut_off_leads_nobody_and_its_sessions_go_on_at_the_others() {
    let seed = super::seed();
    let Some(lab) = mesh(seed, 6) else { return };
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let leader = lab.leader().expect("a leader").name;
    let (gone, flow) = (serial(&lab, &leader), flow(&lab, seed));
    let mut others: Vec<String> =
        lab.state().expect("state").processes.into_iter().map(|process| process.name).collect();
    others.retain(|name| *name != leader);
    lab.cut(&["leader".to_owned()], &others, false).expect("cut");
    wait_homes_without(&lab, gone);
    let other = || match lab.leader().map_err(|error| error.to_string())?.name {
        name if name == leader => Err("it still leads".to_owned()),
        _ => Ok(()),
    };
    lab.wait_until("another one to lead", PATIENCE, other).unwrap_or_else(|error| panic!("{error}"));
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").unwrap_or_else(|error| panic!("{error}"));
    lab.stop("newcomer").expect("logged out");
    lab.heal().expect("healed");
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    assert_delivered(flow);
    let kept = || {
        let now = sessions(&lab)?;
        let is_kept = before.iter().all(|(name, session)| now.get(name) == Some(session));
        if is_kept { Ok(()) } else { Err(format!("{now:?} instead of {before:?}")) }
    };
    lab.wait_until("sessions to be as they were", PATIENCE, kept).unwrap_or_else(|error| panic!("{error}"));
    super::settle(&lab);
    assert_eq!(lab.graph().expect("graph"), links);
}

#[test]
fn followers_that_do_not_hear_each_other_disturb_nobody() {
    let seed = super::seed();
    let Some(lab) = mesh(seed, 4) else { return };
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let leader = lab.leader().expect("a leader").name;
    let mut followers: Vec<String> = (1..=3).map(|number| format!("supernode-{number}")).collect();
    followers.retain(|name| *name != leader);
    let flow = flow(&lab, seed);
    lab.cut(&followers[..1], &followers[1..], false).expect("cut");
    let parted = || match lab.agreed() {
        Ok(()) => Err("they still have their link".to_owned()),
        Err(_) => Ok(()),
    };
    lab.wait_until("the followers to lose their link", PATIENCE, parted).unwrap_or_else(|error| panic!("{error}"));
    lab.add_peer("newcomer").expect("started");
    lab.wait_logged_in("newcomer").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lab.leader().expect("a leader").name, leader, "it is heard by both");
    lab.stop("newcomer").expect("logged out");
    lab.heal().expect("healed");
    lab.wait_agreed().unwrap_or_else(|error| panic!("{error}"));
    assert_delivered(flow);
    lab.wait_until("the newcomer's name to be all that is new", PATIENCE, || {
        let mut now = sessions(&lab)?;
        now.remove("newcomer");
        if now == before { Ok(()) } else { Err(format!("{now:?} instead of {before:?}")) }
    })
    .unwrap_or_else(|error| panic!("{error}"));
    super::settle(&lab);
    assert_eq!(lab.graph().expect("graph"), links);
}

#[test]
fn peer_that_does_not_hear_another_is_reached_round_it_and_stays_deaf_over_its_restart() {
    let seed = super::seed();
    let Some(lab) = mesh(seed, 5) else { return };
    let (before, links) = (sessions(&lab).expect("sessions"), lab.graph().expect("graph"));
    let (from, to) = links.iter().find_map(|(from, to)| Some((from.clone(), to.first()?.clone()))).expect("a link");
    lab.cut(std::slice::from_ref(&from), std::slice::from_ref(&to), true).expect("cut");
    let is_round = || {
        let fate = lab.send(&from, &to, "round about").map_err(|error| error.to_string())?;
        let is_round = fate.is_delivered() && fate.path.len() > 2 && !fate.relayed;
        if is_round { Ok(()) } else { Err(format!("{} over {}", fate.status, fate.way())) }
    };
    lab.wait_until("a way round", PATIENCE, is_round).unwrap_or_else(|error| panic!("{error}"));
    lab.kill(&to).expect("killed");
    lab.start_and_wait(&to).expect("back");
    lab.wait_until("a way round again", PATIENCE, is_round).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lab.state().expect("state").net.expect("networks").cuts.len(), 1);
    lab.heal().expect("healed");
    assert!(lab.state().expect("state").net.expect("networks").cuts.is_empty());
    assert_eq!(sessions(&lab).expect("sessions").len(), before.len());
}

#[test]
fn lab_in_one_network_says_how_to_start_one_in_which_somebody_can_be_cut_off() {
    let lab = super::mesh_of(2, super::seed());
    let error = lab.cut(&["alice".to_owned()], &["bob".to_owned()], false).expect_err("refused").to_string();
    assert!(error.contains("up --netns"), "{error}");
    assert!(lab.heal().is_err());
}
