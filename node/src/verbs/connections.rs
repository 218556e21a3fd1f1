//! `kith connections`

use kith_runtime::cli::{self, Failure, Screen, Stop, count, size, span, table, time};
use kith_runtime::control::peer::{Connection, ConnectionsAnswer, Direction, Request};
use kith_runtime::home::Home;

/// List the connections with other peers: by which neighbour they go, and what has passed
#[derive(Debug, clap::Args)]
pub(crate) struct Connections {}

impl Connections {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<ConnectionsAnswer>(home, &Request::Connections)?;
        answer.tell(screen, readable, |_| Failure::new(answer.status, "not shown", None))
    }
}

fn readable(answer: &ConnectionsAnswer) -> String {
    if answer.connections.is_empty() {
        return "no connection: there is one while something is sent, called, piped or pinged".to_owned();
    }
    let heading = ["WITH", "SINCE", "RTT", "BY", "FIRST HOP", "WAYS", "LOST", "OUT", "IN"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.connections.iter().map(row)).collect();
    format!("{}{}", table(&rows), count(answer.connections.len() as u64, "connection"))
}

fn row(connection: &Connection) -> [String; 9] {
    let first_hop = match (&connection.first_hop, connection.relayed) {
        (hop, true) => format!("{}, relayed", hop.as_deref().unwrap_or("-")),
        (Some(hop), false) => hop.clone(),
        (None, false) => "-".to_owned(),
    };
    [
        connection.name.as_ref().map_or_else(|| "(not known yet)".to_owned(), ToString::to_string),
        span(connection.since_s),
        connection.rtt_us.map_or_else(|| "-".to_owned(), time),
        if connection.direction == Direction::Outgoing { "us" } else { "them" }.to_owned(),
        first_hop,
        (connection.ways + 1).to_string(),
        connection.lost.to_string(),
        size(connection.bytes_out),
        size(connection.bytes_in),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn connections_are_written_as_a_table() {
        let connection = Connection {
            name: Some(name("heidi")),
            peer_id: None,
            direction: Direction::Outgoing,
            connected: true,
            since_s: 75,
            silent_s: 0,
            rtt_us: Some(1_400),
            bytes_out: 2_000,
            bytes_in: 3_000_000,
            lost: 4,
            first_hop: Some("frank".to_owned()),
            relayed: false,
            ways: 1,
        };
        let unknown = Connection { name: None, first_hop: None, relayed: true, rtt_us: None, ..connection.clone() };
        let shown = readable(&ConnectionsAnswer { connections: vec![connection, unknown] });
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["heidi", "1", "min", "15", "s", "1.4", "ms", "us", "frank", "2", "4", "2.0", "kB", "3.0", "MB"]
        );
        assert_eq!(lines[2][..7], ["(not", "known", "yet)", "1", "min", "15", "s"]);
        assert_eq!(lines[3], ["2", "connections"]);
        assert!(readable(&ConnectionsAnswer { connections: Vec::new() }).starts_with("no connection"));
    }
}
