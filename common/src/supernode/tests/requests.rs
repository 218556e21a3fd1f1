use super::*;
use crate::id::ShortId;
use crate::wire::session::{List, LookUp, Presence, Renewed, Subject, Which};

fn look_up(query: u64, subject: Subject) -> Frame {
    Frame::LookUp(LookUp { query, ttl: 0, subject, may_be_stale: false })
}

#[test]
fn look_ups_are_answered_by_name_and_by_short_id() {
    let mut bench = Bench::of(2);
    let short = ShortId((bench.address(2).0 >> 32) as u32);
    bench.frame(1, look_up(1, Subject::Name(name(2))));
    bench.frame(1, look_up(2, Subject::ShortId(short)));
    bench.frame(1, look_up(3, Subject::Name(name(9))));
    bench.frame(1, look_up(4, Subject::ShortId(ShortId(short.0 ^ 1))));
    let outputs = bench.outputs();
    let lines: Vec<_> = outputs.iter().map(line).collect();
    assert_eq!(lines, ["1: Found 1 200", "1: Found 2 200", "1: Found 3 404", "1: Found 4 404"]);
    let found = |output: &SupernodeOutput| match output {
        SupernodeOutput::Send { frame: Frame::Found(found), .. } => found.record.as_ref().map(|record| record.key),
        _ => None,
    };
    assert_eq!(outputs.iter().filter_map(found).collect::<Vec<_>>(), [ed(2).key(); 2]);
}

#[test]
fn names_are_listed_to_whoever_is_logged_in() {
    let mut bench = Bench::of(2);
    bench.frame(1, Frame::List(List { query: 7, which: Which::After(Some(name(1))) }));
    let outputs = bench.outputs();
    let [SupernodeOutput::Send { link: LinkId(1), frame: Frame::Listing(listing) }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let listed: Vec<_> = listing.listed.iter().map(|listed| (listed.name.clone(), listed.presence)).collect();
    assert_eq!((listing.query, listing.names, listing.members), (7, 2, 2));
    assert_eq!(listed, [(name(2), Presence::Here(bench.address(2)))]);
}

#[test]
fn name_without_a_session_and_a_suspect_are_gone() {
    let mut bench = Bench::of(3);
    bench.frame(2, Frame::Logout(Logout { session: bench.session(2) }));
    bench.close(3);
    bench.wait(millis(2_000));
    bench.settle();
    bench.frame(1, look_up(1, Subject::Name(name(2))));
    bench.frame(1, look_up(2, Subject::Name(name(3))));
    assert_eq!(bench.drain(), ["1: Found 1 410", "1: Found 2 410"]);
}

#[test]
fn renewal_begins_the_lease_anew() {
    let mut bench = Bench::of(1);
    let (session, epoch) = (bench.session(1), bench.core.directory().epoch());
    bench.wait(LEASE / 2);
    bench.frame(1, Frame::Renew(Renew { session, epoch }));
    let renewed = Frame::Renewed(Renewed { session, epoch, is_cut_off: false });
    let outputs = bench.outputs();
    assert!(
        matches!(&outputs[..], [SupernodeOutput::Send { link: LinkId(1), frame }] if *frame == renewed),
        "{outputs:?}"
    );
    assert_eq!(bench.wait(LEASE - millis(1)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["append Expire"]);
}

#[test]
fn look_up_leaves_the_lease_alone() {
    let mut bench = Bench::of(1);
    bench.wait(LEASE / 2);
    bench.frame(1, look_up(1, Subject::Name(name(1))));
    bench.frame(1, Frame::List(List { query: 2, which: Which::After(None) }));
    assert_eq!(bench.drain(), ["1: Found 1 200", "1: Listing"]);
    assert_eq!(bench.wait(LEASE / 2 - millis(1)), [""; 0]);
    assert_eq!(bench.wait(millis(1)), ["append Expire"]);
}

#[test]
fn renewal_with_an_older_table_is_answered_by_the_table() {
    let mut bench = Bench::of(2);
    // A larger index of another incarnation is another table, too: of a log that went back.
    for epoch in [Epoch::new(0, 1), Epoch::new(1, 99)] {
        bench.frame(1, Frame::Renew(Renew { session: bench.session(1), epoch }));
        assert_eq!(bench.drain(), ["1: Renewed", "1: Rewire"]);
    }
}

#[test]
fn renewal_that_comes_while_the_disk_writes_the_expiry_comes_too_late() {
    let mut bench = Bench::of(1);
    let (session, epoch) = (bench.session(1), bench.core.directory().epoch());
    assert_eq!(bench.wait(LEASE), ["append Expire"]);
    bench.frame(1, Frame::Renew(Renew { session, epoch }));
    assert_eq!(bench.drain(), [""; 0]);
    assert_eq!(bench.durable(), ["1: Refused 401 for 0 ms", "1: Close 401"]);
}

#[test]
fn supernode_with_nobody_sleeps() {
    let mut bench = Bench::of(0);
    assert_eq!((bench.core.next_timeout(), bench.drain(), bench.core.is_idle()), (None, vec![], true));
}

#[test]
fn frame_kinds_of_neighbours_end_a_home_link() {
    let mut bench = Bench::of(1);
    bench.frame(
        1,
        Frame::Table(crate::wire::link::Table {
            epoch: Epoch::new(0, 1),
            entries: Default::default(),
            unseen: Default::default(),
        }),
    );
    assert_eq!(bench.drain(), ["1: Close 400"]);
    bench.close(1);
    assert_eq!((bench.core.homes(), bench.core.links()), (0, 0));
}
