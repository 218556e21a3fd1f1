//! `kith-lab storm`: many light peers log in at once, stay, and come back whenever they lose their homes.

mod board;
pub(crate) mod crowd;
mod killed;
pub(crate) mod light;
pub(crate) mod shell;

use std::time::{Duration, Instant};

use serde::Serialize;

pub(crate) use self::board::Look;
use self::crowd::{Crowd, LOOK_EVERY};
use crate::book;
use crate::error::LabError;
use crate::mesh::Lab;
use crate::output;
use crate::role::Role;
use crate::state::State;

/// Light peers at most: each takes a connection, and some 100 KB here and at its home
pub(crate) const LIGHTS_MAX: usize = 20_000;
/// How often it is told how many are in, while not all are
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How a storm is made
#[derive(Clone, Copy, Debug)]
pub(crate) struct StormOptions {
    pub(crate) lights: usize,
    /// When it ends; none: with a signal
    pub(crate) limit: Option<Duration>,
    /// Whether all supernodes are killed once all are in, and how all come back is judged, with which it ends
    pub(crate) kill: bool,
    /// Whether the report is for programs
    pub(crate) json: bool,
}

/// What came of one round: from the first that was out until all were in, or until the storm's end
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) lights: usize,
    /// How many are in
    pub(crate) present: usize,
    /// Seconds until 99 of a hundred were in
    pub(crate) most_after_s: Option<f64>,
    /// Seconds until all were in
    pub(crate) all_after_s: Option<f64>,
    /// Dials, those that were not answered among them
    pub(crate) tries_a_peer: f64,
    /// Logins that a supernode refused
    pub(crate) refusals: u64,
    /// How many are at home where, by the supernodes' names in the lab
    pub(crate) homes: Vec<(String, usize)>,
}

/// Lets the storm loose on a lab, says what comes of it, and ends it; whether it came to what it should
///
/// # Errors
/// The lab has no supernode, or the system refuses something.
pub(crate) fn run(lab: &Lab, options: StormOptions) -> Result<bool, LabError> {
    let state = lab.state()?;
    if let Some(way) = state.net.as_ref().and_then(|net| net.way_in()) {
        let dir = lab.dir().display();
        return Err(LabError::Options(format!(
            "the lab's nodes have networks of their own; let it loose in there: {way} kith-lab --dir {dir} storm {}",
            options.lights
        )));
    }
    if options.kill {
        return killed::run(lab, options);
    }
    let crowd = Crowd::gather(lab, options.lights, None)?;
    tell(options, &format!("{} light peers log in at once", options.lights));
    let report = blow(crowd, options, &state);
    if options.json {
        output::line(&serde_json::to_string(&report).unwrap_or_default());
    }
    Ok(report.held())
}

fn blow(mut crowd: Crowd, options: StormOptions, state: &State) -> Report {
    let (mut was_whole, mut told) = (false, Instant::now());
    while options.limit.is_none_or(|limit| crowd.elapsed() < limit) {
        let look = crowd.look();
        let is_whole = look.all_after.is_some();
        if is_whole && !was_whole {
            tell(options, &Report::of(&look, state).text());
        } else if !is_whole && (was_whole || told.elapsed() >= TELL_EVERY) {
            told = Instant::now();
            tell(options, &progress(&look));
        }
        was_whole = is_whole;
        if crowd.wait(LOOK_EVERY) {
            break;
        }
    }
    let report = Report::of(&crowd.look(), state);
    send_home(crowd, options);
    report
}

fn send_home(crowd: Crowd, options: StormOptions) {
    let left = crowd.send_home();
    if left > 0 {
        tell(options, &format!("{left} light peers could not log out in time"));
    }
}

fn progress(look: &Look) -> String {
    let Look { lights, present, since, tries, refusals, .. } = look;
    format!("{:>6.1} s: {present} of {lights} are in, after {tries} tries and {refusals} refusals", since.as_secs_f64())
}

fn tell(options: StormOptions, text: &str) {
    if options.json {
        output::note(text);
    } else {
        output::line(text);
    }
}

impl Report {
    fn of(look: &Look, state: &State) -> Self {
        let named = |at: &String| {
            let mut supernodes = state.processes.iter().filter(|process| process.role == Role::Supernode);
            let known = supernodes.find(|process| book::listen(process) == Some(at));
            known.map_or_else(|| at.clone(), |process| process.name.clone())
        };
        let seconds = |after: Option<Duration>| after.map(|after| after.as_secs_f64());
        Self {
            lights: look.lights,
            present: look.present,
            most_after_s: seconds(look.most_after),
            all_after_s: seconds(look.all_after),
            tries_a_peer: look.tries as f64 / look.lights.max(1) as f64,
            refusals: look.refusals,
            homes: look.homes.iter().map(|(at, count)| (named(at), *count)).collect(),
        }
    }

    /// Whether all are in
    pub(crate) fn held(&self) -> bool {
        self.present == self.lights
    }

    fn text(&self) -> String {
        let after = |after: Option<f64>| after.map_or_else(|| "never".to_owned(), |after| format!("{after:.2} s"));
        let homes: Vec<String> = self.homes.iter().map(|(name, count)| format!("{count} at {name}")).collect();
        format!(
            "all {} are in after {} (99 of a hundred after {}): {:.2} tries a peer, {} refusals; {}",
            self.lights,
            after(self.all_after_s),
            after(self.most_after_s),
            self.tries_a_peer,
            self.refusals,
            homes.join(", ")
        )
    }
}
