//! Members that look alive and forward nothing.

use kith_common::status::Status;
use kith_lab::graph;

/// As many as honest ones, so that most ways lead over one
const LIARS: usize = 8;

#[test]
fn honest_peers_reach_each_other_among_as_many_that_forward_nothing() {
    let lab = super::mesh_of(8, super::seed());
    let honest = super::peers(&lab);
    let names: Vec<String> = (0..LIARS).map(|number| format!("liar-{number}")).collect();
    for name in &names {
        lab.add_liar(name).expect("started");
    }
    super::settle(&lab);
    let forwarded = |names: &[String]| -> u64 {
        names.iter().map(|name| lab.node(name).and_then(|node| node.packets_forwarded()).expect("a count")).sum()
    };
    for (from, to) in graph::pairs(&honest) {
        let node = lab.node(&from).expect("a peer");
        let status = node.echo(&to, "among liars").expect("an answer");
        assert_eq!(status, Status::Delivered, "{from} calls {to}");
        let answer = lab.send(&from, &to, "among liars").expect("an answer");
        assert!(answer.is_delivered(), "{from} → {to}: {} {}", answer.status, answer.reason);
    }
    // Otherwise it was no test.
    assert_eq!(forwarded(&names), 0, "liars have forwarded something");
    assert!(forwarded(&honest) > 0, "nobody has forwarded anything");
}
