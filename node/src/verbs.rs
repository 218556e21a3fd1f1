//! The verbs of `kith`, one a file.

mod call;
mod connections;
mod expose;
mod fate;
mod forward;
mod functions;
mod inbox;
mod join;
mod listen;
mod login;
mod logout;
mod lookup;
mod neighbours;
mod outbox;
mod peers;
mod ping;
mod pipe;
mod piped;
mod run;
mod send;
mod socks;
mod standing;
mod status;
mod trace;
mod trust;
mod tunnels;

use std::num::NonZeroUsize;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{Screen, Stop, Verbs, count};
use kith_runtime::home::Home;

use crate::driver::sends::TTL_MAX;

/// What to do in a home
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Run(Box<run::Run>),
    Join(Box<join::Join>),
    Status(status::Status),
    #[command(visible_alias = "neighbors")]
    Neighbours(neighbours::Neighbours),
    Peers(peers::Peers),
    Lookup(lookup::Lookup),
    Send(send::Send),
    Outbox(outbox::Outbox),
    Fate(fate::Fate),
    Inbox(inbox::Inbox),
    Ping(ping::Ping),
    Trace(trace::Trace),
    Call(call::Call),
    Functions(functions::Functions),
    Pipe(pipe::Pipe),
    Listen(listen::Listen),
    Forward(forward::Forward),
    Expose(expose::Expose),
    Socks(socks::Socks),
    Tunnels(tunnels::Tunnels),
    Connections(connections::Connections),
    Trust(trust::Trust),
    Logout(logout::Logout),
    Login(login::Login),
}

impl Verbs for Verb {
    fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        match self {
            Self::Run(verb) => verb.run(home),
            Self::Join(verb) => verb.run(home),
            Self::Status(verb) => verb.run(home, screen),
            Self::Neighbours(verb) => verb.run(home, screen),
            Self::Peers(verb) => verb.run(home, screen),
            Self::Lookup(verb) => verb.run(home, screen),
            Self::Send(verb) => verb.run(home, screen),
            Self::Outbox(verb) => verb.run(home, screen),
            Self::Fate(verb) => verb.run(home, screen),
            Self::Inbox(verb) => verb.run(home, screen),
            Self::Ping(verb) => verb.run(home, screen),
            Self::Trace(verb) => verb.run(home, screen),
            Self::Call(verb) => verb.run(home, screen),
            Self::Functions(verb) => verb.run(home, screen),
            Self::Pipe(verb) => verb.run(home, screen),
            Self::Listen(verb) => verb.run(home, screen),
            Self::Forward(verb) => verb.run(home, screen),
            Self::Expose(verb) => verb.run(home, screen),
            Self::Socks(verb) => verb.run(home, screen),
            Self::Tunnels(verb) => verb.run(home, screen),
            Self::Connections(verb) => verb.run(home, screen),
            Self::Trust(verb) => verb.run(home, screen),
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

/// Whether a supernode has answered, and trying again will not help until somebody changes something
const fn is_refused(status: Status) -> bool {
    matches!(status, Status::NotAllowed | Status::Conflict | Status::VersionNotSupported)
}

/// What to type after a message, ping, trace or call to `name` ended with `status`, and nobody there said so
fn next(home: &Home, status: Status, name: &Name) -> Option<String> {
    let command = match status {
        Status::NotFound => return Some(peers::meant(home, name)),
        Status::NotLoggedIn => home.command("login"),
        Status::Gone => home.command("peers"),
        Status::AnotherKey => home.command(&format!("trust {name}")),
        Status::TimedOut => home.command(&format!("trace {name}")),
        Status::Unavailable => home.command("status"),
        status if is_refused(status) => home.command("status"),
        _ => return None,
    };
    Some(format!("next: {command}"))
}

/// A number of the command line that counts something
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "not a whole number from 1 on".to_owned())
}

/// For how long `--wait` waits, unless it says so: a lease, in which a supernode gives up the session of another process
const WAIT_DEFAULT: &str = "30";
const _: () = assert!(kith_common::session::LEASE_DEFAULT.as_secs() == 30);

/// A number of seconds, as `--wait` takes it
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "not a number of seconds".to_owned())
}

/// A time that may be long: a number of seconds, or of minutes, hours or days with their letter
fn lasting(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, text.strip_prefix(number)),
        None => (text, Some("s")),
    };
    let seconds = match unit {
        Some("m") => 60,
        Some("h") => 60 * 60,
        Some("d") => 24 * 60 * 60,
        _ => 1,
    };
    let lasting = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs);
    let lasting = lasting.ok_or_else(|| "not a time: write a number of seconds, or 15m, 12h, 7d".to_owned())?;
    if lasting <= TTL_MAX {
        Ok(lasting)
    } else {
        Err(format!("longer than {} days", TTL_MAX.as_secs() / (24 * 60 * 60)))
    }
}

/// What people read instead of a message or a result that is no text
fn no_text(bytes: u64) -> String {
    format!("({}, not text: --raw or --json has them)", count(bytes, "byte"))
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
    fn lasting_time_has_a_unit_and_a_bound() {
        let table = [("0", Some(0)), ("90", Some(90)), ("90s", Some(90)), ("15m", Some(900)), ("1d", Some(86_400))];
        let wrong = ["", "m", "-1", "1w", "31d", "99999999999999999999d", "1.5h", "d1"].map(|text| (text, None));
        for (text, expected) in table.into_iter().chain(wrong) {
            assert_eq!(lasting(text).ok().map(|time| time.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn failure_names_the_next_thing_to_type() {
        let home = Home::resolve(PEER, Some(std::path::Path::new("/srv/a"))).unwrap();
        let hint = |status| next(&home, status, &name("heidi"));
        assert_eq!(hint(Status::Gone).unwrap(), "next: kith --home /srv/a peers");
        assert_eq!(hint(Status::TimedOut).unwrap(), "next: kith --home /srv/a trace heidi");
        // There is no daemon that could say who may have been meant.
        assert_eq!(hint(Status::NotFound).unwrap(), "next: kith --home /srv/a peers");
        assert_eq!(hint(Status::NotLoggedIn).unwrap(), "next: kith --home /srv/a login");
        assert_eq!(hint(Status::AnotherKey).unwrap(), "next: kith --home /srv/a trust heidi");
        assert_eq!(hint(Status::TooLarge), None);
    }
}
