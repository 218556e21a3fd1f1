//! What is answered of the way to a peer.

use kith_common::id::Name;
use kith_common::wire::content::Choice;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceAnswer {
    pub name: Name,
    /// The hops in order, the destination last
    pub hops: Vec<TraceHop>,
    /// Whether a supernode carried it
    pub relayed: bool,
    /// How often it was asked: each time but the last another way was taken, of which nothing came back in time
    pub attempts: u64,
    /// Why it did not arrive
    pub reason: Option<String>,
}

/// One peer on the way
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// Counted from 1
    pub index: u64,
    /// A name that nobody knows is the upper half of the address
    pub name: String,
    /// Its place on the ring, or the upper half of it; none if the report that would say it is missing
    pub address: Option<String>,
    /// From here to there and back; none if its report is lost, or was slower than the answer
    pub rtt_us: Option<u64>,
    /// Why the one before chose it: `destination`, `knows_destination`, `nearest_ball`, `back`, `relay`, `unknown`
    pub choice: String,
    /// The same in words
    pub reason: String,
}

/// `choice` and `reason` of a [`TraceHop`] on the way to `destination`
pub fn explain(choice: Option<Choice>, destination: &Name) -> (&'static str, String) {
    let Some(choice) = choice else { return ("unknown", "the one before has not said".into()) };
    match choice {
        Choice::Destination => ("destination", "it is the destination".into()),
        Choice::KnowsDestination => ("knows_destination", format!("it has a link to {destination}")),
        Choice::NearestBall(cost) => {
            let hops = format!("{}.{}", cost / 100, cost % 100 / 10);
            ("nearest_ball", format!("its neighbours come nearest to {destination}: about {hops} hops from here"))
        }
        Choice::Back => ("back", "nobody was left to try, so back to where it came from".into()),
        Choice::Relay => ("relay", "no way through the mesh, so a supernode relays".into()),
    }
}
