//! The mistakes that are hardest to see.

use kith_common::mutant::Mutant;

/// Those that took the most runs, each with the scenario and the seed that show it
pub const WORST: &[(Mutant, &str, u64)] = &[
    (Mutant::BallOfCentreOnly, "still", 1),
    (Mutant::LookUpFindsSuspect, "asking", 1),
    (Mutant::OutboxUnbounded, "burst", 1),
    (Mutant::SuspectNeverCleared, "small", 6),
    (Mutant::NameGivenAway, "small", 5),
    (Mutant::NeverRelays, "small", 4),
    (Mutant::RestoredWithoutLease, "small", 4),
    (Mutant::SilenceIsNotFound, "small", 3),
    (Mutant::SecondNearestForgotten, "small", 2),
    (Mutant::CertaintyFeigned, "small", 2),
];
