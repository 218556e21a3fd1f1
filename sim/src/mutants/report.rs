//! What came of all mistakes: a table for people, an object for programs.

use std::time::Duration;

use kith_common::mutant::Mutant;
use serde::Serialize;

use super::hunt::Hunt;
use crate::output;

/// The share of mistakes that must be seen
const GOAL: f64 = 0.95;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub mutant: &'static str,
    pub mistake: &'static str,
    pub oracle: Option<String>,
    /// What that oracle said
    pub what: Option<String>,
    pub scenario: Option<&'static str>,
    pub seed: Option<u64>,
    /// Seconds of simulated time until then; none if a core panicked
    pub after_s: Option<f64>,
    /// Runs until then, or in all
    pub runs: u32,
    /// Seconds that they took
    pub took_s: f64,
    /// The command that shows it again
    pub replay: Option<String>,
    /// Runs that somebody objected to without the mistake too
    pub wolves: Vec<String>,
}

impl Row {
    fn new(hunt: &Hunt) -> Self {
        let catch = hunt.catch.as_ref();
        let mutant = hunt.mutant.name();
        let wolf = |(scenario, seed, objection): &(super::scenarios::Scenario, u64, super::hunt::Objection)| {
            format!("{}: {}: {}", scenario.replay(*seed), objection.oracle, objection.what)
        };
        Self {
            mutant,
            mistake: hunt.mutant.describe(),
            oracle: catch.map(|catch| catch.objection.oracle.clone()),
            what: catch.map(|catch| catch.objection.what.clone()),
            scenario: catch.map(|catch| catch.scenario.name),
            seed: catch.map(|catch| catch.seed),
            after_s: catch.and_then(|catch| catch.objection.at).map(|at| at.as_secs_f64()),
            runs: hunt.runs,
            took_s: hunt.took.as_secs_f64(),
            replay: catch.map(|catch| format!("{} --mutant {mutant}", catch.scenario.replay(catch.seed))),
            wolves: hunt.wolves.iter().map(wolf).collect(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Mistakes that were made
    pub mutants: usize,
    /// Mistakes that were seen
    pub caught: usize,
    /// Mistakes that were not made, as no run shows them yet
    pub left_out: Vec<&'static str>,
    /// Of all, those left out among them
    pub share: f64,
    /// Whether all that were made were seen, and no oracle cried wolf
    pub is_good: bool,
    pub runs: u32,
    /// Seconds by the wall clock
    pub wall_s: f64,
    pub rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(hunts: &[Hunt], left_out: &[Mutant], wall: Duration) -> Self {
        let rows: Vec<Row> = hunts.iter().map(Row::new).collect();
        let (mutants, caught) = (rows.len(), rows.iter().filter(|row| row.oracle.is_some()).count());
        let all = mutants + left_out.len();
        let share = if all == 0 { 0.0 } else { caught as f64 / all as f64 };
        let is_good = caught == mutants && rows.iter().all(|row| row.wolves.is_empty());
        let left_out = left_out.iter().map(|mutant| mutant.name()).collect();
        let runs = rows.iter().map(|row| row.runs).sum();
        Self { mutants, caught, left_out, share, is_good, runs, wall_s: wall.as_secs_f64(), rows }
    }

    /// A table, and the sum of it
    pub(crate) fn print(&self) {
        const HEAD: [&str; 6] = ["mutant", "mistake", "caught by", "scenario", "seed", "after"];
        let cells = |row: &Row| {
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            [
                row.mutant.to_owned(),
                row.mistake.to_owned(),
                row.oracle.clone().unwrap_or_else(|| "NOBODY".into()),
                text(row.scenario.map(str::to_owned)),
                text(row.seed.map(|seed| seed.to_string())),
                text(row.after_s.map(|after| format!("{after:.1} s"))),
            ]
        };
        let table: Vec<[String; 6]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &table {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            output::line(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        for row in &self.rows {
            for wolf in &row.wolves {
                output::line(&format!("ALSO WITHOUT {}: {wolf}", row.mutant));
            }
        }
        let Self { mutants, caught, left_out, share, runs, wall_s, .. } = self;
        output::line("");
        output::line(&format!("{caught} of {mutants} caught in {runs} runs, {wall_s:.0} s"));
        if !left_out.is_empty() {
            output::line(&format!("not made, as no run shows them yet: {}", left_out.join(", ")));
        }
        let goal = if *share >= GOAL { "met" } else { "MISSED" };
        output::line(&format!("{:.1} % of all are caught; the goal, {:.0} %, is {goal}", share * 100.0, GOAL * 100.0));
    }
}

#[cfg(test)]
mod tests {
    use super::super::hunt::{Catch, Objection};
    use super::super::scenarios;
    use super::*;

    fn hunt(is_caught: bool) -> Hunt {
        let objection = Objection { oracle: "fates".into(), what: "two".into(), at: Some(Duration::from_secs(9)) };
        let catch = is_caught.then_some(Catch { scenario: scenarios::ALL[0], seed: 3, objection });
        Hunt { mutant: Mutant::FateTwice, runs: 3, took: Duration::ZERO, catch, wolves: Vec::new() }
    }

    #[test]
    fn mistake_that_is_not_seen_spoils_it_and_so_does_an_oracle_that_cries_wolf() {
        let mut hunts: Vec<Hunt> = (0..20).map(|_| hunt(true)).collect();
        let left_out = [Mutant::NonceRepeated];
        let report = Report::new(&hunts, &left_out, Duration::ZERO);
        assert_eq!((report.mutants, report.caught, report.runs, report.is_good), (20, 20, 60, true));
        assert!((report.share - 20.0 / 21.0).abs() < 1e-9, "those left out count as not seen");
        let objection = Objection { oracle: "fates".into(), what: "none".into(), at: None };
        hunts[7].wolves.push((scenarios::ALL[0], 1, objection));
        assert!(!Report::new(&hunts, &left_out, Duration::ZERO).is_good);
        hunts[7] = hunt(false);
        assert!(!Report::new(&hunts, &left_out, Duration::ZERO).is_good);
    }

    #[test]
    fn row_names_the_command_that_shows_it_again() {
        let row = Row::new(&hunt(true));
        let command = format!("kith-sim {} --seed 3 --mutant fate-twice", scenarios::ALL[0].command);
        assert_eq!((row.replay, row.after_s, row.seed), (Some(command), Some(9.0), Some(3)));
    }
}
