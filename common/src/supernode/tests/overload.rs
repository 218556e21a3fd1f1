//! More logins than the log can take: who waits, who is put off, and what is served all the same.

use super::*;
use crate::session::admission::{ANSWER_MARGIN, LOGIN_WAIT};
use crate::session::{ANSWER_WAIT, CHALLENGE_WAIT};
use crate::wire::session::{LookUp, Subject};

/// The log is busy with one login, that of peer 1 on link 1
fn busy() -> Bench {
    let mut bench = Bench::with(0, LONG_LEASE, None);
    bench.ask(1, 1);
    assert_eq!(bench.drain(), ["append LogIn", "1: Challenge"]);
    bench
}

/// So many peers, of these numbers and links, want to log in
fn crowd(bench: &mut Bench, peers: std::ops::RangeInclusive<u8>) {
    peers.for_each(|peer| bench.ask(peer.into(), peer));
}

/// The log has said what became of a whole group, behind which others waited: so it takes `each` for a command
fn measured(each: Duration) -> Bench {
    let mut bench = busy();
    crowd(&mut bench, 2..=60);
    bench.durable();
    assert_eq!(bench.group.len(), GROUP_FIRST);
    bench.wait(each * GROUP_FIRST as u32);
    bench.durable();
    bench
}

/// How long those who were refused with this status were told to wait
fn put_off(said: &[String], status: u16) -> Vec<u64> {
    let ms = |line: &String| {
        let (_, rest) = line.split_once(&format!("Refused {status} for "))?;
        rest.split(' ').next()?.parse().ok()
    };
    said.iter().filter_map(ms).collect()
}

fn commands(bench: &Bench) -> Vec<String> {
    bench.group.iter().map(|proposal| command_name(&proposal.command)).collect()
}

#[test]
fn peers_are_answered_before_they_give_up() {
    assert!(LOGIN_WAIT + ANSWER_MARGIN <= ANSWER_WAIT && GROUP_TIME < LOGIN_WAIT && CHALLENGE_WAIT < LOGIN_WAIT);
    assert!(PUT_OFF_MAX <= Duration::from_secs(60), "what peers keep to");
}

#[test]
fn login_that_has_waited_for_as_long_as_its_peer_does_is_put_off_and_never_given_to_the_log() {
    let mut bench = busy();
    bench.ask(2, 2);
    assert_eq!(bench.wait(LOGIN_WAIT - millis(1)), ["2: Challenge"]);
    let said = bench.wait(millis(1));
    assert_eq!(put_off(&said, 503).len(), 1, "{said:?}");
    bench.durable();
    assert!(bench.core.is_idle() && bench.core.directory().account(&name(2)).is_none());
}

#[test]
fn log_is_given_no_more_logins_than_it_commits_in_time() {
    let bench = measured(millis(200));
    // Of the 27 that are left of those that came 6.4 s ago, 12 can be answered within 9 s.
    assert_eq!((bench.group.len(), bench.core.login_queue(bench.now).waiting), (12, 0));
    assert!(bench.now + millis(200) * 12 <= Instant::ZERO + LONG_LEASE + LOGIN_WAIT);
}

#[test]
fn login_whose_link_is_over_is_not_given_to_the_log() {
    let mut bench = busy();
    bench.ask(2, 2);
    bench.ask(3, 3);
    bench.ask(4, 4);
    bench.close(2);
    // It has said good-bye, and the shell has not closed its link yet.
    bench.frame(3, Frame::Bye(Bye { status: Status::Gone, reason: Reason::truncated("stopped") }));
    bench.drain();
    bench.durable();
    assert_eq!(commands(&bench), ["LogIn"]);
    bench.settle();
    assert!(bench.core.directory().account(&name(2)).is_none() && bench.core.directory().account(&name(3)).is_none());
    assert!(bench.core.directory().by_key(&ed(4).key()).is_some());
}

#[test]
fn login_that_would_wait_too_long_is_put_off_at_once_and_the_log_works_on() {
    let mut bench = measured(millis(100));
    assert_eq!(
        (bench.group.len(), bench.core.login_queue(bench.now).waiting),
        (GROUP_MIN, 59 - GROUP_FIRST - GROUP_MIN)
    );
    assert_eq!(bench.core.login_queue(bench.now).commands_per_second, Some(10));
    crowd(&mut bench, 61..=199);
    let said = bench.drain();
    let waits = put_off(&said, 429);
    let admitted = 139 - waits.len();
    // Ten a second for nine seconds, less what is under way, and the group of the last one.
    assert!((40..=60).contains(&admitted), "{admitted} of 139 wait, {:?}", bench.core.login_queue(bench.now));
    assert!(waits.iter().all(|wait| (1_000..=30_000).contains(wait)), "{waits:?}");
    let seconds: std::collections::BTreeSet<u64> = waits.iter().map(|wait| wait / 1_000).collect();
    assert!(seconds.len() >= 5, "they come back over the time that the log needs for them: {seconds:?}");
    let mut granted = 0;
    while !bench.group.is_empty() {
        let said = bench.wait(millis(100) * bench.group.len() as u32);
        assert_eq!(put_off(&said, 503), [0; 0], "who was let wait is served in time");
        granted += bench.durable().iter().filter(|line| line.ends_with("Granted")).count();
    }
    assert_eq!(granted, 59 - GROUP_FIRST + admitted);
}

#[test]
fn whoever_comes_when_the_log_has_room_again_is_let_in() {
    let mut bench = measured(millis(100));
    crowd(&mut bench, 61..=199);
    while !bench.group.is_empty() {
        bench.wait(millis(100) * bench.group.len() as u32);
        bench.durable();
    }
    bench.close(199);
    bench.ask(250, 199);
    bench.drain();
    assert!(bench.durable().contains(&"250: Granted".to_owned()));
}

#[test]
fn whoever_goes_on_with_a_session_is_served_before_all_newcomers() {
    let mut bench = Bench::with(1, LONG_LEASE, None);
    let session = bench.session(1);
    bench.close(1);
    bench.ask(2, 2);
    bench.drain();
    crowd(&mut bench, 3..=100);
    bench.open(101, 1);
    bench.frame(101, login(1, Some(session)));
    bench.drain();
    bench.durable();
    assert_eq!(bench.group.len(), GROUP_FIRST);
    assert!(bench.durable().contains(&"101: Granted".to_owned()));
    assert_eq!(bench.core.home_of(session), Some(LinkId(101)));
}

#[test]
fn peer_that_has_started_anew_while_its_session_lasts_is_no_newcomer() {
    let mut bench = Bench::with(1, LONG_LEASE, None);
    bench.close(1);
    bench.ask(2, 2);
    bench.drain();
    crowd(&mut bench, 3..=100);
    bench.ask(101, 1);
    bench.drain();
    bench.durable();
    assert!(bench.durable().contains(&"101: Granted".to_owned()));
}

#[test]
fn peer_that_logs_out_and_comes_again_is_a_newcomer() {
    let mut bench = Bench::with(1, LONG_LEASE, None);
    bench.ask(2, 2);
    bench.drain();
    crowd(&mut bench, 3..=100);
    bench.frame(1, Frame::Logout(Logout { session: bench.session(1) }));
    bench.close(1);
    bench.ask(101, 1);
    bench.drain();
    bench.durable();
    assert!(commands(&bench).contains(&"LogOut".to_owned()));
    assert!(!bench.durable().contains(&"101: Granted".to_owned()));
}

/// So many sessions end, or so it is proposed
fn ends(bench: &mut Bench, count: usize) {
    for _ in 0..count {
        let command = Command::Expire { session: SessionId([9; 16]), home: HOME };
        bench.core.proposals.push(command, Then::Nothing);
    }
}

#[test]
fn operators_are_first_and_of_the_rest_three_quarters_are_for_ends_and_one_for_logins() {
    let mut bench = busy();
    crowd(&mut bench, 2..=60);
    ends(&mut bench, 60);
    (0..8).for_each(|ticket| bench.core.release(name(99), ticket));
    bench.drain();
    bench.durable();
    let count = |of: &str| commands(&bench).iter().filter(|name| *name == of).count();
    assert_eq!((bench.group.len(), count("Release"), count("Expire"), count("LogIn")), (32, 8, 18, 6));
}

#[test]
fn what_one_side_has_no_use_for_the_other_has_and_all_stand_as_they_came() {
    let mut bench = busy();
    bench.core.release(name(99), 1);
    crowd(&mut bench, 2..=3);
    bench.core.release(name(99), 2);
    bench.drain();
    bench.durable();
    assert_eq!(commands(&bench), ["Release", "LogIn", "LogIn", "Release"]);
    ends(&mut bench, 40);
    bench.ask(4, 4);
    bench.drain();
    bench.durable();
    assert_eq!(commands(&bench).iter().filter(|name| *name == "Expire").count(), GROUP_FIRST - 1);
}

#[test]
fn sessions_are_served_whatever_waits_for_the_log() {
    let mut bench = Bench::of(2);
    let session = bench.session(1);
    bench.ask(3, 3);
    crowd(&mut bench, 4..=150);
    bench.drain();
    for _ in 0..6 {
        bench.wait(LEASE / 6);
        bench.frame(1, Frame::Renew(Renew { session, epoch: Epoch::new(0, 2) }));
        assert_eq!(bench.drain(), ["1: Renewed"]);
        let subject = Subject::Name(name(2));
        bench.frame(1, Frame::LookUp(LookUp { query: 7, ttl: 0, subject, may_be_stale: true }));
        assert_eq!(bench.drain(), ["1: Found 7 200"]);
    }
    assert_eq!(bench.core.home_of(session), Some(LinkId(1)));
}

#[test]
fn supernode_that_stood_still_does_not_take_its_log_for_slow() {
    let mut bench = busy();
    crowd(&mut bench, 2..=60);
    bench.durable();
    bench.now = bench.now + Duration::from_secs(6);
    bench.core.handle_timeout(bench.now);
    bench.durable();
    assert_eq!(bench.core.login_queue(bench.now).commands_per_second, None);
}
