//! A network of invites: who is let in, what a listener gains, and how minutes are counted.

use super::*;
use crate::directory::Refusal as DirectoryRefusal;
use crate::id::InviteId;
use crate::invite::Token;
use crate::wire::removed::{AskRemoved, Mark};
use crate::wire::session::InviteProof;

const INVITE_LINK: u64 = 50;

/// A supernode of a closed network, which leads
fn closed() -> Bench {
    let mut bench = Bench::over(Directory::new(0), LONG_LEASE, None);
    let rules = AdmissionConfig { is_open: false, ..(*admission(LONG_LEASE)).clone() };
    bench.core.credentials.admission = Arc::new(rules);
    bench.core.handle_log(bench.now, LogEvent::LeaderChanged(Some(HOME)));
    bench
}

fn invite(bench: &mut Bench, uses: u32, minutes: Option<u32>) -> Token {
    bench.core.invite(None, uses, minutes, 1);
    bench.outputs();
    bench.commit();
    let token = bench.outputs().into_iter().find_map(|output| match output {
        SupernodeOutput::Answered { outcome: Some(Outcome::Invited(token)), .. } => Some(token),
        _ => None,
    });
    token.unwrap()
}

/// What `peer` shows, as if it were at `at`'s connection
fn proof(token: &Token, at: u8) -> Option<InviteProof> {
    let handshake = handshake_of(NETWORK, [at, SUPERNODE], [at, SUPERNODE]);
    Some(InviteProof { id: token.id(), proof: handshake.invite_proof(&token.0) })
}

fn ask(bench: &mut Bench, peer: u8, invite: Option<InviteProof>) -> Vec<String> {
    let link = INVITE_LINK + u64::from(peer);
    bench.open(link, peer);
    let Frame::Login(login) = login(peer, None) else { unreachable!() };
    bench.frame(link, Frame::Login(Login { invite, ..login }));
    let said = bench.settle();
    bench.close(link);
    bench.settle();
    said
}

#[test]
fn uninvited_newcomer_is_refused_without_a_write() {
    let mut bench = closed();
    assert_eq!(ask(&mut bench, 1, None), ["51: Challenge", "51: Refused 403 for 0 ms"]);
}

#[test]
fn invited_newcomer_is_let_in_once_and_stays_the_owner() {
    let mut bench = closed();
    let token = invite(&mut bench, 1, None);
    assert!(ask(&mut bench, 1, proof(&token, 1)).contains(&"51: Granted".to_owned()));
    assert!(ask(&mut bench, 2, proof(&token, 2)).contains(&"52: Refused 403 for 0 ms".to_owned()), "it is used up");
    for shown in [None, proof(&token, 1), proof(&Token([0; 16]), 1)] {
        assert!(ask(&mut bench, 1, shown).contains(&"51: Granted".to_owned()), "{shown:?}");
    }
}

#[test]
fn proof_that_was_overheard_lets_nobody_else_in() {
    let mut bench = closed();
    let token = invite(&mut bench, 9, None);
    assert!(ask(&mut bench, 2, proof(&token, 1)).contains(&"52: Refused 403 for 0 ms".to_owned()), "of another login");
    let guessed = InviteProof { id: token.id(), proof: [0; 32] };
    assert!(ask(&mut bench, 2, Some(guessed)).contains(&"52: Refused 403 for 0 ms".to_owned()));
    let unknown = InviteProof { id: InviteId([1; 8]), proof: [0; 32] };
    assert!(ask(&mut bench, 2, Some(unknown)).contains(&"52: Refused 403 for 0 ms".to_owned()));
    assert_eq!(bench.core.directory().invite(&token.id()).unwrap().uses, 9);
}

#[test]
fn invite_ends_by_the_supernodes_own_clock_and_an_idle_one_counts_nothing() {
    let mut bench = closed();
    let forever = invite(&mut bench, 1, None);
    bench.wait(Duration::from_secs(600));
    assert!(bench.core.is_idle(), "no minute is counted for an invite without an end");
    let token = invite(&mut bench, 9, Some(2));
    for second in 1..=180 {
        bench.wait(Duration::from_secs(1));
        bench.settle();
        bench.commit();
        let left = bench.core.directory().invites().count();
        assert_eq!(left, if second < 180 { 2 } else { 1 }, "after {second} s");
    }
    let refused = Outcome::Refused(DirectoryRefusal::InviteExpired);
    let right = crate::directory::Right::Invite(token.id());
    let late = Command::LogIn(LogIn {
        name: name(7),
        key: ed(7).key(),
        session: SessionId([7; 16]),
        resumes: None,
        offers: None,
        salt: [7; 16],
        locations: Locations::new(),
        home: HOME,
        right,
    });
    assert_eq!(bench.core.directory().answer(&late), Some(refused));
    assert!(ask(&mut bench, 3, proof(&forever, 3)).contains(&"53: Granted".to_owned()));
}

#[test]
fn removed_peer_is_told_once_and_for_all_and_its_neighbours_at_once() {
    let mut bench = Bench::with(3, LONG_LEASE, None);
    bench.core.remove(name(2), 9);
    bench.outputs();
    bench.commit();
    let outputs = bench.outputs();
    let said: Vec<String> = outputs.iter().map(line).collect();
    assert!(said.contains(&"2: Refused 403 for 0 ms".to_owned()), "{said:?}");
    assert!(said.contains(&"released 9: Ended".to_owned()), "{said:?}");
    let tables = rewires(&outputs);
    let mut told: Vec<u64> = tables.iter().map(|(link, _)| *link).collect();
    told.sort_unstable();
    assert_eq!(told, [1, 3]);
    assert!(tables.iter().all(|(_, rewire)| rewire.neighbours.iter().all(|record| record.name != name(2))));
    assert_eq!(bench.wait(millis(10)), ["1: Removed", "3: Removed"]);
    bench.close(2);
    bench.ask(20, 2);
    assert_eq!(bench.settle(), ["20: Challenge", "20: Refused 403 for 0 ms"], "without a write");
}

#[test]
fn whoever_asks_who_was_removed_is_told_what_is_behind_its_mark() {
    let mut bench = Bench::with(4, LONG_LEASE, None);
    bench.core.remove(name(2), 1);
    bench.settle();
    bench.wait(millis(10));
    bench.core.remove(name(3), 2);
    bench.settle();
    let ask = |bench: &mut Bench, mark| {
        bench.frame(1, Frame::AskRemoved(AskRemoved { mark }));
        match bench.outputs().pop() {
            Some(SupernodeOutput::Send { link: LinkId(1), frame: Frame::Removed(told) }) => told,
            other => panic!("{other:?}"),
        }
    };
    let first = ask(&mut bench, Mark::default());
    assert_eq!(first.keys.to_vec(), [2, 3].map(|n| ed(n).key()));
    let end = first.end.verify(&network_of(NETWORK), &ed(1)).unwrap();
    assert_eq!(end, bench.core.directory().removed().mark());
    let behind = ask(&mut bench, end);
    assert!(behind.keys.is_empty() && behind.from == end && behind.end == first.end);
    assert_eq!(ask(&mut bench, Mark { digest: [9; 16], ..end }).from, Mark::default(), "of another list");
}

#[test]
fn removals_are_told_to_everybody_in_slices_and_a_second_one_leaves_nobody_out() {
    let mut bench = Bench::with(SLICE as u8 + 10, LONG_LEASE, None);
    bench.core.remove(name(2), 1);
    bench.settle();
    let told = |bench: &mut Bench| -> Vec<(u64, u32, usize)> {
        bench.core.handle_timeout(bench.now);
        let removed = |output: &SupernodeOutput| match output {
            SupernodeOutput::Send { link, frame: Frame::Removed(told) } => {
                Some((link.0, told.from.count, told.keys.len()))
            }
            _ => None,
        };
        bench.outputs().iter().filter_map(removed).collect()
    };
    assert_eq!(told(&mut bench).len(), SLICE);
    bench.core.remove(name(3), 2);
    bench.settle();
    let first = told(&mut bench);
    assert!(first.len() == SLICE && first.iter().all(|(_, from, keys)| (*from, *keys) == (0, 2)), "{first:?}");
    assert_eq!(told(&mut bench).len(), 8);
    assert_eq!((told(&mut bench), bench.core.removals.next_timeout()), (vec![], None));
}
