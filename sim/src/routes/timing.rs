//! What the clock says of one decision: this alone depends on the machine and on who else uses it.

use std::time::Instant as Clock;

use kith_common::routing::RouteCache;
use kith_common::time::Instant;
use kith_common::wire::packet::{Header, PacketRef, new_packet};
use serde::Serialize;

use crate::chance::{Chance, Draws};
use crate::overlay::{Overlay, Peer};
use crate::stats::median;

/// Decisions of each kind
const SAMPLES: usize = 200;
/// Warm decisions are too short for one look at the clock
const REPEATS: u32 = 1000;

/// How long one decision takes, of a living peer for a destination that is not its neighbour
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize)]
pub(crate) struct Timing {
    /// The median for a destination that was not asked for before, in microseconds
    pub cold_micros: f64,
    /// The median for a destination in the cache, in nanoseconds
    pub warm_nanos: f64,
}

pub(super) fn measure(overlay: &Overlay, seed: u64) -> Timing {
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut chance = Chance::new(seed, Draws::Timing);
    for _ in 0..10 * SAMPLES {
        let [from, to] = [(); 2].map(|()| chance.index(overlay.peers()) as Peer);
        let is_near = from == to || overlay.neighbours(from).contains(&to);
        if is_near || !overlay.is_alive(from) || !overlay.is_alive(to) || cold.len() == SAMPLES {
            continue;
        }
        let header = Header::new(overlay.address(from), overlay.address(to), chance.number());
        let Ok(bytes) = new_packet(&header, &[]) else { continue };
        let Ok(packet) = PacketRef::parse(&bytes) else { continue };
        let (routes, mut cache) = (overlay.routes(from), RouteCache::new());
        let mut decide = || routes.decide(&mut cache, std::hint::black_box(&packet), None, Instant::ZERO);
        let start = Clock::now();
        std::hint::black_box(decide());
        cold.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Clock::now();
        for _ in 0..REPEATS {
            std::hint::black_box(decide());
        }
        warm.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(REPEATS));
    }
    Timing { cold_micros: median(&mut cold), warm_nanos: median(&mut warm) }
}
