//! `kith-lab soak --disasters N`: 40 of a hundred peers and as many supernodes as may die are killed at once while messages
//! flow: those who are left hear each other again soon, and nothing that was accepted is lost.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::books::{Books, Pair};
use super::run::{self, Load};
use crate::draw::Draw;
use crate::error::LabError;
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::role::Role;
use crate::{output, threads};

/// Of a hundred peers, those that are killed
const PEERS_OF_HUNDRED: usize = 40;
/// Within which 99 of a hundred pairs of survivors hear each other again, in seconds
const HEARD_MAX_S: f64 = 10.0;
/// So long it is waited for the last of them
const HEARD_LIMIT: Duration = Duration::from_secs(30);
/// From the return of the dead until everybody holds their links again
const SETTLED_LIMIT: Duration = Duration::from_secs(60);
/// So long messages flow before a disaster
const CALM: Duration = Duration::from_secs(5);
/// How often it is looked who has been heard
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How it is run
#[derive(Clone, Debug)]
pub(crate) struct DisastersOptions {
    pub(crate) lab: Options,
    pub(crate) load: Load,
    pub(crate) rounds: usize,
    /// One object for programs
    pub(crate) json: bool,
}

/// What the survivors have made of it
#[derive(Debug, Default)]
struct Heard {
    /// From the kill to the first message that was asked for after it and was read, for each pair of survivors, in seconds
    after_s: Vec<f64>,
    /// Pairs that have not been heard while it was waited
    silent: Vec<String>,
    killed: usize,
}

/// Runs it on a lab of its own, which is ended; whether all held
///
/// # Errors
/// The lab does not come up, a process cannot be killed or started, or the mesh does not settle between two rounds.
pub(crate) fn run(options: &DisastersOptions) -> Result<bool, LabError> {
    let progress = if options.json { Progress::Quiet } else { Progress::Lines };
    let lab = Lab::up(options.lab.clone(), progress)?;
    let seed = lab.state()?.seed;
    let (heard, ended) = run::under_load(&lab, options.load, |books| disasters(&lab, books, options.rounds, seed))?;
    heard.silent.iter().for_each(|pair| output::note(&format!("not heard: {pair}")));
    let p99 = goals::rank(&heard.after_s, 99);
    let mut figures = vec![
        Figure::told("processes killed", heard.killed as f64, ""),
        Figure::at_least("pairs of survivors that were heard again", heard.after_s.len() as f64, 1.0, ""),
        Figure::told("heard again after, median", goals::rank(&heard.after_s, 50), "s"),
        Figure::at_most("… 99 of a hundred", Some(p99), HEARD_MAX_S, "s"),
        Figure::told("… the longest", goals::rank(&heard.after_s, 100), "s"),
        Figure::at_most("… not within half a minute", Some(heard.silent.len() as f64), 0.0, ""),
    ];
    figures.extend(ended.figures());
    if options.json {
        output::line(&json!({ "seed": seed, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

fn disasters(lab: &Lab, books: &Books, rounds: usize, seed: u64) -> Result<Heard, LabError> {
    let mut draw = Draw::of(seed, "soak disasters");
    let mut heard = Heard::default();
    for round in 1..=rounds {
        thread::sleep(CALM);
        let victims = victims(lab, &mut draw)?;
        let (since, at) = (books.began.elapsed(), run::time_of_day());
        // One thread each: they have to go together.
        threads::each(&victims, |victim| lab.kill(victim)).into_iter().collect::<Result<(), LabError>>()?;
        heard.killed += victims.len();
        let survivors = |pair: &&Pair| !victims.iter().any(|dead| *dead == pair.from.name || dead == pair.to.as_str());
        let mut silent: Vec<&Pair> = books.pairs.iter().filter(survivors).collect();
        let (until, before) = (Instant::now() + HEARD_LIMIT, heard.after_s.len());
        while !silent.is_empty() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
            silent.retain(|pair| {
                let after = pair.heard_after(since);
                heard.after_s.extend(after.map(|after| after.as_secs_f64()));
                after.is_none()
            });
        }
        let longest = heard.after_s.iter().skip(before).copied().fold(0.0, f64::max);
        let (pairs, victims_told) = (heard.after_s.len() - before, victims.join(", "));
        lab.progress().say(&format!(
            "round {round} at {:.3} s ({at}): without {victims_told}, {pairs} pairs were heard again, the last after \
             {longest:.3} s, {} were not",
            since.as_secs_f64(),
            silent.len()
        ));
        heard.silent.extend(silent.into_iter().map(|pair| format!("round {round}, {}", pair.way())));
        for started in threads::each(&victims, |victim| lab.start_and_wait(victim)) {
            started?;
        }
        lab.settle("everybody to hold their links", SETTLED_LIMIT)?;
    }
    Ok(heard)
}

/// Who is killed in a round: without the supernodes among them the others are still a majority
fn victims(lab: &Lab, draw: &mut Draw) -> Result<Vec<String>, LabError> {
    let mut victims = Vec::new();
    for role in [Role::Peer, Role::Supernode] {
        let mut names: Vec<String> = lab.running(role)?.into_iter().map(|node| node.name).collect();
        let count = match role {
            Role::Peer => (names.len() * PEERS_OF_HUNDRED).div_ceil(100),
            Role::Supernode => names.len().saturating_sub(1) / 2,
        };
        draw.shuffle(&mut names);
        victims.extend(names.into_iter().take(count));
    }
    Ok(victims)
}
