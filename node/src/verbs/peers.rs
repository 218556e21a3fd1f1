//! `kith peers`

use std::num::NonZeroUsize;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::session::admission::LIST_INTERVAL;
use kith_common::status::Status;
use kith_runtime::cli::{self, Answer, Screen, Stop, count, if_stale, short, table};
use kith_runtime::control::client;
use kith_runtime::control::peer::{MemberState, Peer, PeersAnswer, Request};
use kith_runtime::home::Home;

/// In which a hint must be found, or there is none: the supernode answers in two seconds or never
const HINT_WITHIN: Duration = Duration::from_secs(3);

/// List every name in the network, and whether its owner is here, as the supernode says
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    /// Only the names behind this one, in their order
    #[arg(long, value_name = "NAME")]
    after: Option<Name>,

    /// No more than so many
    #[arg(long, short = 'n', value_name = "N", value_parser = super::at_least_one)]
    count: Option<NonZeroUsize>,
}

impl Peers {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let (mut after, mut left) = (self.after, self.count.map_or(usize::MAX, NonZeroUsize::get));
        loop {
            let Answer { line, status, mut answer } = page(home, after)?;
            let is_cut = answer.peers.len() > left || (answer.peers.len() == left && answer.more);
            answer.peers.truncate(left);
            left -= answer.peers.len();
            after = answer.peers.last().map(|peer| peer.name.clone());
            let is_last = is_cut || !answer.more || after.is_none();
            if screen.is_json() && !is_cut {
                screen.show(&line, String::new)?;
            } else if screen.is_json() {
                screen.object(&kith_runtime::control::Done { done: true, status, answer: &answer })?;
            } else {
                screen.text(&readable(&answer, is_last))?;
            }
            if is_last {
                return Ok(status.exit_code());
            }
            std::thread::sleep(LIST_INTERVAL);
        }
    }
}

/// A page, as soon as the supernode has one to give
fn page(home: &Home, after: Option<Name>) -> Result<Answer<PeersAnswer>, Stop> {
    let request = Request::Peers { after };
    let answer = cli::ask::<PeersAnswer>(home, &request);
    match answer {
        Err(Stop::Failed(failure)) if failure.status == Status::SlowDown => {
            std::thread::sleep(LIST_INTERVAL * 10);
            cli::ask(home, &request)
        }
        answer => answer,
    }
}

fn readable(answer: &PeersAnswer, is_last: bool) -> String {
    let heading = ["NAME", "ADDRESS", "STATE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(answer.peers.iter().map(row)).collect();
    let summary = format!("{}, {} in the ring{}", count(answer.names, "name"), answer.members, if_stale(answer.stale));
    match (answer.peers.is_empty(), is_last) {
        (true, _) => summary,
        (false, true) => format!("{}{summary}", table(&rows)),
        (false, false) => table(&rows),
    }
}

fn row(peer: &Peer) -> [String; 3] {
    let address = peer.address.as_deref().map_or("-", short).to_owned();
    [peer.name.to_string(), address, peer.state.to_string()]
}

/// What to do about a name that nobody has: the names that may have been meant, or where to find all
pub(super) fn meant(home: &Home, name: &Name) -> String {
    let all = format!("next: {}", home.command("peers"));
    let similar = client::ask(home, &Request::Similar { name: name.clone() }, HINT_WITHIN);
    // A hint that cannot be had is no second failure to tell of.
    let Ok(similar) = similar.and_then(|line| line.done::<PeersAnswer>()) else { return all };
    let word = |peer: &Peer| match peer.state {
        MemberState::LoggedIn => peer.name.to_string(),
        state => format!("{} ({state})", peer.name),
    };
    match similar.answer.peers.iter().map(word).collect::<Vec<_>>().as_slice() {
        [] => all,
        [one] => format!("did you mean {one}?"),
        [first @ .., last] => format!("did you mean {} or {last}?", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn peers_are_written_as_a_table() {
        let peer = |text: &str, state, address: Option<&str>| Peer {
            name: name(text),
            state,
            address: address.map(str::to_owned),
        };
        let peers = vec![
            peer("alice", MemberState::LoggedIn, Some("0123456789abcdef")),
            peer("bob", MemberState::LoggedOut, None),
        ];
        let answer = PeersAnswer { names: 2, members: 1, more: false, stale: false, peers };
        let expected = "\
NAME   ADDRESS   STATE
alice  01234567  logged in
bob    -         logged out
2 names, 1 in the ring";
        assert_eq!(readable(&answer, true), expected);
        let none = PeersAnswer { peers: vec![], ..answer };
        assert_eq!(readable(&none, true), "2 names, 1 in the ring");
        let stale = readable(&PeersAnswer { stale: true, ..none }, true);
        assert_eq!(stale, "2 names, 1 in the ring; stale: the supernodes cannot agree at present, so it may be old");
    }
}
