//! Series of pings between real processes.

use std::time::Duration;

use kith_common::status::Status;
use kith_lab::graph;
use kith_runtime::control::peer::{PingEcho, PingLine, PingsAnswer, Series};

/// Twenty a second
const EVERY: Duration = Duration::from_millis(50);
/// By when a series that is to be disturbed has begun
const BEGUN: Duration = Duration::from_secs(1);

fn series(count: u64) -> Series {
    let interval_ms = Some(EVERY.as_millis() as u64);
    Series { count: Some(count), interval_ms, size: None, timeout_ms: Some(5_000) }
}

fn answers(lines: &[PingLine]) -> Vec<&PingEcho> {
    lines.iter().filter_map(|line| if let PingLine::Answer(answer) = line { Some(answer) } else { None }).collect()
}

fn adds_up(lines: &[PingLine], answer: &PingsAnswer) {
    let answered = answers(lines).iter().filter(|answer| !answer.duplicate).count() as u64;
    assert_eq!((answer.received, answer.lost), (answered, answer.sent - answered), "{answer:?}");
}

#[test]
fn pings_are_all_answered_and_losses_are_counted_when_the_other_peer_dies() {
    let lab = super::mesh_of(4, super::seed());
    let alice = lab.node("alice").expect("alice");
    let (lines, done) = alice.pings("dave", series(5)).expect("a series");
    assert!(matches!(lines.first(), Some(PingLine::Begun { .. })), "{lines:?}");
    let seen: Vec<_> = answers(&lines).iter().map(|answer| (answer.name.as_str(), answer.seq, answer.bytes)).collect();
    assert_eq!(seen, (1..=5).map(|seq| ("dave", seq, 64)).collect::<Vec<_>>());
    let PingsAnswer { sent, received, lost, duplicates, .. } = done.answer;
    assert_eq!((done.status, sent, received, lost, duplicates), (Status::Delivered, 5, 5, 0, 0));
    let rtt =
        [done.answer.rtt_min_us, done.answer.rtt_avg_us, done.answer.rtt_max_us].map(|time| time.expect("a time"));
    assert!(rtt.is_sorted() && rtt[0] > 0, "{rtt:?}");

    let pinging = alice.clone();
    let pinging = std::thread::spawn(move || pinging.pings("dave", series(100)));
    std::thread::sleep(BEGUN);
    lab.kill("dave").expect("killed");
    let (lines, done) = pinging.join().expect("no panic").expect("a series");
    adds_up(&lines, &done.answer);
    assert_eq!(
        (done.status, done.answer.sent),
        (Status::Delivered, 100),
        "it goes on, as dave may come back: {done:?}"
    );
    assert!(done.answer.received > 0 && done.answer.lost > 0, "{done:?}");
    assert!(lines.iter().any(|line| matches!(line, PingLine::Trouble { .. })), "it says why: {lines:?}");

    let nobody = alice.pings("nobody", series(5)).expect("a series").1;
    assert_eq!((nobody.status, nobody.answer.sent), (Status::NotFound, 0), "{nobody:?}");
    assert!(nobody.answer.reason.is_some(), "{nobody:?}");
}

#[test]
fn pings_go_on_by_another_way_when_a_forwarder_dies() {
    let lab = super::mesh_of(8, super::seed());
    let pairs = graph::pairs(&super::peers(&lab));
    let found = pairs.into_iter().find_map(|(from, to)| {
        let answer = lab.send(&from, &to, "how far?").expect("an answer");
        (answer.path.len() > 2 && !answer.relayed).then(|| (from, to, answer.path[1].clone()))
    });
    let (from, to, forwarder) = found.expect("two peers that are no neighbours");
    let pinging = lab.node(&from).expect("a peer");
    let pinging = std::thread::spawn(move || pinging.pings(&to, series(120)));
    std::thread::sleep(BEGUN);
    lab.kill(&forwarder).expect("killed");
    let (lines, done) = pinging.join().expect("no panic").expect("a series");
    adds_up(&lines, &done.answer);
    assert_eq!((done.status, done.answer.sent), (Status::Delivered, 120), "{done:?}");
    // The mesh heals within three seconds, and the series lasts five more.
    let last = answers(&lines).iter().map(|answer| answer.seq).max();
    assert!(last >= Some(119) && done.answer.lost <= 60, "{done:?}");
}
