use std::fs;

use super::*;
use crate::state::PROCESSES_MAX;

fn options(dir: &Path) -> Options {
    // `true` plays every role and ends at once: what the lab does with a daemon that does not stay.
    Options { seed: Some(1), ..Options::new(dir, "/bin/true") }
}

#[test]
fn daemon_that_ends_at_once_is_shown_with_its_log() {
    let dir = tempfile::tempdir().expect("dir");
    let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
    let LabError::NotReady { name, reason, .. } = error else { unreachable!("{error}") };
    assert_eq!((name.as_str(), reason.as_str()), ("supernode-1", "it has ended"));
}

#[test]
fn ended_lab_makes_room_for_a_new_one() {
    let dir = tempfile::tempdir().expect("dir");
    Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
    fs::write(dir.path().join("supernode-1/old"), "").expect("write");
    let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("nobody stays");
    assert!(matches!(error, LabError::NotReady { .. }), "{error}");
    assert!(!dir.path().join("supernode-1/old").exists());
}

#[test]
fn directory_with_other_files_is_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("thesis.txt"), "").expect("write");
    let error = Lab::up(options(dir.path()), Progress::Quiet).expect_err("not a lab");
    assert!(matches!(error, LabError::NotALab(_)), "{error}");
    assert!(dir.path().join("thesis.txt").exists());
}

#[test]
fn options_that_cannot_be_had_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("dir");
    let lab = dir.path().join("lab");
    for wrong in [
        Options { supernodes: 0, ..options(&lab) },
        Options { supernodes: 6, ..options(&lab) },
        Options { degree: 5, ..options(&lab) },
        Options { degree: 2, ..options(&lab) },
        Options { peers: PROCESSES_MAX, ..options(&lab) },
    ] {
        let error = Lab::up(wrong, Progress::Quiet).expect_err("refused");
        assert!(matches!(error, LabError::Options(_)), "{error}");
    }
    assert!(!lab.exists());
}

#[test]
fn absent_lab_is_told_with_the_command_that_makes_it() {
    let dir = tempfile::tempdir().expect("dir");
    let error = Lab::open(dir.path(), "/bin/true".into(), Progress::Quiet).expect_err("none");
    assert!(error.to_string().contains(" up"), "{error}");
}
