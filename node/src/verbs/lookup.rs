//! `kith lookup NAME`

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Failure, Screen, Stop, short};
use kith_runtime::control::peer::{LookupAnswer, Request, Source};
use kith_runtime::home::Home;

/// Find out who and where a peer is
///
/// Without a supernode the answer comes from peers near by or from memory, and says so.
#[derive(Debug, clap::Args)]
pub(crate) struct Lookup {
    /// Whom to look up
    name: Name,
}

impl Lookup {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let answer = cli::ask::<LookupAnswer>(home, &Request::Lookup { name: self.name.clone() });
        let answer = answer.map_err(|stop| match stop {
            Stop::Failed(failure) if failure.status == Status::NotFound => {
                Stop::Failed(Failure { hint: Some(super::peers::meant(home, &self.name)), ..failure })
            }
            stop => stop,
        })?;
        let fail =
            |found: &LookupAnswer| Failure::new(answer.status, format!("{}: {}", found.name, answer.status), None);
        answer.tell(screen, readable, fail)
    }
}

fn readable(answer: &LookupAnswer) -> String {
    let source = match answer.source {
        Source::Supernode => "a supernode",
        Source::Neighbours => "peers near by",
        Source::Memory => "memory",
    };
    let stale = match answer.source {
        _ if !answer.stale => "",
        Source::Supernode => ", stale: the supernodes cannot agree at present, so it may be old",
        Source::Neighbours | Source::Memory => ", stale: no supernode answers",
    };
    let address = answer.address.as_deref().map_or("none: it is logged out", short);
    let locations = if answer.locations.is_empty() { "none".into() } else { answer.locations.join(", ") };
    let LookupAnswer { name, peer_id, .. } = answer;
    format!(
        "{name}\n  address    {address}\n  locations  {locations}\n  peer id    {peer_id}\n  known from {source}{stale}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn stale_answer_says_so() {
        let answer = LookupAnswer {
            name: name("heidi"),
            key: "00".repeat(32),
            peer_id: "12D3KooWabc".into(),
            address: Some("0123456789abcdef".into()),
            locations: vec!["/ip4/10.0.0.3/tcp/7401".into()],
            stale: true,
            source: Source::Memory,
        };
        let expected = "\
heidi
  address    01234567
  locations  /ip4/10.0.0.3/tcp/7401
  peer id    12D3KooWabc
  known from memory, stale: no supernode answers";
        assert_eq!(readable(&answer), expected);
    }
}
