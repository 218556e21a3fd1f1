//! `kith-supernode ring`

use kith_runtime::cli::{Screen, Stop, ask, count, short, table};
use kith_runtime::control::supernode::{PlaceOnRing, Request, RingAnswer};
use kith_runtime::home::Home;

/// List everybody in the ring, clockwise, with their neighbours
#[derive(Debug, clap::Args)]
pub(crate) struct Ring {}

impl Ring {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = ask::<RingAnswer>(home, &Request::Ring)?;
        screen.show(&answer.line, || readable(&answer.answer))?;
        Ok(answer.status.exit_code())
    }
}

fn readable(answer: &RingAnswer) -> String {
    let summary = format!("{} in the ring (epoch {})", count(answer.ring.len() as u64, "peer"), answer.epoch);
    if answer.ring.is_empty() {
        return summary;
    }
    let heading = ["ADDRESS", "NAME", "NEIGHBOURS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.ring.iter().map(row)).collect();
    format!("{}{summary}", table(&rows))
}

fn row(place: &PlaceOnRing) -> [String; 3] {
    let neighbours: Vec<&str> = place.neighbours.iter().map(|neighbour| neighbour.name.as_str()).collect();
    [short(&place.address).to_owned(), place.name.to_string(), neighbours.join(" ")]
}
