//! `kith neighbours`

use kith_runtime::cli::{self, Screen, Stop, count, short, size, span, table, time};
use kith_runtime::control::peer::{Direction, LinkState, Neighbour, NeighboursAnswer, Request};
use kith_runtime::home::Home;

/// List the links to neighbours: up, being dialled, down, or leaving
#[derive(Debug, clap::Args)]
pub(crate) struct Neighbours {
    /// Also addresses on the ring, and bytes in and out
    #[arg(long, short)]
    long: bool,
}

impl Neighbours {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<NeighboursAnswer>(home, &Request::Neighbours)?;
        screen.show(&answer.line, || readable(&answer.answer, self.long))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &NeighboursAnswer, is_long: bool) -> String {
    let up = answer.neighbours.iter().filter(|neighbour| neighbour.state == LinkState::Up).count();
    let all = count(answer.neighbours.len() as u64, "neighbour");
    let summary = format!("{all}, {up} up (epoch {})", answer.epoch);
    if answer.neighbours.is_empty() {
        return summary;
    }
    let links = &answer.neighbours;
    let table = if is_long { table(&rows(links, LONG, long)) } else { table(&rows(links, SHORT, brief)) };
    let reasons = links.iter().filter_map(|link| Some(format!("{}: {}\n", link.name, link.reason.as_ref()?)));
    format!("{table}{}{summary}", reasons.collect::<String>())
}

/// What fits into 80 columns, with names of 16 letters
const SHORT: [&str; 6] = ["NAME", "STATE", "SINCE", "RTT", "BY", "LOCATION"];
const LONG: [&str; 9] = ["NAME", "STATE", "SINCE", "RTT", "BY", "ADDRESS", "IN", "OUT", "LOCATION"];

fn rows<const N: usize>(
    links: &[Neighbour],
    heading: [&str; N],
    row: impl Fn(&Neighbour) -> [String; N],
) -> Vec<[String; N]> {
    std::iter::once(heading.map(str::to_owned)).chain(links.iter().map(row)).collect()
}

fn brief(neighbour: &Neighbour) -> [String; 6] {
    let dialler = match neighbour.direction {
        Some(Direction::Outgoing) => "us",
        Some(Direction::Incoming) => "them",
        None => "-",
    };
    [
        neighbour.name.to_string(),
        neighbour.state.to_string(),
        span(neighbour.since_s),
        neighbour.rtt_us.map_or("-".into(), time),
        dialler.to_owned(),
        neighbour.location.as_deref().map_or("-".into(), host_and_port),
    ]
}

/// A location as it is typed, which is shorter than as it is announced
fn host_and_port(location: &str) -> String {
    match location.split('/').collect::<Vec<_>>().as_slice() {
        ["", "ip6", host, "tcp", port] => format!("[{host}]:{port}"),
        ["", "ip4" | "dns" | "dns4" | "dns6", host, "tcp", port] => format!("{host}:{port}"),
        _ => location.to_owned(),
    }
}

fn long(neighbour: &Neighbour) -> [String; 9] {
    let [name, state, since, rtt, by, _] = brief(neighbour);
    let location = neighbour.location.clone().unwrap_or_else(|| "-".into());
    let address = short(&neighbour.address).to_owned();
    [name, state, since, rtt, by, address, size(neighbour.bytes_in), size(neighbour.bytes_out), location]
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
        let answer = NeighboursAnswer { epoch: 17, neighbours: vec![up, down] };
        let expected = "\
NAME   STATE  SINCE       RTT      BY  LOCATION
carol  up     3 min 12 s  0.41 ms  us  10.0.0.3:7401
frank  down   2 s         -        -   -
frank: connection reset
2 neighbours, 1 up (epoch 17)";
        assert_eq!(readable(&answer, false), expected);
        let expected = "\
NAME   STATE  SINCE       RTT      BY  ADDRESS   IN      OUT    LOCATION
carol  up     3 min 12 s  0.41 ms  us  01234567  1.2 kB  900 B  /ip4/10.0.0.3/tcp/7401
frank  down   2 s         -        -   01234567  1.2 kB  900 B  -
frank: connection reset
2 neighbours, 1 up (epoch 17)";
        assert_eq!(readable(&answer, true), expected);
        let nobody = NeighboursAnswer { epoch: 1, neighbours: vec![] };
        assert_eq!(readable(&nobody, false), "0 neighbours, 0 up (epoch 1)");
    }

    #[test]
    fn table_of_usual_names_and_locations_fits_into_80_columns() {
        let longest = Neighbour {
            name: name("alice-s-notebook"),
            address: "0123456789abcdef".into(),
            peer_id: "12D3".into(),
            state: LinkState::Dialling,
            reason: None,
            rtt_us: Some(999_900),
            direction: Some(Direction::Incoming),
            location: Some("/ip4/192.168.178.123/tcp/54321".into()),
            since_s: 3_599,
            bytes_in: 0,
            bytes_out: 0,
        };
        let table = readable(&NeighboursAnswer { epoch: 1, neighbours: vec![longest] }, false);
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{widest}: {table}");
        assert_eq!(host_and_port("/ip6/2001:db8::7/tcp/7401"), "[2001:db8::7]:7401");
        assert_eq!(host_and_port("/unix/x"), "/unix/x");
    }
}
