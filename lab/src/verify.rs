//! What must hold in a mesh, asked of the daemons themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::SendAnswer;
use crate::mesh::{Lab, LabError, Node};
use crate::process::Condition;
use crate::role::Role;

/// Who has a link that is up to whom, by name
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// A pair whose message has not arrived gets another one this much later
const SEND_AGAIN_EVERY: Duration = Duration::from_millis(250);

/// The links that are up, as each running peer tells its own
///
/// # Errors
/// A peer cannot be asked.
pub fn graph(lab: &Lab) -> Result<Graph, LabError> {
    let links = |peer: Node| {
        let up = peer.neighbours()?.neighbours.into_iter().filter(|neighbour| neighbour.is_up());
        Ok((peer.name, up.map(|neighbour| neighbour.name).collect()))
    };
    lab.running(Role::Peer)?.into_iter().map(links).collect()
}

/// Whether every running peer is logged in, every link it wants is up at both ends, and none leads anywhere else
///
/// # Errors
/// `NAME: what it lacks`, for the first that lacks something.
pub fn settled(lab: &Lab) -> Result<(), String> {
    let peers = lab.running(Role::Peer).map_err(|error| error.to_string())?;
    let names: BTreeSet<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let mut graph = Graph::new();
    for peer in &peers {
        let status = peer.status().map_err(|error| error.to_string())?;
        if !status.is_logged_in() {
            return Err(format!("{}: it is {} ({})", peer.name, status.state, status.reason));
        }
        let links = settled_links(peer, &names)?;
        graph.insert(peer.name.clone(), links);
    }
    one_way_link(&graph).map_or(Ok(()), |(from, to)| Err(format!("{to}: its link to {from} is not up")))
}

fn settled_links(peer: &Node, names: &BTreeSet<&str>) -> Result<BTreeSet<String>, String> {
    let links = peer.neighbours().map_err(|error| error.to_string())?.neighbours;
    let stranger = links.iter().find(|link| !names.contains(link.name.as_str()));
    if let Some(link) = stranger {
        return Err(format!("{}: it still has a link to {} ({})", peer.name, link.name, link.state));
    }
    if let Some(link) = links.iter().find(|link| !link.is_up()) {
        return Err(format!("{}: its link to {} is {} ({})", peer.name, link.name, link.state, link.reason));
    }
    if links.is_empty() && names.len() > 1 {
        return Err(format!("{}: it has no link yet", peer.name));
    }
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// A link that only its first end has
fn one_way_link(graph: &Graph) -> Option<(&String, &String)> {
    let pairs = graph.iter().flat_map(|(from, links)| links.iter().map(move |to| (from, to)));
    pairs.into_iter().find(|(from, to)| !graph.get(*to).is_some_and(|back| back.contains(*from)))
}

/// What is wrong with the path of a delivered message; `None` for a true path
///
/// A true path starts at `from`, ends at `to`, and each of its steps is a link.
pub fn fault_in_path(graph: &Graph, from: &str, to: &str, answer: &SendAnswer) -> Option<String> {
    let path = &answer.path;
    if path.first().map(String::as_str) != Some(from) || path.last().map(String::as_str) != Some(to) {
        return Some(format!("it does not lead from {from} to {to}"));
    }
    if answer.hops + 1 != path.len() as u64 {
        return Some(format!("it has {} steps and says {} hops", path.len() - 1, answer.hops));
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

/// Keeps sending between each ordered pair until a message arrives; the time from `start` to the last pair's first
///
/// # Errors
/// The pairs that had no delivery `limit` after `start`, each with its last answer.
pub fn pairs_deliver(lab: &Lab, names: &[String], start: Instant, limit: Duration) -> Result<Duration, String> {
    let nodes: BTreeMap<String, Node> =
        names.iter().map(|name| Ok((name.clone(), lab.node(name)?))).collect::<Result<_, LabError>>().map_err(text)?;
    let tried = thread::scope(|scope| {
        let tries: Vec<_> = pairs(names)
            .into_iter()
            .filter_map(|(from, to)| nodes.get(&from).map(|node| (node, to)))
            .map(|(from, to)| scope.spawn(move || deliver(from, &to, start, limit)))
            .collect();
        tries.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())).collect::<Vec<_>>()
    });
    let (mut last, mut failed) = (Duration::ZERO, Vec::new());
    for result in tried {
        match result.and_then(|result| result) {
            Ok(took) => last = last.max(took),
            Err(reason) => failed.push(reason),
        }
    }
    if failed.is_empty() { Ok(last) } else { Err(failed.join("; ")) }
}

fn text(error: LabError) -> String {
    error.to_string()
}

/// A fresh message every quarter of a second, each in a thread of its own, until one arrives
fn deliver(from: &Node, to: &str, start: Instant, limit: Duration) -> Result<Duration, String> {
    let (fates, arrived) = std::sync::mpsc::channel();
    let mut last = "no answer".to_owned();
    for number in 1.. {
        let (node, name, fates) = (from.clone(), to.to_owned(), fates.clone());
        thread::spawn(move || {
            let answer = node.send(&name, &format!("try {number}"));
            // Nobody listens once another try has arrived.
            let _ = fates.send((start.elapsed(), answer));
        });
        let until = Instant::now() + SEND_AGAIN_EVERY;
        while let Ok((took, answer)) = arrived.recv_timeout(until.saturating_duration_since(Instant::now())) {
            match answer {
                Ok(answer) if answer.is_delivered() && took <= limit => return Ok(took),
                Ok(answer) => last = format!("{} {} after {} ms", answer.status, answer.reason, took.as_millis()),
                Err(error) => last = error.to_string(),
            }
        }
        if start.elapsed() > limit {
            break;
        }
    }
    Err(format!("{} → {to}: {last}", from.name))
}

/// Waits until no link of a running peer leads to somebody who does not run
///
/// # Errors
/// Who still has which link `limit` after `start`.
pub fn no_dead_links(lab: &Lab, start: Instant, limit: Duration) -> Result<Duration, String> {
    let left = (start + limit).saturating_duration_since(Instant::now());
    let look = || {
        let state = lab.state().map_err(text)?;
        let ended = |process: &&crate::state::Process| process.condition() == Condition::Ended;
        let dead: BTreeSet<&str> = state.processes.iter().filter(ended).map(|process| process.name.as_str()).collect();
        for peer in lab.running(Role::Peer).map_err(text)? {
            let links = peer.neighbours().map_err(text)?.neighbours;
            if let Some(link) = links.iter().find(|link| dead.contains(link.name.as_str()) || !link.is_up()) {
                return Err(format!("{} shows a link to {} ({})", peer.name, link.name, link.state));
            }
        }
        Ok(())
    };
    lab.wait_until("the survivors to have living links only", left, look).map(|_| start.elapsed()).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(links: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in links {
            graph.entry((*from).into()).or_default().insert((*to).into());
        }
        graph
    }

    fn answer(path: &[&str], hops: u64) -> SendAnswer {
        SendAnswer { path: path.iter().map(|name| (*name).to_owned()).collect(), hops, ..SendAnswer::default() }
    }

    #[test]
    fn path_over_links_from_end_to_end_is_true() {
        let graph = graph(&[("a", "b"), ("b", "c")]);
        assert_eq!(fault_in_path(&graph, "a", "c", &answer(&["a", "b", "c"], 2)), None);
    }

    #[test]
    fn path_with_a_fault_is_told_apart() {
        let graph = graph(&[("a", "b"), ("b", "c")]);
        let fault = |path: &[&str], hops| fault_in_path(&graph, "a", "c", &answer(path, hops)).expect("a fault");
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
