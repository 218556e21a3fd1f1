//! Peers that die without a word.

use kith_common::status::Status;
use kith_lab::draw::Draw;
use kith_lab::soak;

/// Choices of two victims tried in one run; `kith-lab soak --kills` tries all 28
const CHOICES: usize = 4;

#[test]
fn survivors_of_two_kills_at_once_deliver_within_three_seconds_and_show_no_dead_link() {
    let seed = super::seed();
    let lab = super::mesh_of(8, seed);
    let names = super::peers(&lab);
    let mut choices = soak::choices(&names);
    Draw::new(seed, "kills").shuffle(&mut choices);
    for victims in choices.into_iter().take(CHOICES) {
        let outcome = soak::kill_at_once(&lab, &victims).expect("two kills");
        assert!(outcome.held(), "without {}: {}", victims.join(" and "), outcome.text());
        soak::bring_back(&lab, &victims).expect("both are back");
    }
}

#[test]
fn message_to_a_dead_peer_comes_back_with_a_status_and_does_not_wander() {
    let lab = super::mesh_of(8, super::seed());
    let known = lab.send("alice", "heidi", "before").expect("an answer");
    assert!(known.is_delivered(), "{} {}", known.status, known.reason);
    lab.kill("heidi").expect("killed");
    let answer = lab.send("alice", "heidi", "after").expect("an answer");
    // What was written to the dying connection may have been read: then nobody can say 410. A 408 for want of any word
    // within the ten seconds would be a message that wandered.
    let is_known = [Status::NotFound, Status::Gone, Status::Unavailable].contains(&answer.status);
    let is_honest = answer.status == Status::TimedOut && answer.reason.contains("may have arrived");
    assert!(is_known || is_honest, "{} {}", answer.status, answer.reason);
    let gone = lab.wait_until("the directory to call heidi gone", super::PATIENCE, || {
        let answer = lab.send("alice", "heidi", "later").map_err(|error| error.to_string())?;
        if [Status::NotFound, Status::Gone].contains(&answer.status) {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.reason))
        }
    });
    gone.expect("gone");
}

#[test]
fn dead_peer_that_is_started_again_is_rewired_and_reachable() {
    let lab = super::mesh_of(8, super::seed());
    lab.kill("carol").expect("killed");
    super::settle(&lab);
    lab.start_and_wait("carol").expect("back");
    super::settle(&lab);
    for (from, to) in [("alice", "carol"), ("carol", "heidi")] {
        let answer = lab.send(from, to, "welcome back").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
}
