//! `kith-lab watch`: the links and what happens to them, live.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use kith_common::id::Name;
use kith_runtime::cli::short;
use kith_runtime::control::peer::LinkState;
use kith_runtime::control::supernode::MemberState;

use crate::error::{LabError, io_error};
use crate::mesh::Lab;
use crate::observe::{Change, Observer, View};
use crate::process::Condition;

/// How often every process is asked
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the table is drawn
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Events below the table; older ones scroll away
const EVENTS_MAX: usize = 16;

/// Draws until `limit` has passed, or until the terminal's Ctrl-C ends the program
///
/// Where standard output is no terminal, the table is written once, and then the events, a line each.
///
/// # Errors
/// The lab's state cannot be read, or nobody reads the output any more.
pub(crate) fn run(lab: &Lab, limit: Option<Duration>) -> Result<(), LabError> {
    let observer = Observer::start(lab, LOOK_EVERY)?;
    let start = Instant::now();
    let mut out = std::io::stdout();
    let redraws = out.is_terminal();
    let mut events: VecDeque<String> = VecDeque::new();
    let processes = lab.state()?.processes.len();
    let mut is_table_due = !redraws;
    while limit.is_none_or(|limit| start.elapsed() < limit) {
        let new: Vec<String> = observer.changes().iter().map(|change| event(change, start)).collect();
        let text = if redraws {
            events.extend(new);
            let extra = events.len().saturating_sub(EVENTS_MAX);
            events.drain(..extra);
            // Home, the new picture line by line, and what is left of the old one: nothing flickers.
            format!("\x1b[H{}\x1b[J", screen(&observer.views(), &events, start).replace('\n', "\x1b[K\n"))
        } else {
            // A table of those who were looked at first would be no table of the mesh.
            let views = observer.views();
            let is_now = is_table_due && views.len() >= processes;
            is_table_due &= !is_now;
            let table = if is_now { table(&views, false) } else { String::new() };
            table + &new.iter().map(|event| format!("{event}\n")).collect::<String>()
        };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(io_error("write to standard output"))?;
        let left = limit.map_or(DRAW_EVERY, |limit| limit.saturating_sub(start.elapsed()));
        std::thread::sleep(DRAW_EVERY.min(left));
    }
    Ok(())
}

fn event(change: &Change, start: Instant) -> String {
    let at = change.at.saturating_duration_since(start);
    format!("{:>9.3} s  {:<12} {}", at.as_secs_f64(), change.name, change.what)
}

fn screen(views: &BTreeMap<String, View>, events: &VecDeque<String>, start: Instant) -> String {
    let mut text =
        format!("kith-lab watch, {:.0} s; Ctrl-C ends it and not the mesh\n\n", start.elapsed().as_secs_f64());
    text.push_str(&table(views, true));
    text.push('\n');
    for event in events {
        text.push_str(event);
        text.push('\n');
    }
    text
}

/// One line a process, one word a link; what is not as it should be says so, at a terminal in colour
fn table(views: &BTreeMap<String, View>, is_coloured: bool) -> String {
    let mut text = format!("{:<12} {:<10} {:<8} {:>6}  links\n", "name", "state", "address", "epoch");
    for (name, view) in views {
        let condition = view.condition.map_or("", Condition::word);
        let state = match (view.condition, &view.status) {
            (Some(Condition::Running), Some(status)) => status.state.to_string(),
            _ if view.supernode.as_ref().is_some_and(|node| node.leader == Some(node.serial)) => "leads".to_owned(),
            _ => condition.to_owned(),
        };
        let address = view.status.iter().flat_map(|status| &status.address).map(|address| short(address)).next();
        let address = address.unwrap_or_default();
        let epochs = (view.status.as_ref().map(|peer| peer.epoch), view.supernode.as_ref().map(|node| node.epoch));
        let epoch = epochs.0.or(epochs.1).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<12} {state:<10} {address:<8} {epoch:>6}  {}", links(view, is_coloured));
    }
    text
}

fn links(view: &View, is_coloured: bool) -> String {
    let links = view.neighbours.iter().flat_map(|answer| &answer.neighbours);
    let members = view.peers.iter().flatten();
    let members = members.map(|peer| (&peer.name, peer.state.to_string(), peer.state == MemberState::LoggedIn));
    let word = |(name, state, fine): (&Name, String, bool)| match (fine, is_coloured) {
        (true, _) => name.to_string(),
        (false, true) => format!("\x1b[33m{name}:{state}\x1b[0m"),
        (false, false) => format!("{name}:{state}"),
    };
    let links = links.map(|link| (&link.name, link.state.to_string(), link.state == LinkState::Up));
    links.chain(members).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use kith_runtime::control::peer::NeighboursAnswer;

    use super::*;
    use crate::fixtures::{link, status};

    #[test]
    fn table_shows_a_link_that_is_down_and_a_paused_process() {
        let neighbours = vec![link("bob", LinkState::Up), link("carol", LinkState::Down)];
        let neighbours = NeighboursAnswer { epoch: 9, neighbours };
        let alice = View {
            condition: Some(Condition::Running),
            status: Some(status(9)),
            neighbours: Some(neighbours),
            ..View::default()
        };
        let carol = View { condition: Some(Condition::Paused), ..View::default() };
        let views = BTreeMap::from([("alice".to_owned(), alice), ("carol".to_owned(), carol)]);
        assert!(!table(&views, false).contains('\x1b'), "a file has no colours");
        let table = table(&views, true);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let alice = lines.get(1).expect("alice");
        assert!(alice.contains("logged in") && alice.contains(" bob ") && alice.contains("carol:down"), "{alice}");
        assert!(lines.get(2).expect("carol").contains("paused"));
    }
}
