//! The mistakes that are hardest to see.

use kith_common::mutant::Mutant;

/// Of those that were seen, which took the most runs, each with the scenario and the seed that show it
pub const WORST: &[(Mutant, &str, u64)] = &[
    (Mutant::SecondNearestForgotten, "ways", 1),
    (Mutant::BallOfCentreOnly, "still", 1),
    (Mutant::PairTermNeverGrows, "outside", 1),
    (Mutant::PairIgnored, "outside", 1),
    (Mutant::AbsentPairsIgnored, "outside", 1),
    (Mutant::OutboxUnbounded, "burst", 1),
    (Mutant::RestoredWithoutLease, "small", 6),
    (Mutant::CertaintyFeigned, "small", 6),
    (Mutant::SuspectNeverCleared, "small", 5),
    (Mutant::SuspectsForgotten, "small", 4),
];
