use super::*;
use crate::supernode::backbone::PRESENT_WAIT;
use crate::wire::backbone::Present;

fn sees(several: &Several, node: usize) -> Vec<u64> {
    several.core(node).supernodes().filter(|other| other.link.is_some()).map(|other| other.entry.id.0).collect()
}

#[test]
fn each_dials_those_with_smaller_ids_and_all_are_linked() {
    let mut several = Several::of(3);
    for (node, others) in [(0, [2, 3]), (1, [1, 3]), (2, [1, 2])] {
        assert_eq!(sees(&several, node), others);
    }
    several.wait(millis(2_500));
    let standings: Vec<_> = several.core(1).supernodes().collect();
    let [first, own, third] = &standings[..] else { panic!("{standings:?}") };
    assert_eq!((own.link, own.load, first.leader), (None, Some(20), Some(id_of(0))));
    assert_eq!((first.rtt, third.load), (Some(Duration::ZERO), Some(20)));
    let link = several.core(1).backbone_to(id_of(0)).unwrap();
    assert_eq!(several.core(1).supernode_on(link), Some(id_of(0)));
}

#[test]
fn supernode_that_was_lost_is_dialled_until_it_is_back() {
    let mut several = Several::of(3);
    several.kill(1);
    assert_eq!(sees(&several, 0), [3]);
    several.wait(millis(20_000));
    several.restart(1);
    several.wait(millis(6_000));
    for (node, others) in [(0, [2, 3]), (1, [1, 3]), (2, [1, 2])] {
        assert_eq!(sees(&several, node), others);
    }
}

#[test]
fn who_is_not_dialled_by_the_one_with_the_larger_id_dials_it_after_a_while() {
    let mut several = Several::unlinked(3);
    // Only the first one's log names both: the second one has been told of nobody, and dials nobody.
    several.nodes[0].core.handle_log(several.now, LogEvent::Supernodes(vec![entry(0), entry(1)]));
    several.wait(millis(400));
    assert_eq!(sees(&several, 0), [0; 0], "it is the other one's turn");
    several.wait(millis(200));
    assert_eq!(sees(&several, 0), [2], "who has just started does not wait for long");
    several.wait(millis(60_000));
    assert_eq!((sees(&several, 0), several.links.len()), (vec![2], 2), "it is dialled once, and a link has two ends");
    several.nodes[0].core.handle_log(several.now, LogEvent::Supernodes(vec![entry(0), entry(1), entry(2)]));
    several.wait(millis(9_900));
    assert_eq!(sees(&several, 0), [2], "who is heard of later has its turn");
    several.wait(millis(200));
    assert_eq!(sees(&several, 0), [2, 3]);
}

#[test]
fn newer_link_takes_the_place_of_the_older_one() {
    let mut several = Several::of(2);
    let before = several.core(0).backbone_to(id_of(1)).unwrap();
    // The first one has not noticed yet that the second has started anew.
    several.restart(1);
    several.wait(millis(10));
    let after = several.core(0).backbone_to(id_of(1)).unwrap();
    assert!(after > before);
    assert!(!several.links.contains_key(&before), "it was closed");
}

#[test]
fn newcomer_finds_the_others_by_a_contact_and_is_let_in_when_the_log_names_it() {
    let mut several = Several::of(2);
    let contacts = vec![Location::truncated("sn-2"), Location::truncated("sn-1")];
    let newcomer = several.started(2, Directory::new(0), 0, contacts);
    several.nodes.push(newcomer);
    several.wait(millis(1_000));
    let link = several.core(1).backbone_to(id_of(2)).unwrap();
    assert_eq!(several.core(1).supernode_on(link), Some(id_of(2)));
    assert_eq!(several.core(0).backbone_to(id_of(2)), None, "it knows its contact alone");
    several.tell_members(3);
    several.wait(millis(1_000));
    assert_eq!((sees(&several, 2), sees(&several, 0)), (vec![1, 2], vec![2, 3]));
    assert_eq!(several.core(1).backbone_to(id_of(2)), Some(link), "it stays");
    // The link was made before it was known whose it would be: it is dialled anew as soon as any other.
    several.kill(1);
    several.restart(1);
    several.wait(millis(700));
    assert_eq!(sees(&several, 2), [1, 2]);
}

#[test]
fn certificate_of_another_key_or_network_or_none_in_time_ends_the_link() {
    let mut several = Several::of(2);
    let mut stranger = |certificate: Option<crate::wire::grant::SignedCertificate>| {
        several.last_link += 1;
        let link = LinkId(several.last_link);
        several.links.insert(link, End::Peer { at: 0, peer: 9 });
        several.open(0, link, 9, Role::Supernode, Purpose::Backbone, None);
        if let Some(certificate) = certificate {
            several.frame(link, Frame::Present(Present { certificate, load: 0 }));
        }
        several.wait(PRESENT_WAIT);
        (several.take_said(), several.core(0).supernode_on(link))
    };
    let refused = (vec!["9: Present".to_owned(), "9: Close 403".to_owned()], None);
    assert_eq!(stranger(Some(certificate_with(NETWORK, key_of(1), 2))), refused, "another's");
    assert_eq!(stranger(Some(certificate_with(NETWORK + 1, 9, 9))), refused, "of another network");
    assert_eq!(stranger(Some(certificate_with(NETWORK, 9, 1))), refused, "with this one's number");
    assert_eq!(stranger(None), (vec!["9: Present".to_owned(), "9: Close 408".to_owned()], None));
    let said = stranger(Some(certificate_with(NETWORK, 9, 9)));
    assert_eq!(said.1, Some(SupernodeId(9)), "a good one, whom the log does not name");
}

#[test]
fn who_is_no_supernode_or_says_something_else_first_is_shown_out() {
    let mut several = Several::of(1);
    for (role, frame, status) in [
        (Role::Peer, None, 403),
        (
            Role::Supernode,
            Some(Frame::Claim(crate::wire::backbone::Claim { number: 1, session: SessionId([1; 16]) })),
            400,
        ),
    ] {
        several.last_link += 1;
        let link = LinkId(several.last_link);
        several.links.insert(link, End::Peer { at: 0, peer: 9 });
        several.open(0, link, 9, role, Purpose::Backbone, None);
        if let Some(frame) = frame {
            several.frame(link, frame);
        }
        several.settle();
        assert_eq!(several.take_said().last().unwrap(), &format!("9: Close {status}"));
    }
}

#[test]
fn another_supernode_at_the_dialled_place_is_not_taken_for_the_wanted_one() {
    let mut several = Several::unlinked(3);
    let lies = SupernodeEntry { locations: entry(0).locations, ..entry(1) };
    several.nodes[2].core.handle_log(several.now, LogEvent::Supernodes(vec![lies, entry(2)]));
    several.wait(millis(100));
    assert_eq!((sees(&several, 2), several.core(2).backbone_to(id_of(0))), (vec![], None));
}

#[test]
fn peers_are_told_who_the_supernodes_are_after_their_logins_and_when_that_changes() {
    let mut several = Several::of(2);
    let told = |several: &mut Several| {
        let said = std::mem::take(&mut several.said);
        said.into_iter().filter(|said| said.ends_with("Supernodes")).collect::<Vec<_>>()
    };
    several.ask(0, 1, None);
    several.ask(1, 2, None);
    assert_eq!(told(&mut several), ["1: Supernodes", "2: Supernodes"]);
    several.tell_members(2);
    several.wait(millis(100));
    assert_eq!(told(&mut several), [""; 0], "as they were");
    several.tell_members(1);
    several.wait(millis(100));
    assert_eq!(told(&mut several), ["1: Supernodes", "2: Supernodes"]);
}

#[test]
fn everybody_at_home_is_told_in_slices() {
    let mut bench = Bench::with(0, LONG_LEASE, None);
    for peer in 1..=SLICE as u8 + 1 {
        bench.enter(peer.into(), peer);
    }
    bench.drain();
    bench.core.handle_log(bench.now, LogEvent::Supernodes(vec![entry(0)]));
    bench.core.handle_timeout(bench.now);
    let told = |bench: &mut Bench| bench.drain().iter().filter(|said| said.ends_with("Supernodes")).count();
    assert_eq!(told(&mut bench), SLICE);
    assert!(bench.core.next_timeout() <= Some(bench.now));
    bench.core.handle_timeout(bench.now);
    assert_eq!(told(&mut bench), 1);
}
