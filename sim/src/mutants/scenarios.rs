//! The runs that every mistake goes through, in this order: cheap ones first.

#[cfg(any(test, feature = "mutants"))]
use clap::{Parser, Subcommand};
#[cfg(feature = "mutants")]
use kith_common::mutant::Mutant;

#[cfg(any(test, feature = "mutants"))]
use crate::{collapse, door, outage, overload, sweep};

/// A kind of run, and how many seeds of it
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// What reports call it
    pub name: &'static str,
    /// What `kith-sim` is told, but for the seed
    pub command: &'static str,
    /// Seeds from this …
    pub first: u64,
    /// … to this
    pub seeds: u64,
}

const fn scenario(name: &'static str, command: &'static str, seeds: u64) -> Scenario {
    Scenario { name, command, first: 1, seeds }
}

pub(crate) const ALL: &[Scenario] = &[
    scenario("small", "mesh --peers 12 --degree 4 --minutes 5", 6),
    scenario("burst", "mesh --peers 12 --degree 4 --minutes 0 --burst 1100", 1),
    scenario("door", "door", 3),
    scenario("asking", "mesh --peers 12 --degree 4 --minutes 5 --deeds 3", 4),
    scenario("middle", "mesh --peers 30 --degree 8 --minutes 5", 2),
    scenario("outside", "mesh --peers 30 --degree 8 --minutes 5 --outside 25%", 2),
    scenario("still", "mesh --peers 300 --degree 8 --minutes 0", 1),
    scenario("ways", "mesh --peers 12 --degree 4 --minutes 20 --only one-way,partition", 2),
    scenario("apart", "mesh --peers 12 --degree 4 --minutes 15 --only none --outside 50%", 1),
    Scenario {
        first: 5,
        ..scenario("further apart", "mesh --peers 20 --degree 4 --minutes 13 --only none --outside 50%", 5)
    },
    scenario("few", "mesh --peers 4 --degree 4 --minutes 20 --only one-way,partition", 20),
    scenario("line", "mesh --peers 8 --degree 4 --minutes 3 --only none --shape line", 2),
    scenario("cliques", "mesh --peers 13 --degree 4 --minutes 3 --only none --shape cliques", 2),
    scenario("undisturbed", "mesh --peers 8 --degree 4 --minutes 15 --only none", 2),
    scenario("liars", "mesh --peers 8 --degree 4 --only none --minutes 1 --liars 4", 6),
    scenario("crashes", "mesh --peers 12 --degree 4 --minutes 10 --only crash,supernode-crash", 2),
    scenario("three", "mesh --supernodes 3 --peers 12 --degree 4 --minutes 5", 6),
    scenario(
        "three, asking",
        "mesh --supernodes 3 --peers 12 --degree 4 --minutes 8 --deeds 3 --only supernode-cut,leader-crash",
        6,
    ),
    scenario(
        "three, slow disks",
        "mesh --supernodes 3 --peers 12 --degree 4 --minutes 10 --deeds 0.3 --only slow-disk,crash",
        4,
    ),
    scenario(
        "three, cut",
        "mesh --supernodes 3 --peers 12 --degree 4 --minutes 10 --only supernode-cut,one-way,partition",
        14,
    ),
    scenario(
        "three, crashing",
        "mesh --supernodes 3 --peers 12 --degree 4 --minutes 10 --only leader-crash,supernode-crash,blackout,crash",
        12,
    ),
    scenario(
        "three, standing still",
        "mesh --supernodes 3 --peers 12 --degree 4 --minutes 10 --only stall,pause,crash",
        8,
    ),
    scenario(
        "three, no quorum",
        "mesh --supernodes 3 --peers 16 --degree 4 --minutes 6 --deeds 2 --only no-quorum,crash",
        2,
    ),
    scenario(
        "five, apart",
        "mesh --supernodes 5 --peers 16 --degree 4 --minutes 10 --only supernode-cut,leader-crash,exile",
        6,
    ),
    scenario("overload", "overload --minutes 2", 2),
    scenario("outage of 2007", "outage 2007 --peers 100", 1),
    scenario("outage of 2010", "outage 2010 --peers 200", 1),
    scenario("slow peers", "collapse peers", 2),
    scenario("flaps", "mesh --peers 12 --degree 4 --minutes 10 --deeds 3 --only flap", 2),
    scenario("older logs", "mesh --peers 12 --degree 4 --minutes 10 --only log-back,crash", 2),
    scenario("removals", "mesh --peers 12 --degree 4 --minutes 10 --only removal,one-way,partition,supernode-crash", 6),
    Scenario {
        first: 49,
        ..scenario(
            "removals, more",
            "mesh --peers 12 --degree 4 --minutes 10 --only removal,one-way,partition,supernode-crash",
            53,
        )
    },
    Scenario {
        first: 47,
        ..scenario("exiles", "mesh --peers 16 --degree 4 --minutes 20 --deeds 3 --only exile,crash", 56)
    },
    scenario("slow supernode", "collapse supernode", 1),
    scenario("slow start", "collapse start", 1),
    scenario("apart, restarted", "mesh --peers 12 --degree 4 --minutes 10 --only partition,supernode-crash", 2),
    scenario("full logs", "mesh --peers 12 --degree 4 --minutes 10 --only full-log,crash", 2),
    scenario("stalls", "mesh --peers 12 --degree 4 --minutes 10 --only stall,crash", 2),
    scenario("outages", "mesh --peers 16 --degree 4 --minutes 10 --deeds 2 --only outage,crash", 12),
    scenario("outages, larger", "mesh --peers 24 --degree 8 --minutes 10 --deeds 2 --only outage,crash", 3),
    Scenario { first: 7, ..scenario("large", "mesh --peers 50 --degree 16 --minutes 10", 7) },
    scenario("wide", "mesh --peers 60 --degree 40 --minutes 3 --only partition", 1),
    Scenario { first: 7, ..scenario("small, more", "mesh --peers 12 --degree 4 --minutes 5", 12) },
];

/// Mistakes with several supernodes, or with none: the runs that have as many show them soonest
#[cfg(feature = "mutants")]
pub(crate) const SEVERAL: &[Mutant] = &[
    Mutant::NoHealing,
    Mutant::PartsForgotten,
    Mutant::HealsBesideOnly,
    Mutant::StayForgotten,
    Mutant::GoneHeardAsHere,
    Mutant::FormerHomeJudges,
    Mutant::LateMoveMoves,
    Mutant::SupernodesNotTold,
    Mutant::BackboneNotRedialled,
    Mutant::AnothersCertificate,
    Mutant::OwnSightDecides,
    Mutant::HomeGoneEndsAtOnce,
    Mutant::NewLeaderGoesOn,
    Mutant::EverybodyJudgesHomes,
    Mutant::GuestsAreJudged,
    Mutant::ReportsStayHere,
    Mutant::RelayEndsHere,
    Mutant::RelayedToAndFro,
    Mutant::ClaimNotAsked,
    Mutant::ClaimIgnored,
    Mutant::CutOffKeepsPeers,
    Mutant::NobodyScouts,
    Mutant::ScoutsMoveAnyway,
    Mutant::EverybodyEndsPairs,
    Mutant::MoveAwayBelieved,
    Mutant::UnledLeasesEnd,
    Mutant::MoveForgotten,
    Mutant::ResumptionIsCounted,
    Mutant::ReadsFromHere,
    Mutant::ReadNotAwaited,
    Mutant::ReadSharedTooLate,
    Mutant::StaleNotMarked,
    Mutant::LogoutToldAtOnce,
    Mutant::StaleIsFresh,
];

/// Scenarios that show these mistakes soonest, of those that would go through many runs in vain
#[cfg(feature = "mutants")]
pub(crate) const SOONEST: &[(&str, &[Mutant])] = &[
    ("still", &[Mutant::BallOfCentreOnly]),
    ("burst", &[Mutant::OrderIgnored, Mutant::PredecessorNotNamed, Mutant::OutboxUnbounded]),
    ("asking", &[Mutant::CertaintyFeigned, Mutant::RepeatEvaluated]),
    ("undisturbed", &[Mutant::SilentPipesLost]),
    ("line", &[Mutant::StrangerIsWitness, Mutant::UnseenNotTold, Mutant::PartingNotTold]),
    ("slow peers", &[Mutant::NeverRests, Mutant::TimersFirst, Mutant::LeftDiallerComputed, Mutant::RestsForEver]),
    ("older logs", &[Mutant::IncarnationIgnored]),
    (
        "liars",
        &[Mutant::WayNeverChanged, Mutant::CopiesNotRelayed, Mutant::StrangersNotRelayed, Mutant::OwedNotSentAgain],
    ),
    ("removals", &[Mutant::RemovalNotTold, Mutant::RemovedHelloBelieved, Mutant::RemovedLinkKept]),
    ("removals, more", &[Mutant::RemovalsNotAskedNearBy]),
    ("exiles", &[Mutant::BindingUnchecked]),
    ("stalls", &[Mutant::StopBlamesPeers]),
    ("large", &[Mutant::DialsUnbounded]),
    ("wide", &[Mutant::SuspicionsUnbounded]),
    ("three, slow disks", &[Mutant::ReadNotAwaited, Mutant::ReadSharedTooLate]),
    ("outage of 2010", &[Mutant::HandshakesAtOnce]),
    ("three, no quorum", &[Mutant::UnledLeasesEnd, Mutant::LogoutToldAtOnce]),
    (
        "three, cut",
        &[
            Mutant::OwnSightDecides,
            Mutant::CutOffKeepsPeers,
            Mutant::NobodyScouts,
            Mutant::ScoutsMoveAnyway,
            Mutant::FormerHomeJudges,
            Mutant::RelayedToAndFro,
        ],
    ),
    ("outages", &[Mutant::NoHealing, Mutant::PartsForgotten, Mutant::StayForgotten, Mutant::GoneHeardAsHere]),
    ("outages, larger", &[Mutant::HealsBesideOnly]),
    (
        "overload",
        &[
            Mutant::LoginDeadlineIgnored,
            Mutant::EstimateIgnored,
            Mutant::PutOffWithoutJitter,
            Mutant::NewcomersFirst,
            Mutant::LoginsKeepOthersWaiting,
        ],
    ),
];

/// Mistakes that no run shows yet: each would go through all of them in vain, so they are made only if they are named
///
/// Which of the handshakes that wait is computed first, who is dialled how often, what a budget counts, what a peer makes of
/// a stale answer, whose certificate it is, what silence says of a sender, that a probe passes a full window, and in which
/// order messages of one connection are heard are what unit tests of those cores state: a message that is heard too early is
/// sent again, and comes to no harm. No run has two processes with one key, and in none does a removed peer still have a way by
/// which it calls somebody who knows.
#[cfg(feature = "mutants")]
pub(crate) const UNSEEN: &[Mutant] = &[
    Mutant::OldestHandshakeFirst,
    Mutant::RefusedDialsOn,
    Mutant::ClaimIgnored,
    Mutant::ResumptionIsCounted,
    Mutant::StaleIsFresh,
    Mutant::AnothersCertificate,
    Mutant::RemovedCallsEvaluated,
    Mutant::LastBindingForgotten,
    Mutant::ProbesWaitForWindow,
    Mutant::HeardAsTheyCome,
];

/// One run of a scenario
#[cfg(any(test, feature = "mutants"))]
#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// Faults and users, and all oracles
    Mesh(sweep::Options),
    /// Too little processor
    Collapse(collapse::Options),
    /// A network that takes invites only
    Door(door::Options),
    /// Everything restarts, or some supernodes crash
    Outage(outage::Options),
    /// More logins than a slow log can take
    Overload(overload::Options),
}

#[cfg(any(test, feature = "mutants"))]
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    run: Run,
}

impl Scenario {
    /// What one seed of it is
    ///
    /// # Errors
    /// In words, if the command line does not take it: then the list is wrong.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn run(&self, seed: u64) -> Result<Run, String> {
        let command = self.replay(seed);
        Line::try_parse_from(command.split_whitespace()).map(|line| line.run).map_err(|error| error.to_string())
    }

    /// Whether there are several supernodes in it, or at times none
    #[cfg(feature = "mutants")]
    pub(crate) fn is_of_several(&self) -> bool {
        self.command.contains("--supernodes") || self.command.contains("outage")
    }

    /// The command that runs one seed of it again
    pub(crate) fn replay(&self, seed: u64) -> String {
        format!("kith-sim {} --seed {seed}", self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_one_that_the_command_line_takes() {
        for scenario in ALL {
            let seed = match scenario.run(7).unwrap() {
                Run::Mesh(options) => options.config(7).unwrap().seed,
                Run::Collapse(options) => options.seed,
                Run::Door(options) => options.seed,
                Run::Outage(options) => options.seed,
                Run::Overload(options) => options.seed,
            };
            assert!(seed == 7 && scenario.seeds > 0, "{}", scenario.name);
        }
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn soonest_are_scenarios_that_there_are_each_mistake_once() {
        let is_there = |name: &str| ALL.iter().any(|scenario| scenario.name == name);
        assert!(SOONEST.iter().all(|(name, _)| is_there(name)));
        let mutants: Vec<Mutant> = SOONEST.iter().flat_map(|(_, mutants)| mutants.iter().copied()).collect();
        assert_eq!(mutants.iter().collect::<std::collections::BTreeSet<_>>().len(), mutants.len());
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
