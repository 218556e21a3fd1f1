//! A network as a supernode makes it unless it is told otherwise: closed, and entered by invites.

use std::rc::Rc;

use serde_json::Value;

use super::addresses::Daemon;

fn home() -> Rc<tempfile::TempDir> {
    Rc::new(tempfile::tempdir().expect("a home"))
}

fn is_there(status: &Value) -> bool {
    status["state"] == "logged_in"
}

/// Refused, and why
fn refused_for(words: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["status"] == 403 && status["reason"].as_str().is_some_and(|reason| reason.contains(words))
}

#[test]
fn newcomer_joins_by_one_line_and_comes_back_without_it() {
    let hub = home();
    let run = ["run", "--listen", "127.0.0.1:0"];
    let supernode = Daemon::start_in(hub.clone(), "role-supernode", &run);
    let status = supernode.status(|status| status["listen"].as_array().is_some_and(|at| !at.is_empty()));
    assert_eq!((&status["open"], &status["invites"]), (&Value::Bool(false), &Value::from(0)), "{status}");
    let at = status["listen"][0].as_str().expect("an address").to_owned();

    // Nobody comes without an invite.
    let uninvited = Daemon::start_in(home(), "role-peer", &["run", "--supernode", &at, "--name", "mallory"]);
    uninvited.status(refused_for("takes invites only"));

    let invite = supernode.ask(&["invite", "--for", "alice"]);
    let line = invite["invite"].as_str().expect("a line").to_owned();
    assert_eq!(supernode.ask(&["status"])["invites"], 1);
    let wrong = Daemon::start_in(home(), "role-peer", &["run", "--supernode", &at, "--name", "alice"]);
    wrong.status(refused_for("takes invites only"));
    let alices = home();
    let alice = Daemon::start_in(alices.clone(), "role-peer", &["join", &line]);
    let joined = alice.status(is_there);
    assert_eq!(joined["name"], "alice", "the invite's name: {joined}");
    assert_eq!(supernode.ask(&["status"])["invites"], 0, "it is used up");
    // Whoever else has got hold of the line is told, and what helps.
    let thief = Daemon::start_in(home(), "role-peer", &["join", &line]);
    thief.status(|status| status["status"] == 409);

    // An owner needs no more than its home, with a supernode that has forgotten nothing.
    drop(alice);
    drop(supernode);
    let again = ["run", "--listen", &at];
    let supernode = Daemon::start_in(hub, "role-supernode", &again);
    supernode.status(|status| status["names"] == 1);
    let alice = Daemon::start_in(alices, "role-peer", &["run"]);
    assert_eq!(alice.status(is_there)["name"], "alice");

    // One line for two, the third is refused.
    let line = supernode.ask(&["invite", "--uses", "2", "--ttl", "12h"])["invite"].as_str().expect("a line").to_owned();
    for name in ["bob", "carol"] {
        let peer = Daemon::start_in(home(), "role-peer", &["join", &line, "--name", name]);
        peer.status(is_there);
    }
    let third = Daemon::start_in(home(), "role-peer", &["join", &line, "--name", "dave"]);
    third.status(refused_for("used up"));

    // Removed: at once, for good, and with what to be told.
    assert_eq!(supernode.ask(&["remove", "alice"])["was_logged_in"], true);
    alice.status(refused_for("removed this peer"));
    assert_eq!(supernode.ask(&["lookup", "alice"])["state"], "removed");
    assert_eq!(supernode.ask(&["remove", "alice"])["was_logged_in"], false, "again: nothing more to do");
}
