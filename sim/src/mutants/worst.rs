//! The mistakes that are hardest to see.

use kith_common::mutant::Mutant;

/// Those that took the most runs and the longest ones, each with the scenario and the seed that show it
pub const WORST: &[(Mutant, &str, u64)] = &[
    (Mutant::OldLocations, "crashes", 1),
    (Mutant::GuestStays, "ways", 1),
    (Mutant::BallOfCentreOnly, "still", 1),
    (Mutant::PairTermNeverGrows, "outside", 2),
    (Mutant::PairIgnored, "outside", 1),
    (Mutant::SecondNearestForgotten, "middle", 2),
    (Mutant::SuspectNeverCleared, "small", 3),
    (Mutant::NeverRelays, "asking", 1),
    (Mutant::OldAnswerIsFresh, "asking", 1),
    (Mutant::OutboxUnbounded, "burst", 1),
];
