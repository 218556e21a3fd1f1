//! The runs that every mistake goes through, in this order: cheap ones first.

use clap::Parser;

use crate::mesh::config::MeshConfig;
use crate::sweep;

/// A kind of run, and how many seeds of it
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What reports call it
    pub name: &'static str,
    /// Options of `kith-sim mesh`
    pub mesh: &'static str,
    /// Seeds from this …
    pub first: u64,
    /// … to this
    pub seeds: u64,
}

const fn scenario(name: &'static str, mesh: &'static str, seeds: u64) -> Scenario {
    Scenario { name, mesh, first: 1, seeds }
}

pub const ALL: &[Scenario] = &[
    scenario("small", "--peers 12 --degree 4 --minutes 5", 6),
    scenario("burst", "--peers 12 --degree 4 --minutes 0 --burst 1100", 1),
    scenario("asking", "--peers 12 --degree 4 --minutes 5 --deeds 3", 4),
    scenario("middle", "--peers 30 --degree 8 --minutes 5", 2),
    scenario("outside", "--peers 30 --degree 8 --minutes 5 --outside 25%", 2),
    scenario("still", "--peers 300 --degree 8 --minutes 0", 1),
    scenario("ways", "--peers 12 --degree 4 --minutes 20 --only one-way,partition", 2),
    scenario("apart", "--peers 12 --degree 4 --minutes 15 --only none --outside 50%", 1),
    scenario("crashes", "--peers 12 --degree 4 --minutes 10 --only crash,supernode-crash", 2),
    scenario("large", "--peers 50 --degree 8 --minutes 10", 1),
    Scenario { first: 7, ..scenario("small, more", "--peers 12 --degree 4 --minutes 5", 12) },
];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: sweep::Options,
}

impl Scenario {
    /// The options of `kith-sim mesh`
    ///
    /// # Errors
    /// In words, if there are none like these: then the list is wrong.
    pub fn options(&self) -> Result<sweep::Options, String> {
        let words = std::iter::once("mesh").chain(self.mesh.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    /// What one seed of it is
    ///
    /// # Errors
    /// As [`Self::options`].
    pub fn config(&self, seed: u64) -> Result<MeshConfig, String> {
        self.options()?.config(seed)
    }

    /// The command that runs one seed of it again
    pub fn replay(&self, seed: u64) -> String {
        format!("kith-sim mesh {} --seed {seed}", self.mesh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_one_that_the_command_line_takes() {
        for scenario in ALL {
            let config = scenario.config(7).unwrap();
            assert!(config.seed == 7 && config.peers >= 12 && scenario.seeds > 0, "{}", scenario.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
