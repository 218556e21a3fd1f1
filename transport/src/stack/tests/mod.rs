//! Calls, what others call, messages, pings and checks by themselves; whole peers with their connections are the simulator's.

mod calls;
mod checks;
mod evaluating;
mod messages;
mod pings;
mod trust;

use kith_common::id::{Address, Epoch, Key, SessionId};
use kith_common::names::{Answer, Source};
use kith_common::status::Status;
use kith_common::testing::{network_of, peer_name};
use kith_common::wire::grant::Grant;
use kith_common::wire::session::Record;

/// Nobody signs anything here
fn key(n: u8) -> Key {
    Key([n; 32])
}

/// Peer `n`'s session, at the place with the same number
fn grant(n: u8) -> Grant {
    let (network, session) = (network_of(99), SessionId([n; 16]));
    let (name, key, address, epoch) = (peer_name(n), key(n), Address(n.into()), Epoch::new(0, 1));
    Grant { network, name, key, address, session, epoch }
}

/// All kinds of answers to a look-up of `n`'s name but that nobody has it
fn answers(n: u8) -> [Result<Answer, Status>; 6] {
    [
        Ok(answer(n, n, n.into(), Source::Supernode)),
        Ok(answer(n, n + 1, 1, Source::Supernode)),
        Ok(answer(n, n, 8, Source::Neighbours)),
        Ok(Answer { record: None, ..answer(n, n, 8, Source::Tables) }),
        Err(Status::Unavailable),
        Err(Status::Gone),
    ]
}

/// `n`'s name is held by the key `by`, at `place`
fn answer(n: u8, by: u8, place: u64, source: Source) -> Answer {
    let (name, address) = (peer_name(n), Address(place));
    let record =
        Record { name: name.clone(), key: key(by), address, epoch: Epoch::new(0, 1), locations: Default::default() };
    Answer { name, address, record: Some(record), source, stale: source != Source::Supernode }
}
