//! `kith-supernode ring`

use kith_runtime::cli::{Screen, Stop, count, short, table};
use kith_runtime::control::supernode::{PlaceOnRing, Request, RingAnswer};
use kith_runtime::home::Home;

use super::list;

/// List everybody in the ring, clockwise, with their neighbours
#[derive(Debug, clap::Args)]
pub(crate) struct Ring {}

impl Ring {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        list::tell(home, screen, &Request::Ring, rows, summary)
    }
}

fn rows(ring: &[PlaceOnRing]) -> String {
    let heading = ["ADDRESS", "NAME", "NEIGHBOURS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(ring.iter().map(row)).collect();
    table(&rows)
}

fn summary(answer: &RingAnswer) -> String {
    format!("{} in the ring (epoch {})", count(answer.members, "peer"), answer.epoch)
}

fn row(place: &PlaceOnRing) -> [String; 3] {
    let neighbours: Vec<&str> = place.neighbours.iter().map(|neighbour| neighbour.name.as_str()).collect();
    [short(&place.address).to_owned(), place.name.to_string(), neighbours.join(" ")]
}
