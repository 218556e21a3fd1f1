//! What was measured beside what it should be.

use std::fmt;

use serde::Serialize;

use crate::stats::{Mean, Share};

/// What a figure should be
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// No more than this
    AtMost(f64),
    /// No less than this
    AtLeast(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl Goal {
    /// Whether it is reached
    pub(crate) fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) => measured <= most,
            Self::AtLeast(least) => measured >= least,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub measured: f64,
    /// The truth is between these with 95 % probability, where that can be told
    pub bounds95: Option<[f64; 2]>,
    /// What it should be, where somebody said so
    pub goal: Option<Goal>,
    /// What was measured is not what it should be
    pub missed: bool,
}

impl Figure {
    /// Measured, without bounds or goal
    pub(crate) const fn new(measured: f64) -> Self {
        Self { measured, bounds95: None, goal: None, missed: false }
    }

    /// Sets the goal, if there is one
    pub(crate) fn aim(self, goal: Option<Goal>) -> Self {
        Self { goal, missed: goal.is_some_and(|goal| !goal.holds(self.measured)), ..self }
    }

    /// Changes the unit: `factor` times as much
    pub(crate) fn times(self, factor: f64) -> Self {
        let bounds95 = self.bounds95.map(|bounds| bounds.map(|bound| bound * factor));
        Self { measured: self.measured * factor, bounds95, ..self }
    }
}

impl From<Mean> for Figure {
    fn from(Mean { mean, bound95 }: Mean) -> Self {
        Self { bounds95: Some([mean - bound95, mean + bound95]), ..Self::new(mean) }
    }
}

impl From<Share> for Figure {
    fn from(Share { share, bounds95 }: Share) -> Self {
        Self { bounds95: Some(bounds95), ..Self::new(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_missed_on_its_own_side_only() {
        assert!(Goal::AtMost(2.0).holds(2.0) && !Goal::AtMost(2.0).holds(2.1));
        assert!(Goal::AtLeast(2.0).holds(2.0) && !Goal::AtLeast(2.0).holds(1.9));
        assert!(!Goal::AtMost(2.0).holds(f64::NAN), "what could not be measured was not reached");
    }

    #[test]
    fn figure_keeps_its_bounds_and_says_whether_it_was_missed() {
        let mean = Figure::from(Mean { mean: 3.0, bound95: 0.5 });
        assert_eq!(mean.bounds95, Some([2.5, 3.5]));
        assert!(!mean.missed && !mean.aim(Some(Goal::AtMost(3.0))).missed && mean.aim(Some(Goal::AtMost(2.9))).missed);
        assert_eq!(mean.times(2.0).bounds95, Some([5.0, 7.0]));
        assert_eq!(Figure::from(Share::of(1, 2)).measured, 0.5);
    }
}
