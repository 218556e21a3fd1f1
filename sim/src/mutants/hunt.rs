//! One mistake through the runs, until somebody objects.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kith_common::mutant::{self, Mutant};
use kith_common::time::Instant;

use super::scenarios::{self, Run, Scenario};
use crate::collapse::{self, Outcome};
use crate::door;
use crate::mesh::Report;
use crate::parallel::map_chunks;
use crate::{outage, output, overload, sweep};

/// What an oracle said, or how a core came to grief
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    /// The oracle's name; `panic` if a core or the world came upon something impossible
    pub oracle: String,
    pub what: String,
    /// How far the run was; a run that panics does not tell
    pub at: Option<Duration>,
}

/// A run in which the mistake was seen, while nobody objected to it without the mistake
#[derive(Clone, Debug)]
pub(crate) struct Catch {
    pub scenario: Scenario,
    pub seed: u64,
    pub objection: Objection,
}

/// What came of one mistake
#[derive(Clone, Debug)]
pub(crate) struct Hunt {
    pub mutant: Mutant,
    pub runs: u32,
    /// Time that they took
    pub took: Duration,
    /// The oracle that saw it, if one did
    pub catch: Option<Catch>,
    /// Runs to which somebody objected without the mistake as well, and what they said: oracles that cry wolf
    pub wolves: Vec<(Scenario, u64, Objection)>,
}

/// What was said of runs without a mistake; many mistakes are seen in the same ones
#[derive(Default)]
struct Controls(Mutex<BTreeMap<(&'static str, u64), Option<Objection>>>);

impl Controls {
    fn objection(&self, scenario: &Scenario, seed: u64) -> Option<Objection> {
        let key = (scenario.command, seed);
        let known = self.0.lock().ok().and_then(|known| known.get(&key).cloned());
        known.unwrap_or_else(|| {
            let objection = run(None, scenario, seed);
            if let Ok(mut known) = self.0.lock() {
                known.insert(key, objection.clone());
            }
            objection
        })
    }
}

/// Each of these mistakes through all runs, on so many threads
pub(crate) fn all(mutants: &[Mutant], threads: usize) -> Vec<Hunt> {
    let controls = Controls::default();
    // What a core says as it panics is in the report.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let work = |(): &mut (), number: usize| {
        let mutant = mutants[number];
        one(&controls, mutant, &runs_for(mutant))
    };
    let (hunts, _) = map_chunks(threads, mutants.len(), || (), work);
    std::panic::set_hook(hook);
    hunts
}

/// All runs, those first that show the mistake soonest
fn runs_for(mutant: Mutant) -> Vec<(Scenario, u64)> {
    let soonest = scenarios::SOONEST.iter().find(|(_, mutants)| mutants.contains(&mutant)).map(|(name, _)| *name);
    let is_of_several = scenarios::SEVERAL.contains(&mutant);
    let mut all: Vec<&Scenario> = scenarios::ALL.iter().collect();
    all.sort_by_key(|one| (Some(one.name) != soonest, one.is_of_several() != is_of_several));
    all.into_iter().flat_map(|one| (one.first..=one.seeds).map(|seed| (*one, seed))).collect()
}

fn one(controls: &Controls, mutant: Mutant, runs: &[(Scenario, u64)]) -> Hunt {
    let began = std::time::Instant::now();
    let mut hunt = Hunt { mutant, runs: 0, took: Duration::ZERO, catch: None, wolves: Vec::new() };
    for (scenario, seed) in runs {
        hunt.runs += 1;
        let Some(objection) = run(Some(mutant), scenario, *seed) else { continue };
        if let Some(wolf) = controls.objection(scenario, *seed) {
            hunt.wolves.push((*scenario, *seed, wolf));
            continue;
        }
        hunt.catch = Some(Catch { scenario: *scenario, seed: *seed, objection });
        break;
    }
    hunt.took = began.elapsed();
    let by = hunt.catch.as_ref().map_or("nobody", |catch| &catch.objection.oracle);
    output::note(&format!("{mutant}: {by}, {} runs, {:.1} s", hunt.runs, hunt.took.as_secs_f64()));
    hunt
}

/// One run, with a mistake or without
fn run(mutant: Option<Mutant>, scenario: &Scenario, seed: u64) -> Option<Objection> {
    mutant::set(mutant);
    let objection = scenario.run(seed).and_then(|run| match run {
        Run::Mesh(options) => Ok(of_mesh(sweep::run(&options.config(seed)?))),
        Run::Collapse(options) => Ok(of_collapse(&collapse::run(options.story, seed))),
        Run::Outage(options) => Ok(of_outage(outage::run(options.year, options.peers as u32, options.load, seed))),
        Run::Overload(options) => {
            Ok(of_overload(&overload::run(options.supernodes, options.peers as u32, options.load(), seed)))
        }
        Run::Door(_) => Ok(door::run(seed).err().map(of_door)),
    });
    mutant::set(None);
    objection.unwrap_or_else(|what| Some(Objection { oracle: "command line".into(), what, at: None }))
}

fn of_collapse(outcome: &Outcome) -> Option<Objection> {
    let at = outcome.states.last().map(|state| Duration::from_secs_f64(state.at_s.max(0.0)));
    let whole = outcome.whole_after_s.map_or("never whole".into(), |after| format!("whole after {after:.1} s"));
    let Outcome { bound_s, commands, in_vain, .. } = outcome;
    let what =
        format!("{whole}, which may take {bound_s:.0} s, by {commands} commands and {in_vain} handshakes in vain");
    (!outcome.is_good).then(|| Objection { oracle: "collapse".into(), what, at })
}

fn of_outage(outcome: outage::Outcome) -> Option<Objection> {
    let what = outcome.violation.clone().unwrap_or_else(|| format!("{outcome:?}"));
    (!outcome.is_good).then(|| Objection { oracle: "outage".into(), what, at: None })
}

fn of_overload(outcome: &overload::Outcome) -> Option<Objection> {
    let missed = outcome.missed().next()?;
    Some(Objection { oracle: "overload".into(), what: missed, at: None })
}

fn of_door(door::Wrong { at, what }: door::Wrong) -> Objection {
    Objection { oracle: "door".into(), what, at: Some(at) }
}

fn of_mesh(report: Report) -> Option<Objection> {
    report.violation.map(|violation| Objection {
        oracle: violation.oracle.to_owned(),
        what: violation.what,
        at: (violation.at > Instant::ZERO).then(|| violation.at.since(Instant::ZERO)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistake_is_caught_in_the_same_run_again_and_its_control_is_clean() {
        let scenario = scenarios::ALL[0];
        let runs = [(scenario, 1)];
        let hunt = |_: u32| one(&Controls::default(), Mutant::TtlNotDecremented, &runs);
        let [first, again] = [hunt(0), hunt(1)].map(|hunt| hunt.catch.unwrap());
        assert_eq!(first.objection, again.objection);
        assert_eq!((first.seed, first.objection.oracle.as_str()), (1, "forwarding"));
        assert!(run(None, &scenario, 1).is_none());
    }
}
