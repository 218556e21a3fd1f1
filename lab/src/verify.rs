//! What must hold in a mesh after something was broken, asked of the daemons themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use kith_runtime::control::peer::LinkState;

use crate::error::LabError;
use crate::graph::pairs;
use crate::mesh::Lab;
use crate::node::Node;
use crate::process::Condition;
use crate::role::Role;
use crate::state::Process;

/// A pair whose message has not arrived gets another one this much later
const SEND_AGAIN_EVERY: Duration = Duration::from_millis(250);

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
                Ok(answer) => {
                    last = format!("{} {} after {} ms", answer.status.code(), answer.reason, took.as_millis())
                }
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
pub(crate) fn no_dead_links(lab: &Lab, start: Instant, limit: Duration) -> Result<Duration, String> {
    let left = (start + limit).saturating_duration_since(Instant::now());
    let look = || {
        let state = lab.state().map_err(text)?;
        let ended = |process: &&Process| process.condition() == Condition::Ended;
        let dead: BTreeSet<&str> = state.processes.iter().filter(ended).map(|process| process.name.as_str()).collect();
        for peer in lab.running(Role::Peer).map_err(text)? {
            let links = peer.neighbours().map_err(text)?.neighbours;
            if let Some(link) =
                links.iter().find(|link| dead.contains(link.name.as_str()) || link.state != LinkState::Up)
            {
                return Err(format!("{} shows a link to {} ({})", peer.name, link.name, link.state));
            }
        }
        Ok(())
    };
    lab.wait_until("the survivors to have living links only", left, look).map(|_| start.elapsed()).map_err(text)
}
