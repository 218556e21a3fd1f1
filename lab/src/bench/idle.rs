//! `kith-lab bench idle`: memory, processor time and traffic of peers that have nothing to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kith_runtime::control::peer::LinkState;
use serde::Serialize;
use serde_json::json;

use crate::error::LabError;
use crate::mesh::Lab;
use crate::node::Node;
use crate::options::{Options, Progress};
use crate::output;
use crate::process::Usage;
use crate::role::Role;
use crate::state::State;

/// Logins, rewires and first probes are over by then
pub(super) const QUIET_AFTER: Duration = Duration::from_secs(5);

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct IdleOptions {
    pub lab: Options,
    /// How long is measured
    pub measured: Duration,
    /// Whether the report is for programs
    pub json: bool,
}

/// One process at rest
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rest {
    pub name: String,
    /// Resident memory in KiB at the end
    pub rss_kib: u64,
    /// Processor time in milliseconds per second; a thousand is one core
    pub cpu_ms_per_s: f64,
    /// Links that were up from the first look to the last
    pub links: usize,
    /// Bytes of frames per second and link, in both directions: before encryption, and without TCP's headers
    pub bytes_per_s_per_link: f64,
}

/// What is read at a process, twice
#[derive(Clone, Debug, Default)]
struct Look {
    usage: Usage,
    /// Bytes in both directions, by the link's other end
    links: BTreeMap<String, u64>,
}

/// Starts a mesh, lets it come to rest, measures, ends it, and prints the table
///
/// # Errors
/// The mesh did not come up, or could not be asked.
pub(crate) fn run(options: &IdleOptions) -> Result<Vec<Rest>, LabError> {
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    lab.progress().say(&format!(
        "{} s of rest, then {} s are measured",
        QUIET_AFTER.as_secs(),
        options.measured.as_secs()
    ));
    std::thread::sleep(QUIET_AFTER);
    let mut nodes = lab.running(Role::Supernode)?;
    nodes.extend(lab.running(Role::Peer)?);
    let rests = measure(&lab, &nodes, options.measured)?;
    lab.down()?;
    if options.json {
        output::line(&format!(
            "{}",
            json!({"measured_s": options.measured.as_secs_f64(), "debug": cfg!(debug_assertions), "processes": rests})
        ));
    } else {
        output::line(&table(&rests));
    }
    Ok(rests)
}

/// What each of `nodes` has used within `measured`
///
/// # Errors
/// One of them cannot be asked.
pub(super) fn measure(lab: &Lab, nodes: &[Node], measured: Duration) -> Result<Vec<Rest>, LabError> {
    let start = Instant::now();
    let before = looks(lab, nodes)?;
    std::thread::sleep(measured);
    let after = looks(lab, nodes)?;
    let took = start.elapsed();
    let pairs = nodes.iter().zip(before.iter().zip(&after));
    Ok(pairs.map(|(node, (before, after))| rest(&node.name, before, after, took)).collect())
}

fn looks(lab: &Lab, nodes: &[Node]) -> Result<Vec<Look>, LabError> {
    let state = lab.state()?;
    nodes.iter().map(|node| look(&state, node)).collect()
}

fn look(state: &State, node: &Node) -> Result<Look, LabError> {
    let process = state.process(&node.name).and_then(|process| process.process);
    let usage = process.and_then(|process| process.usage()).unwrap_or_default();
    let links = match node.role {
        Role::Supernode => BTreeMap::new(),
        Role::Peer => {
            let links = node.neighbours()?.neighbours.into_iter().filter(|link| link.state == LinkState::Up);
            links.map(|link| (link.name.to_string(), link.bytes_in + link.bytes_out)).collect()
        }
    };
    Ok(Look { usage, links })
}

fn rest(name: &str, before: &Look, after: &Look, took: Duration) -> Rest {
    let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
    let moved = |(to, bytes): (&String, &u64)| Some(bytes.saturating_sub(*before.links.get(to)?));
    let moved: Vec<u64> = after.links.iter().filter_map(moved).collect();
    let bytes: u64 = moved.iter().sum();
    Rest {
        name: name.to_owned(),
        rss_kib: after.usage.rss_kib,
        cpu_ms_per_s: after.usage.cpu_ms.saturating_sub(before.usage.cpu_ms) as f64 / seconds,
        links: moved.len(),
        bytes_per_s_per_link: bytes as f64 / seconds / moved.len().max(1) as f64,
    }
}

fn table(rests: &[Rest]) -> String {
    let mut text = format!("{:<12} {:>10} {:>12} {:>6} {:>16}", "name", "RSS", "CPU", "links", "bytes/s a link");
    for rest in rests {
        let (mib, cpu) = (rest.rss_kib as f64 / 1024.0, rest.cpu_ms_per_s / 10.0);
        let bytes = rest.bytes_per_s_per_link;
        text.push_str(&format!("\n{:<12} {mib:>6.1} MiB {cpu:>10.2} % {:>6} {bytes:>16.1}", rest.name, rest.links));
    }
    text.push_str("\n(bytes of frames; encryption and the headers of TCP and IP add about 75 to each write)");
    if cfg!(debug_assertions) {
        text.push_str("\n(a debug build: cargo run --release --bin kith-lab -- bench idle)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_counts_only_links_that_were_there_all_the_time() {
        let look = |cpu_ms, links: &[(&str, u64)]| Look {
            usage: Usage { cpu_ms, rss_kib: 2048 },
            links: links.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
        };
        let before = look(100, &[("bob", 1_000), ("carol", 0)]);
        let after = look(150, &[("bob", 1_600), ("carol", 400), ("new", 9_999)]);
        let rest = rest("alice", &before, &after, Duration::from_secs(10));
        let expected =
            Rest { name: "alice".into(), rss_kib: 2048, cpu_ms_per_s: 5.0, links: 2, bytes_per_s_per_link: 50.0 };
        assert_eq!(rest, expected);
        assert!(table(&[rest]).contains("2.0 MiB"));
    }
}
