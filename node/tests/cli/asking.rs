//! Verbs that ask more than once: until something is so, page by page, and for a name that may have been meant.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use crate::{Fake, SEND, kith, sent};

const STATUS: &str = r#"{"verb":"status"}"#;

fn status_of(state: &str, status: u16) -> String {
    format!(
        "{{\"done\":true,\"status\":{status},\"name\":\"alice\",\"key\":\"\",\"peer_id\":\"12D3\",\"address\":null,\
         \"state\":\"{state}\",\"reason\":null,\"supernode\":null,\"supernodes\":1,\"network\":null,\"epoch\":0,\
         \"members\":0,\"degree\":0,\"links_up\":0,\"links\":0,\"inbox_messages\":0,\"inbox_bytes\":0,\"outbox_messages\":0,\"outbox_bytes\":0,\
         \"uptime_s\":1,\"version\":\"0.1.0\",\"pid\":1,\"listen\":[]}}\n"
    )
}

#[test]
fn wait_looks_until_the_peer_is_logged_in_and_no_longer_than_it_may() {
    let (searching, well) = (status_of("searching", 503), status_of("logged_in", 200));
    let exchanges = [(STATUS, searching.as_str()), (STATUS, &searching), (STATUS, &well)];
    let ended = Fake::new(&exchanges).run(&["status", "--wait", "--quiet"]);
    assert_eq!((ended.exit, ended.errors.as_str()), (0, ""));
    let ended = Fake::new(&[(STATUS, &searching)]).run(&["status", "--wait", "0"]);
    assert_eq!(ended.exit, 93);
    // Nobody but a login ends that.
    let out = status_of("logged_out", 401);
    let ended = Fake::new(&[(STATUS, &out)]).run(&["status", "--wait"]);
    assert_eq!((ended.exit, ended.out.lines().next()), (41, Some("alice is logged out; to come back: kith login")));

    let login = r#"{"verb":"login"}"#;
    let began = "{\"done\":true,\"status\":202,\"name\":\"alice\",\"state\":\"searching\",\"reason\":null}\n";
    let ended = Fake::new(&[(login, began), (STATUS, &searching), (STATUS, &well)]).run(&["login", "--wait"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, "alice is logged in\n"));
    let ended = Fake::new(&[(login, began), (STATUS, &searching)]).run(&["login", "--wait", "0"]);
    let expected = "kith: alice is not logged in: 503 unavailable\n  it goes on trying; next: kith status --wait\n";
    assert_eq!((ended.exit, ended.errors.as_str()), (93, expected));
}

#[test]
fn wait_begins_before_the_daemon_runs() {
    let home = tempfile::tempdir().unwrap();
    let mut child = kith(home.path(), &["status", "--wait", "--quiet"]).spawn().unwrap();
    // It has found nobody by then, or is about to: both are to be waited for.
    let listener = UnixListener::bind(home.path().join("control.sock")).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
    stream.write_all(status_of("logged_in", 200).as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn name_that_nobody_has_is_answered_with_those_that_may_be_meant() {
    let similar = r#"{"verb":"similar","name":"heidi"}"#;
    let names = |peers: &str| {
        format!(
            "{{\"done\":true,\"status\":200,\"names\":9,\"members\":8,\"more\":false,\"stale\":false,\"peers\":[{peers}]}}\n"
        )
    };
    let peer = |name: &str, state: &str| format!("{{\"name\":\"{name}\",\"state\":\"{state}\",\"address\":null}}");
    let table = [
        (peer("heidy", "logged_in"), "did you mean heidy?"),
        (
            [peer("heid", "logged_out"), peer("heidy", "logged_in")].join(","),
            "did you mean heid (logged out) or heidy?",
        ),
        (String::new(), "next: kith peers"),
    ];
    for (found, hint) in table {
        let ended = Fake::new(&[(SEND, &format!("{}\n", sent(404))), (similar, &names(&found))])
            .run(&["send", "heidi", "hello"]);
        assert_eq!(ended.exit, 44);
        assert_eq!(ended.errors.lines().last().map(str::trim), Some(hint), "{found}");
    }
    let refusal = "{\"done\":true,\"status\":404,\"error\":\"nobody\",\"hint\":\"next: kith peers\"}\n";
    let asked = r#"{"verb":"lookup","name":"heidi"}"#;
    let ended =
        Fake::new(&[(asked, refusal), (similar, &names(&peer("heidy", "logged_in")))]).run(&["lookup", "heidi"]);
    assert_eq!((ended.exit, ended.errors.as_str()), (44, "kith: nobody\n  did you mean heidy?\n"));
}

#[test]
fn peers_are_listed_page_by_page() {
    let page = |name: &str, more: bool| {
        format!(
            "{{\"done\":true,\"status\":200,\"names\":2,\"members\":2,\"more\":{more},\"stale\":false,\"peers\":\
             [{{\"name\":\"{name}\",\"state\":\"logged_in\",\"address\":\"0123456789abcdef\"}}]}}\n"
        )
    };
    let (first, second) = (page("alice", true), page("bob", false));
    let after = |name: &str| format!("{{\"verb\":\"peers\",\"after\":{name}}}");
    let exchanges = [(after("null"), first.as_str()), (after("\"alice\""), &second)];
    let exchanges: Vec<(&str, &str)> = exchanges.iter().map(|(asked, said)| (asked.as_str(), *said)).collect();
    let ended = Fake::new(&exchanges).run(&["peers"]);
    let expected = "\
NAME   ADDRESS   STATE
alice  01234567  logged in
NAME  ADDRESS   STATE
bob   01234567  logged in
2 names, 2 in the ring
";
    assert_eq!((ended.exit, ended.out.as_str()), (0, expected));
    let ended = Fake::new(&exchanges[..1]).run(&["peers", "-n", "1", "--json"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, first.as_str()));
    let ended = Fake::new(&exchanges[1..]).run(&["peers", "--after", "alice", "--json"]);
    assert_eq!((ended.exit, ended.out.as_str()), (0, second.as_str()));
}
