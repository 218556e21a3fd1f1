//! A network of invites: who is let in, what a listener gains, and how minutes are counted.

use super::*;
use crate::directory::Refusal as DirectoryRefusal;
use crate::id::InviteId;
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
    bench.close(2);
    bench.ask(20, 2);
    assert_eq!(bench.settle(), ["20: Challenge", "20: Refused 403 for 0 ms"], "without a write");
}
