//! `kith neighbours`

use kith_runtime::cli::{self, Screen, Stop, count, short, size, span, table, time};
use kith_runtime::control::peer::{Direction, LinkState, Neighbour, NeighboursAnswer, Request};
use kith_runtime::home::Home;

/// List the links to neighbours: up, being dialled, down, or leaving
#[derive(Debug, clap::Args)]
pub(crate) struct Neighbours {}

impl Neighbours {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<NeighboursAnswer>(home, &Request::Neighbours)?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &NeighboursAnswer) -> String {
    let up = answer.neighbours.iter().filter(|neighbour| neighbour.state == LinkState::Up).count();
    let all = count(answer.neighbours.len() as u64, "neighbour");
    let summary = format!("{all}, {up} up (epoch {})", answer.epoch);
    if answer.neighbours.is_empty() {
        return summary;
    }
    let heading =
        ["NAME", "ADDRESS", "STATE", "SINCE", "RTT", "DIALLED BY", "IN", "OUT", "LOCATION"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.neighbours.iter().map(row)).collect();
    format!("{}{summary}", table(&rows))
}

fn row(neighbour: &Neighbour) -> [String; 9] {
    let dialler = match neighbour.direction {
        Some(Direction::Outgoing) => "us",
        Some(Direction::Incoming) => "them",
        None => "-",
    };
    let location = neighbour.location.as_deref().unwrap_or("-");
    let place = match &neighbour.reason {
        Some(reason) => format!("{location} ({reason})"),
        None => location.to_owned(),
    };
    [
        neighbour.name.to_string(),
        short(&neighbour.address).to_owned(),
        neighbour.state.to_string(),
        span(neighbour.since_s),
        neighbour.rtt_us.map_or("-".into(), time),
        dialler.to_owned(),
        size(neighbour.bytes_in),
        size(neighbour.bytes_out),
        place,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn neighbours_are_written_as_a_table() {
        let up = Neighbour {
            name: name("carol"),
            address: "0123456789abcdef".into(),
            peer_id: "12D3".into(),
            state: LinkState::Up,
            reason: None,
            rtt_us: Some(412),
            direction: Some(Direction::Outgoing),
            location: Some("/ip4/10.0.0.3/tcp/7401".into()),
            since_s: 192,
            bytes_in: 1234,
            bytes_out: 900,
        };
        let down = Neighbour {
            name: name("frank"),
            state: LinkState::Down,
            reason: Some("connection reset".into()),
            rtt_us: None,
            direction: None,
            location: None,
            since_s: 2,
            ..up.clone()
        };
        let expected = "\
NAME   ADDRESS   STATE  SINCE       RTT      DIALLED BY  IN      OUT    LOCATION
carol  01234567  up     3 min 12 s  0.41 ms  us          1.2 kB  900 B  /ip4/10.0.0.3/tcp/7401
frank  01234567  down   2 s         -        -           1.2 kB  900 B  - (connection reset)
2 neighbours, 1 up (epoch 17)";
        assert_eq!(readable(&NeighboursAnswer { epoch: 17, neighbours: vec![up, down] }), expected);
        assert_eq!(readable(&NeighboursAnswer { epoch: 1, neighbours: vec![] }), "0 neighbours, 0 up (epoch 1)");
    }
}
