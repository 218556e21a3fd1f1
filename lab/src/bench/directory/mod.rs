//! `kith-lab bench directory`: how many logins and look-ups a second supernodes carry, beside the bare disk and the bare
//! network, and how soon one with a large directory starts.
//!
//! Clients go through their sessions together, phase by phase: all open links, all log in, all ask, all log out. So what a
//! login costs the directory is measured apart from the handshakes, which this process computes for all clients.

mod bare;
mod client;
mod rates;
mod start;

use std::time::Duration;

use kith_common::directory::{Command, LogIn, Right};
use kith_common::id::{Key, SessionId, SupernodeId};
use kith_common::wire::agreement::Proposed;
use kith_common::wire::session::{Locations, LookUp, Subject};
use kith_common::wire::{self, Frame};
use kith_runtime::host::raise_file_limit;
use serde_json::json;
use tokio::runtime::Runtime;

use self::rates::Rates;
use super::{median, text};
use crate::error::{LabError, io_error};
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::{node, output};

/// Logins over commits of the bare disk
const LOGINS_GOAL: f64 = 0.5;
/// From the start of a supernode until it answers `status`, in seconds
const START_GOAL: f64 = 2.0;
/// As many supernodes as are measured, one after the other
const SUPERNODES: [usize; 2] = [1, 3];

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct DirectoryOptions {
    pub(crate) lab: Options,
    pub(crate) clients: usize,
    /// How long all but the start is measured, in all
    pub(crate) measured: Duration,
    /// Names of the directory that is read at a start; 0: no start is measured
    pub(crate) entries: usize,
    pub(crate) json: bool,
}

/// Measures all of it, and says it; whether every goal was reached
///
/// # Errors
/// A process did not start, or a client was not answered. All processes have ended then.
pub(crate) fn run(options: &DirectoryOptions) -> Result<bool, LabError> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(io_error("start the clients' threads"))?;
    let mut figures = rate_figures(&runtime, options)?;
    if options.entries > 0 {
        let started = start::measure(&runtime, &options.lab, options.entries, options.clients, options.measured / 8)?;
        let after = format!("{} names in a snapshot, {} commands after it", options.entries, started.commands);
        figures.push(Figure::at_most(
            format!("start with {after}, until status is answered"),
            Some(started.answered.as_secs_f64()),
            START_GOAL,
            "s",
        ));
        figures.push(Figure::told("… and until peers may log in", started.ready.as_secs_f64(), "s"));
        figures.push(Figure::told("… and its memory then", started.rss_mib, "MiB"));
    }
    if options.json {
        output::line(&json!({ "clients": options.clients, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

/// Rates of one supernode and of three, and before, between and after them those of the bare disk and network
fn rate_figures(runtime: &Runtime, options: &DirectoryOptions) -> Result<Vec<Figure>, LabError> {
    // Three times a bare disk and a bare network, twice sessions and look-ups.
    let part = options.measured / 10;
    let (command, question) = sizes().map_err(bench)?;
    let (mut commits, mut echoes, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut bare = || {
        let dir = &options.lab.dir;
        std::fs::create_dir_all(dir).map_err(io_error("make the lab's directory"))?;
        commits.push(bare::commits(runtime, dir, options.clients, command, part).map_err(bench)?);
        echoes.push(bare::echoes(runtime, options.clients, question, part).map_err(bench)?);
        Ok::<_, LabError>(())
    };
    bare()?;
    for supernodes in SUPERNODES {
        let lab = Lab::empty(Options { supernodes, peers: 0, ..options.lab.clone() }, Progress::Quiet)?;
        rates.push((supernodes, rates::sessions(runtime, &lab, options.clients, part * 2, true)?));
        lab.down()?;
        bare()?;
    }
    let (commits, echoes) = (median(commits), median(echoes));
    let mut figures = vec![
        Figure::told(format!("bare group commits of {} clients, {command} bytes each", options.clients), commits, "/s"),
        Figure::told(format!("bare echoes of {} clients, {question} bytes each", options.clients), echoes, "/s"),
    ];
    for (supernodes, rates) in rates {
        figures.extend(of_supernodes(supernodes, rates, commits, echoes));
    }
    Ok(figures)
}

fn of_supernodes(supernodes: usize, rates: Rates, commits: f64, echoes: f64) -> Vec<Figure> {
    let Rates { logins, opened_logins, logouts, look_ups, session_us } = rates;
    let with = |what: &str| format!("{supernodes} supernode{}: {what}", if supernodes == 1 { "" } else { "s" });
    let over = |rate: f64, bare: f64| rate / bare.max(f64::MIN_POSITIVE);
    let wanted = |what: &str, ratio: f64| match supernodes {
        1 => Figure::at_least(with(what), ratio, LOGINS_GOAL, ""),
        _ => Figure::told(with(what), ratio, ""),
    };
    vec![
        Figure::told(with("logins, the links being open"), logins, "/s"),
        wanted("… over bare commits", over(logins, commits)),
        Figure::told(with("logins, with the opening of each link"), opened_logins, "/s"),
        wanted("… over bare commits", over(opened_logins, commits)),
        Figure::told(with("logouts"), logouts, "/s"),
        Figure::told(with("processor of an opening, a login and a logout"), session_us, "µs"),
        Figure::told(with("look-ups"), look_ups, "/s"),
        Figure::told(with("… over bare echoes"), over(look_ups, echoes), ""),
    ]
}

/// Bytes of a login's command as the log keeps it, and of a look-up's frame
fn sizes() -> Result<(usize, usize), String> {
    let name = node::name("client-63-0").map_err(text)?;
    let login = Command::LogIn(LogIn {
        name: name.clone(),
        key: Key([7; 32]),
        session: SessionId([7; 16]),
        resumes: None,
        offers: None,
        salt: [7; 16],
        locations: Locations::default(),
        home: SupernodeId(1),
        right: Right::Anybody,
    });
    let command = login.to_bytes().map_err(text)?.try_into().map_err(text)?;
    let proposed = Proposed { proposer: SupernodeId(1), boot: 1, number: 1_000, command };
    let question = LookUp { query: 1_000, ttl: 0, subject: Subject::Name(name), may_be_stale: false };
    let question = Frame::LookUp(question).to_bytes().map_err(text)?;
    Ok((wire::encode(&proposed).map_err(text)?.len(), question.len()))
}

/// Why the bench failed
fn bench(reason: impl Into<String>) -> LabError {
    LabError::Bench { process: "a client".into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logins_at_one_supernode_have_a_goal_and_both_ways_to_count_them_do() {
        let rates =
            Rates { logins: 600.0, opened_logins: 400.0, logouts: 900.0, look_ups: 5_000.0, session_us: 2_000.0 };
        let missed =
            |supernodes| of_supernodes(supernodes, rates, 1_000.0, 20_000.0).iter().filter(|f| !f.held).count();
        assert_eq!((missed(1), missed(3)), (1, 0));
    }

    #[test]
    fn login_is_a_command_of_some_hundred_bytes() {
        let (command, question) = sizes().expect("sizes");
        assert!((90..200).contains(&command) && (20..60).contains(&question), "{command} {question}");
    }
}
