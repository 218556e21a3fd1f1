//! `kith-supernode status`

use kith_runtime::cli::{Screen, Stop, ask, count, span};
use kith_runtime::control::supernode::{Budget, LoginQueue, Request, StatusAnswer};
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
    line(
        "links",
        format!("{}, {}{}", count(answer.links, "link"), count(answer.homes, "session"), of_refusals(answer)),
    );
    line("lease", format!("{} s", answer.lease_s));
    let leader = match answer.leader {
        Some(leader) if leader == answer.serial => "led by this supernode".to_owned(),
        Some(leader) => format!("led by supernode {leader}"),
        None => "led by nobody".to_owned(),
    };
    let lag = if answer.lag == 0 { String::new() } else { format!(", {} behind", count(answer.lag, "change")) };
    line("log", format!("{}, {leader} in term {}{lag}", count(answer.log_index, "command"), answer.term));
    if answer.supernodes > 1 {
        let (supernodes, voters, reached) = (answer.supernodes, answer.voters, answer.voters_reached);
        let quorum = match reached > voters / 2 {
            true if voters == 1 => "ONE decides alone, until two others have kept up",
            true => "enough to agree",
            false => "TOO FEW to agree",
        };
        line(
            "supernodes",
            format!("{supernodes}, this is {}; {reached} of {voters} that vote reached: {quorum}", answer.serial),
        );
    }
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
    for budget in &answer.budgets {
        line("budget", of_budget(budget));
    }
    if answer.logins.waiting > 0 || answer.logins.put_off > 0 {
        line("logins", of_logins(&answer.logins));
    }
    if answer.unused > 0 {
        line("unused", format!("{} taken and not used yet", count(answer.unused, "name")));
    }
    line("peer id", answer.peer_id.clone());
    line("listens", answer.listen.join(", "));
    line("daemon", format!("version {}, process {}, up {}", answer.version, answer.pid, span(answer.uptime_s)));
    lines.join("\n")
}

/// Who came and did not get as far as a link, if anybody
fn of_refusals(answer: &StatusAnswer) -> String {
    let kinds = [
        (answer.refused_connections, "connection", "REFUSED as too many came"),
        (answer.failed_handshakes, "handshake", "came to nothing"),
    ];
    let told = kinds.iter().filter(|(number, ..)| *number > 0);
    told.map(|(number, what, why)| format!("; {} {why}", count(*number, what))).collect()
}

fn of_logins(logins: &LoginQueue) -> String {
    let LoginQueue { waiting, commands_per_second, wait_ms, put_off } = logins;
    let mut text = format!("{} for the log, {:.1} s for the next one", waits(*waiting), *wait_ms as f64 / 1e3);
    if let Some(rate) = commands_per_second {
        text += &format!("; it takes {rate} commands a second");
    }
    if *put_off > 0 {
        text += &format!("; PUT OFF {}", count(*put_off, "login"));
    }
    text
}

fn waits(waiting: u64) -> String {
    if waiting == 1 { "1 waits".to_owned() } else { format!("{waiting} wait") }
}

fn of_budget(budget: &Budget) -> String {
    let Budget { what, burst, every_ms, owners, least_left, refused } = budget;
    let mut text = format!("{what}: {burst} at once, one more in {} s", *every_ms as f64 / 1e3);
    if *owners > 0 {
        text += &format!("; {owners} took from it, {least_left} left at least");
    }
    if *refused > 0 {
        text += &format!("; REFUSED {}", count(*refused, "login"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_say_how_long_they_wait_and_how_many_were_put_off() {
        let logins = LoginQueue { waiting: 1, commands_per_second: None, wait_ms: 0, put_off: 0 };
        assert_eq!(of_logins(&logins), "1 waits for the log, 0.0 s for the next one");
        let logins = LoginQueue { waiting: 120, commands_per_second: Some(32), wait_ms: 8_200, put_off: 1 };
        let said = "120 wait for the log, 8.2 s for the next one; it takes 32 commands a second; PUT OFF 1 login";
        assert_eq!(of_logins(&logins), said);
    }

    #[test]
    fn budget_says_what_is_left_and_how_many_were_refused() {
        let what = "new names of a network".to_owned();
        let whole = Budget { what, burst: 256, every_ms: 60_000, owners: 0, least_left: 256, refused: 0 };
        assert_eq!(of_budget(&whole), "new names of a network: 256 at once, one more in 60 s");
        let used = Budget { owners: 2, least_left: 0, refused: 7, ..whole };
        assert!(of_budget(&used).ends_with("; 2 took from it, 0 left at least; REFUSED 7 logins"));
    }
}
