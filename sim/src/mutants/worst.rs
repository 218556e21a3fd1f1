//! The mistakes that are hardest to see.

use kith_common::mutant::Mutant;

/// Those that took the most runs, each with the scenario and the seed that show it
pub const WORST: &[(Mutant, &str, u64)] = &[];
