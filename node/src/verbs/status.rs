//! `kith status`

use std::time::{Duration, Instant};

use kith_common::status::Status as Code;
use kith_runtime::cli::{self, Answer, Screen, Stop, count, short, size, span};
use kith_runtime::control::peer::{Request, State, StatusAnswer};
use kith_runtime::home::Home;

/// Show whether the peer is logged in, and how it is
///
/// Exits with 0 if it is, else with the code of the status: 93 (503) while it looks for a supernode, 41 (401) when it
/// was logged out.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Print nothing: for health checks
    #[arg(long, short)]
    quiet: bool,

    /// Wait until the peer is logged in, and until there is a daemon, for so many seconds at most
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = super::WAIT_DEFAULT, value_parser = super::seconds)]
    wait: Option<Duration>,
}

/// How often `--wait` looks
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the daemon says once the peer is logged in; after `within`, or when it has logged out, what it says then
///
/// # Errors
/// [`Stop`] if no daemon answers by then.
pub(super) fn wait(home: &Home, within: Duration) -> Result<Answer<StatusAnswer>, Stop> {
    let started = Instant::now();
    loop {
        let asked = cli::ask::<StatusAnswer>(home, &Request::Status);
        let is_over = started.elapsed() >= within;
        match asked {
            // Nothing but a login ends that, and whoever waits here has not asked for one.
            Ok(answer) if is_over || answer.answer.state == State::LoggedOut || is_well(&answer) => return Ok(answer),
            Err(Stop::Failed(failure)) if failure.is_no_daemon() && !is_over => {}
            Err(stop) => return Err(stop),
            Ok(_) => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whatever the daemon's code, a peer outside the mesh is not well
fn is_well(answer: &Answer<StatusAnswer>) -> bool {
    answer.answer.state == State::LoggedIn && answer.status.is_success()
}

impl Status {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = wait(home, self.wait.unwrap_or_default())?;
        if !self.quiet {
            screen.show(&answer.line, || readable(answer.status, &answer.answer, home))?;
        }
        let code = if answer.status.is_success() && !is_well(&answer) { Code::Unavailable } else { answer.status };
        Ok(code.exit_code())
    }
}

fn readable(status: Code, answer: &StatusAnswer, home: &Home) -> String {
    let mut lines = vec![headline(status, answer, home)];
    let mut line = |key: &str, value: String| lines.push(format!("  {key:<10} {value}"));
    if let Some(address) = &answer.address {
        line("address", format!("{} (in a ring of degree {})", short(address), answer.degree));
        // Others may have come and gone since, far away, where it changes nothing here.
        line("table", format!("of epoch {}, when the ring had {}", answer.epoch, count(answer.members, "member")));
    }
    if let Some(home) = &answer.home {
        let serial = home.serial.map_or("unknown".into(), |serial| serial.to_string());
        line("home", format!("supernode {serial} at {}: {}", home.location, home.reason));
    }
    // Where there is only one, whoever reads this has its address above already.
    if answer.supernodes > 1 {
        let others = answer.supernodes - u64::from(answer.home.is_some());
        line("known", format!("{} to go on to", count(others, "other supernode")));
    }
    line("links", format!("{} of {} up", answer.links_up, answer.links));
    let unread = format!("{} unread, {}", count(answer.inbox_messages, "message"), size(answer.inbox_bytes));
    line("in-box", unread);
    if answer.outbox_messages > 0 {
        let waiting =
            format!("{} not delivered yet, {}", count(answer.outbox_messages, "message"), size(answer.outbox_bytes));
        line("out-box", waiting);
    }
    if let Some(network) = &answer.network {
        line("network", network.clone());
    }
    line("peer id", answer.peer_id.clone());
    line("listens", if answer.listen.is_empty() { "nowhere".into() } else { answer.listen.join(", ") });
    line("daemon", format!("version {}, process {}, up {}", answer.version, answer.pid, span(answer.uptime_s)));
    lines.join("\n")
}

fn headline(status: Code, answer: &StatusAnswer, home: &Home) -> String {
    let is_refused = super::is_refused(status);
    let name = &answer.name;
    let at = |word: &str| answer.supernode.as_ref().map(|at| format!(" {word} {at}")).unwrap_or_default();
    let reason = answer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match answer.state {
        State::LoggedIn => format!("{name} is logged in{}{reason}", at("at")),
        State::Searching if is_refused => format!("{name} is refused{reason}; it tries again every ten seconds"),
        State::Searching => format!("{name} is looking for a supernode{reason}"),
        State::Joining => format!("{name} is logging in{}{reason}", at("at")),
        State::LoggedOut => format!("{name} is logged out{reason}; to come back: {}", home.command("login")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use kith_runtime::control::peer::HomeSupernode;
    use kith_runtime::home::PEER;

    fn answer() -> StatusAnswer {
        StatusAnswer {
            name: crate::verbs::tests::name("alice"),
            key: "00".repeat(32),
            peer_id: "12D3KooWabc".into(),
            address: Some("0123456789abcdef".into()),
            state: State::LoggedIn,
            reason: None,
            supernode: Some("/dns/s/tcp/7400".into()),
            home: Some(HomeSupernode {
                serial: Some(2),
                location: "/dns/s/tcp/7400".into(),
                rtt_us: Some(12_345),
                load: Some(250),
                reason: "near and with room, of 3: round trip 12 ms, load 25 %".into(),
            }),
            supernodes: 3,
            network: Some("d3b07384".repeat(8)),
            epoch: 17,
            members: 8,
            degree: 4,
            home_silent_s: None,
            links_up: 3,
            links: 4,
            inbox_messages: 1,
            inbox_bytes: 1234,
            outbox_messages: 2,
            outbox_bytes: 530,
            uptime_s: 192,
            version: "0.1.0".into(),
            pid: 4711,
            listen: vec!["/ip4/127.0.0.1/tcp/40001".into()],
        }
    }

    #[test]
    fn status_is_written_for_people() {
        let home = Home::resolve(PEER, Some(Path::new("/srv/alice"))).unwrap();
        let expected = "\
alice is logged in at /dns/s/tcp/7400
  address    01234567 (in a ring of degree 4)
  table      of epoch 17, when the ring had 8 members
  home       supernode 2 at /dns/s/tcp/7400: near and with room, of 3: round trip 12 ms, load 25 %
  known      2 other supernodes to go on to
  links      3 of 4 up
  in-box     1 message unread, 1.2 kB
  out-box    2 messages not delivered yet, 530 B
  network    d3b07384d3b07384d3b07384d3b07384d3b07384d3b07384d3b07384d3b07384
  peer id    12D3KooWabc
  listens    /ip4/127.0.0.1/tcp/40001
  daemon     version 0.1.0, process 4711, up 3 min 12 s";
        assert_eq!(readable(Code::Delivered, &answer(), &home), expected);

        let reason = Some("connection refused by /dns/s/tcp/7400, next try in 2.5 s".into());
        let searching = StatusAnswer { state: State::Searching, reason, ..answer() };
        assert_eq!(
            headline(Code::Unavailable, &searching, &home),
            "alice is looking for a supernode: connection refused by /dns/s/tcp/7400, next try in 2.5 s"
        );
        let reason = Some("home silent for 3 s; none of its 4 links is up".into());
        let cut_off = StatusAnswer { reason, ..answer() };
        assert_eq!(
            headline(Code::Unavailable, &cut_off, &home),
            "alice is logged in at /dns/s/tcp/7400: home silent for 3 s; none of its 4 links is up"
        );
        let out = StatusAnswer { state: State::LoggedOut, ..answer() };
        assert_eq!(
            headline(Code::NotLoggedIn, &out, &home),
            "alice is logged out; to come back: kith --home /srv/alice login"
        );
    }
}
