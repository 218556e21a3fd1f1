//! Figures beside the goals that they are to reach.

use serde::Serialize;

/// What a figure is to be
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Something that was measured
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    /// None if it did not come to pass while it was watched
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    /// None for what is only told
    pub(crate) goal: Option<Goal>,
    /// Whether the goal is reached; of what has none it is
    pub(crate) held: bool,
}

impl Figure {
    /// A figure that nothing is wanted of
    pub(crate) fn told(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value: Some(value), unit, goal: None, held: true }
    }

    /// A figure that is to be no larger than `bound`; what never came to pass misses it
    pub(crate) fn at_most(what: impl Into<String>, value: Option<f64>, bound: f64, unit: &'static str) -> Self {
        let held = value.is_some_and(|value| value <= bound);
        Self { what: what.into(), value, unit, goal: Some(Goal::AtMost(bound)), held }
    }

    /// A figure that is to be no smaller than `bound`
    pub(crate) fn at_least(what: impl Into<String>, value: f64, bound: f64, unit: &'static str) -> Self {
        let goal = Some(Goal::AtLeast(bound));
        Self { what: what.into(), value: Some(value), unit, goal, held: value >= bound }
    }

    /// One line for people
    pub(crate) fn text(&self) -> String {
        let Self { what, value, unit, goal, held } = self;
        let number = |value: f64| format!("{}{}{unit}", rounded(value), if unit.is_empty() { "" } else { " " });
        let value = value.map_or_else(|| "never while it was watched".to_owned(), number);
        let goal = match goal {
            None => return format!("{what}: {value}"),
            Some(Goal::AtMost(bound)) => format!("at most {}", number(*bound)),
            Some(Goal::AtLeast(bound)) => format!("at least {}", number(*bound)),
        };
        format!("{what}: {value} (goal {goal}{})", if *held { "" } else { ", MISSED" })
    }
}

/// Whether every goal is reached
pub(crate) fn all_held(figures: &[Figure]) -> bool {
    figures.iter().all(|figure| figure.held)
}

/// A line for each, and what an unoptimised program's figures are worth
pub(crate) fn text(figures: &[Figure]) -> String {
    let mut lines: Vec<String> = figures.iter().map(Figure::text).collect();
    if cfg!(debug_assertions) {
        lines.push("(a debug build: cargo run --release --bin kith-lab -- … says more)".into());
    }
    lines.join("\n")
}

/// The value of which so many of a hundred are no larger; 0 of none
pub(crate) fn rank(values: &[f64], of_hundred: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// With as many digits as tell something
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_told_with_its_figure_and_a_missed_one_as_missed() {
        let figure = |value| Figure::at_most("all back", value, 60.0, "s");
        assert_eq!(figure(Some(12.345)).text(), "all back: 12.35 s (goal at most 60 s)");
        assert_eq!(figure(Some(61.0)).text(), "all back: 61 s (goal at most 60 s, MISSED)");
        assert_eq!(figure(None).text(), "all back: never while it was watched (goal at most 60 s, MISSED)");
        assert_eq!(Figure::at_least("share", 0.25, 0.5, "").text(), "share: 0.250 (goal at least 0.500, MISSED)");
        assert_eq!(Figure::told("rate", 1234.5, "/s").text(), "rate: 1234 /s");
        assert!(all_held(&[figure(Some(60.0)), Figure::told("rate", 0.0, "")]) && !all_held(&[figure(None)]));
    }

    #[test]
    fn rank_is_the_smallest_value_that_enough_do_not_exceed() {
        let values: Vec<f64> = (1..=50).map(f64::from).collect();
        assert_eq!([rank(&values, 50), rank(&values, 99), rank(&values, 100)], [25.0, 50.0, 50.0]);
        assert_eq!((rank(&[7.0], 1), rank(&[], 99)), (7.0, 0.0));
    }
}
