//! `kith-supernode status`

use kith_runtime::cli::{Screen, Stop, ask, count, span};
use kith_runtime::control::supernode::{Request, StatusAnswer};
use kith_runtime::home::Home;

/// Show the network, its members and the daemon
///
/// Exits with 0 if peers can log in, with 93 (503) while the log cannot be written or nobody leads it.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Print nothing: for health checks
    #[arg(long, short)]
    quiet: bool,
}

impl Status {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = ask::<StatusAnswer>(home, &Request::Status)?;
        if !self.quiet {
            screen.show(&answer.line, || readable(&answer.answer))?;
        }
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &StatusAnswer) -> String {
    let members = count(answer.members, "member");
    let mut lines =
        vec![format!("{members}, {} suspected, {} registered", answer.suspects, count(answer.names, "name"))];
    let mut line = |key: &str, value: String| lines.push(format!("  {key:<10} {value}"));
    line(
        "ring",
        format!(
            "epoch {}, degree {}, {}",
            answer.epoch,
            answer.degree,
            count(answer.unreachable_pairs, "unreachable pair")
        ),
    );
    line("links", format!("{}, {}", count(answer.links, "link"), count(answer.homes, "session")));
    line("lease", format!("{} s", answer.lease_s));
    let leader = match answer.leader {
        Some(leader) if leader == answer.serial => "led by this supernode".to_owned(),
        Some(leader) => format!("led by supernode {leader}"),
        None => "led by nobody".to_owned(),
    };
    line("log", format!("{}, {leader}", count(answer.log_index, "command")));
    if let Some(reason) = &answer.reason {
        line("trouble", reason.clone());
    }
    line("network", answer.network.clone());
    let newcomers = match (answer.secret_required, answer.open) {
        (true, _) => "must know the secret".to_owned(),
        (false, true) => "ANYBODY who reaches this supernode, as it runs with --open".to_owned(),
        (false, false) => format!("by invite only; {} not used up", count(answer.invites, "invite")),
    };
    line("newcomers", newcomers);
    line("peer id", answer.peer_id.clone());
    line("listens", answer.listen.join(", "));
    line("daemon", format!("version {}, process {}, up {}", answer.version, answer.pid, span(answer.uptime_s)));
    lines.join("\n")
}
