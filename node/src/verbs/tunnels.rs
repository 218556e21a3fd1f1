//! `kith tunnels`

use kith_runtime::cli::{self, Failure, Screen, Stop, count, escaped, size, table};
use kith_runtime::control::peer::{Request, Tunnel, TunnelLeads, TunnelState, TunnelsAnswer};
use kith_runtime::home::Home;

/// Show the tunnels of this peer, what is exposed, and what is open
#[derive(Debug, clap::Args)]
pub(crate) struct Tunnels {
    /// Each pipe that is open, too
    #[arg(long, short)]
    pipes: bool,
}

impl Tunnels {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<TunnelsAnswer>(home, &Request::Tunnels)?;
        let shown = |answer: &TunnelsAnswer| readable(answer, self.pipes, home);
        answer.tell(screen, shown, |_| Failure::new(answer.status, "not shown", None))
    }
}

fn readable(answer: &TunnelsAnswer, shows_pipes: bool, home: &Home) -> String {
    let mut shown = if answer.tunnels.is_empty() {
        let (forward, expose) = (home.command("forward 8080 NAME:80"), home.command("expose 22 --for NAME"));
        format!("no tunnel, and nothing is exposed\nnext: {forward}, or {expose}")
    } else {
        let heading =
            ["TUNNEL", "LEADS TO", "STATE", "OPEN", "OPENED", "FAILED", "SENT", "RECEIVED"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(answer.tunnels.iter().map(row)).collect();
        let troubles = answer.tunnels.iter().filter_map(trouble);
        std::iter::once(table(&rows).trim_end().to_owned()).chain(troubles).collect::<Vec<_>>().join("\n")
    };
    if shows_pipes && !answer.pipes.is_empty() {
        let heading = ["PIPE", "WITH", "LEADS TO", "SENT", "RECEIVED"].map(str::to_owned);
        let pipe = |pipe: &kith_runtime::control::peer::OpenPipe| {
            let leads_to = if pipe.channel.is_empty() { "-".to_owned() } else { escaped(&pipe.channel) };
            [pipe.pipe.to_string(), pipe.with.to_string(), leads_to, size(pipe.sent), size(pipe.received)]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(answer.pipes.iter().map(pipe)).collect();
        shown = format!("{shown}\n\n{}{} open", table(&rows), count(answer.open, "pipe"));
    }
    shown
}

fn row(tunnel: &Tunnel) -> [String; 8] {
    let (here, there) = ends(&tunnel.leads);
    let state = match (tunnel.state, tunnel.kept) {
        (TunnelState::Starting, _) => "starting",
        (TunnelState::Troubled, _) => "troubled",
        (TunnelState::Open, true) => "open, kept",
        (TunnelState::Open, false) => "open",
    };
    let counts = [tunnel.open, tunnel.opened, tunnel.failed].map(|count| count.to_string());
    let [open, opened, failed] = counts;
    [here, there, state.to_owned(), open, opened, failed, size(tunnel.sent), size(tunnel.received)]
}

/// Where it begins, and where it leads
fn ends(leads: &TunnelLeads) -> (String, String) {
    match leads {
        TunnelLeads::Forward { at, name, destination } => (at.clone(), format!("{name}: {destination}")),
        TunnelLeads::Socks { at } => (at.clone(), "(SOCKS 5)".to_owned()),
        TunnelLeads::Expose { rule } => {
            let (destination, names) = rule.split_once(" for ").unwrap_or((rule, "everyone"));
            (format!("from {names}"), destination.to_owned())
        }
    }
}

fn trouble(tunnel: &Tunnel) -> Option<String> {
    let (here, _) = ends(&tunnel.leads);
    tunnel.reason.as_ref().map(|reason| format!("{here}: {}", escaped(reason)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::verbs::tests::name;
    use kith_runtime::control::peer::OpenPipe;
    use kith_runtime::home::PEER;

    fn tunnel(leads: TunnelLeads, reason: Option<&str>) -> Tunnel {
        let reason = reason.map(str::to_owned);
        let (open, opened, failed, sent, received) = (1, 12, 2, 2_048, 3 << 20);
        let state = if failed == 2 { TunnelState::Open } else { TunnelState::Troubled };
        Tunnel { tunnel: 1, leads, kept: true, state, reason, open, opened, failed, sent, received }
    }

    #[test]
    fn tunnels_are_written_as_a_table_with_what_troubles_them() {
        let home = Home::resolve(PEER, Some(Path::new("/srv/a"))).unwrap();
        let forward =
            TunnelLeads::Forward { at: "127.0.0.1:8080".into(), name: name("bob"), destination: "localhost:80".into() };
        let expose = TunnelLeads::Expose { rule: "localhost:22 for alice,carol".into() };
        let pipe = OpenPipe {
            pipe: 7,
            tunnel: Some(1),
            with: name("bob"),
            channel: "localhost:80".into(),
            sent: 1,
            received: 2,
        };
        let answer = TunnelsAnswer {
            tunnels: vec![tunnel(forward, Some("503 unavailable: nobody listens")), tunnel(expose, None)],
            pipes: vec![pipe],
            open: 1,
        };
        let shown = readable(&answer, true, &home);
        for expected in [
            "127.0.0.1:8080    bob: localhost:80",
            "from alice,carol  localhost:22",
            "open, kept",
            "127.0.0.1:8080: 503 unavailable: nobody listens",
            "1 pipe open",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        let nothing = TunnelsAnswer { tunnels: Vec::new(), pipes: Vec::new(), open: 0 };
        assert!(readable(&nothing, true, &home).contains("next: kith --home /srv/a forward 8080 NAME:80"));
    }
}
