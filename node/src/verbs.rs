//! The verbs of `kith`, one a file.

mod call;
mod inbox;
mod login;
mod logout;
mod lookup;
mod neighbours;
mod ping;
mod run;
mod send;
mod status;
mod trace;

use kith_common::status::Status;
use kith_runtime::cli::{Screen, Stop, Verbs};
use kith_runtime::home::Home;

/// What to do in a home
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Status(status::Status),
    Neighbours(neighbours::Neighbours),
    Lookup(lookup::Lookup),
    Send(send::Send),
    Inbox(inbox::Inbox),
    Ping(ping::Ping),
    Trace(trace::Trace),
    Call(call::Call),
    Logout(logout::Logout),
    Login(login::Login),
}

impl Verbs for Verb {
    fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        match self {
            Self::Run(verb) => verb.run(home),
            Self::Status(verb) => verb.run(home, screen),
            Self::Neighbours(verb) => verb.run(home, screen),
            Self::Lookup(verb) => verb.run(home, screen),
            Self::Send(verb) => verb.run(home, screen),
            Self::Inbox(verb) => verb.run(home, screen),
            Self::Ping(verb) => verb.run(home, screen),
            Self::Trace(verb) => verb.run(home, screen),
            Self::Call(verb) => verb.run(home, screen),
            Self::Logout(verb) => verb.run(home, screen),
            Self::Login(verb) => verb.run(home, screen),
        }
    }
}

/// `503 unavailable`, and why if that is known
fn why(status: Status, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{status}: {reason}"),
        None => status.to_string(),
    }
}

/// What to type after a message, ping, trace or call to `name` ended with `status`
fn next(home: &Home, status: Status, name: &str) -> Option<String> {
    let command = match status {
        Status::NotLoggedIn => home.command("login"),
        Status::NotFound | Status::Gone | Status::TimedOut => home.command(&format!("lookup {name}")),
        Status::Unavailable => home.command("status"),
        Status::NotAllowed | Status::Conflict | Status::VersionNotSupported => home.command("status"),
        _ => return None,
    };
    Some(format!("next: {command}"))
}

/// `alice → carol → heidi`
fn arrows(path: &[String]) -> String {
    path.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_runtime::home::PEER;

    /// What a person would see
    pub(crate) fn name(text: &str) -> kith_common::id::Name {
        text.parse().unwrap()
    }

    #[test]
    fn failure_names_the_next_thing_to_type() {
        let home = Home::resolve(PEER, Some(std::path::Path::new("/srv/a"))).unwrap();
        let hint = |status| next(&home, status, "heidi");
        assert_eq!(hint(Status::Gone).unwrap(), "next: kith --home /srv/a lookup heidi");
        assert_eq!(hint(Status::NotLoggedIn).unwrap(), "next: kith --home /srv/a login");
        assert_eq!(hint(Status::TooLarge), None);
    }
}
