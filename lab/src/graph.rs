//! The links of a mesh, as its peers tell them, and what must hold among them.

use std::collections::{BTreeMap, BTreeSet};

use kith_runtime::control::peer::{LinkState, Neighbour, State, StatusAnswer};

use crate::error::LabError;
use crate::fate::Fate;
use crate::node::Node;

/// The links that are up, by the names of both ends
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The links that are up, as each of `peers` tells its own
///
/// # Errors
/// A peer cannot be asked.
pub fn graph(peers: &[Node]) -> Result<Graph, LabError> {
    let links = |peer: &Node| {
        let up = peer.neighbours()?.neighbours.into_iter().filter(|link| link.state == LinkState::Up);
        Ok((peer.name.clone(), up.map(|link| link.name.to_string()).collect()))
    };
    peers.iter().map(links).collect()
}

/// Whether each of `peers` that has not logged out is logged in, every link it wants is up at both ends, and none leads to
/// anybody else but those of whom `is_outside` says that somebody else has started them
///
/// # Errors
/// `NAME: what it lacks`, for the first that lacks something.
pub fn settled(peers: &[Node], is_outside: impl Fn(&str) -> bool) -> Result<(), String> {
    let mut here = Vec::new();
    for peer in peers {
        let status = peer.status().map_err(|error| error.to_string())?;
        let StatusAnswer { state, reason, .. } = status.answer;
        match state {
            State::LoggedIn => here.push(peer),
            State::LoggedOut => {}
            _ => return Err(format!("{}: it is {state} ({})", peer.name, reason.unwrap_or_default())),
        }
    }
    let names: BTreeSet<&str> = here.iter().map(|peer| peer.name.as_str()).collect();
    let mut graph = Graph::new();
    for peer in here {
        // Nobody here can say what the other end of a link with somebody outside is like.
        let links = settled_links(peer, &names, &is_outside)?;
        if links.is_empty() && names.len() > 1 {
            return Err(format!("{}: it has no link yet", peer.name));
        }
        graph.insert(peer.name.clone(), links);
    }
    one_way_link(&graph).map_or(Ok(()), |(from, to)| Err(format!("{to}: its link to {from} is not up")))
}

fn settled_links(
    peer: &Node,
    names: &BTreeSet<&str>,
    is_outside: impl Fn(&str) -> bool,
) -> Result<BTreeSet<String>, String> {
    let links = peer.neighbours().map_err(|error| error.to_string())?.neighbours;
    let links = links.into_iter().filter(|link| !is_outside(link.name.as_str())).collect::<Vec<_>>();
    let stranger = links.iter().find(|link| !names.contains(link.name.as_str()));
    if let Some(link) = stranger {
        return Err(format!("{}: it still has a link to {} ({})", peer.name, link.name, link.state));
    }
    if let Some(link) = links.iter().find(|link| link.state != LinkState::Up) {
        return Err(format!("{}: its link to {} is {} ({})", peer.name, link.name, link.state, reason(link)));
    }
    Ok(links.into_iter().map(|link| link.name.to_string()).collect())
}

/// Why a link is not up
fn reason(link: &Neighbour) -> &str {
    link.reason.as_deref().unwrap_or_default()
}

/// A link that only its first end has
fn one_way_link(graph: &Graph) -> Option<(&String, &String)> {
    let pairs = graph.iter().flat_map(|(from, links)| links.iter().map(move |to| (from, to)));
    pairs.into_iter().find(|(from, to)| !graph.get(*to).is_some_and(|back| back.contains(*from)))
}

/// What is wrong with the path of a delivered message; `None` for a true path
///
/// A true path starts at `from`, ends at `to`, and each of its steps is a link.
pub fn fault_in_path(graph: &Graph, from: &str, to: &str, fate: &Fate) -> Option<String> {
    let path = &fate.path;
    if path.first().map(String::as_str) != Some(from) || path.last().map(String::as_str) != Some(to) {
        return Some(format!("it does not lead from {from} to {to}"));
    }
    if fate.hops + 1 != path.len() as u64 {
        return Some(format!("it has {} steps and says {} hops", path.len() - 1, fate.hops));
    }
    let steps = path.iter().zip(path.iter().skip(1));
    let mut wrong = steps.filter(|(a, b)| !graph.get(*a).is_some_and(|links| links.contains(*b)));
    wrong.next().map(|(a, b)| format!("{a} and {b} are not neighbours"))
}

/// Every ordered pair of `names`
pub fn pairs(names: &[String]) -> Vec<(String, String)> {
    let all = names.iter().flat_map(|from| names.iter().map(move |to| (from.clone(), to.clone())));
    all.filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use kith_common::status::Status;

    use super::*;

    fn graph(links: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in links {
            graph.entry((*from).into()).or_default().insert((*to).into());
        }
        graph
    }

    fn fate(path: &[&str], hops: u64) -> Fate {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        Fate { path, hops, ..Fate::bare(Status::Delivered) }
    }

    #[test]
    fn path_over_links_from_end_to_end_is_true() {
        let graph = graph(&[("a", "b"), ("b", "c")]);
        assert_eq!(fault_in_path(&graph, "a", "c", &fate(&["a", "b", "c"], 2)), None);
    }

    #[test]
    fn path_with_a_fault_is_told_apart() {
        let graph = graph(&[("a", "b"), ("b", "c")]);
        let fault = |path: &[&str], hops| fault_in_path(&graph, "a", "c", &fate(path, hops)).expect("a fault");
        assert!(fault(&["a", "c"], 1).contains("not neighbours"));
        assert!(fault(&["a", "b"], 1).contains("does not lead"));
        assert!(fault(&["a", "b", "c"], 3).contains("says 3 hops"));
        assert!(fault(&[], 0).contains("does not lead"));
    }

    #[test]
    fn link_that_only_one_end_has_is_found() {
        let whole = graph(&[("a", "b"), ("b", "a")]);
        assert_eq!(one_way_link(&whole), None);
        let half = graph(&[("a", "b"), ("b", "a"), ("b", "c")]);
        assert_eq!(one_way_link(&half), Some((&"b".to_owned(), &"c".to_owned())));
    }

    #[test]
    fn pairs_are_ordered_and_of_two() {
        let names: Vec<String> = (0..8).map(crate::names::peer).collect();
        let pairs = pairs(&names);
        assert_eq!(pairs.len(), 56);
        assert!(pairs.iter().all(|(from, to)| from != to));
    }
}
