//! The figures as Markdown.

use super::{Row, Table, Unit};
use crate::goals::{Figure, Goal};
use crate::output::size;

/// The lines of both tables
pub(super) fn markdown(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    let sizes: Vec<String> = table.peers.iter().map(|peers| size(*peers)).collect();
    push_head(&mut lines, "peers", &sizes);
    for Row { name, unit, cells } in &table.rows {
        let cells: Vec<String> = cells.iter().map(|figures| cell(*unit, figures)).collect();
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    let largest = size(table.peers.iter().copied().max().unwrap_or_default());
    let degrees: Vec<String> = table.degrees.iter().map(|(degree, _)| degree.to_string()).collect();
    push_head(&mut lines, "degree", &degrees);
    let cells: Vec<String> = table.degrees.iter().map(|(_, figure)| cell(Unit::Mean, &[*figure])).collect();
    lines.push(format!("| mean hops of {largest} peers | {} |", cells.join(" | ")));
    let (goals, missed) = table.goals();
    lines.extend([String::new(), format!("{missed} of {goals} goals missed.")]);
    lines
}

fn push_head(lines: &mut Vec<String>, corner: &str, columns: &[String]) {
    lines.push(format!("| {corner} | {} |", columns.join(" | ")));
    lines.push(format!("|---|{}", "---|".repeat(columns.len())));
}

/// Figures with their bounds and goals
pub(super) fn cell(unit: Unit, figures: &[Figure]) -> String {
    let texts: Vec<String> = figures.iter().map(|figure| text(unit, figure)).collect();
    if texts.is_empty() { "–".into() } else { texts.join(" / ") }
}

fn text(unit: Unit, figure: &Figure) -> String {
    let (scale, decimals, percent) = match unit {
        Unit::Mean => (1.0, 3, ""),
        Unit::Ratio => (1.0, 2, ""),
        Unit::Whole => (1.0, 0, ""),
        Unit::Share => (100.0, 3, " %"),
    };
    let number = |value: f64| format!("{:.decimals$}", value * scale);
    let bounds = match (figure.bounds95, unit) {
        (None, _) => String::new(),
        (Some([least, most]), Unit::Share) => format!(" [{}, {}]", number(least), number(most)),
        (Some([_, most]), _) => format!(" ± {}", number(most - figure.measured)),
    };
    let goal = figure.goal.map_or(String::new(), |goal| {
        let (sign, value) = match goal {
            Goal::AtMost(most) => ('≤', most),
            Goal::AtLeast(least) => ('≥', least),
        };
        // As it was written: a goal of 99.99 % is not one of 99.990 %.
        format!(" ({sign} {}{percent})", (value * scale * 1e6).round() / 1e6)
    });
    // The most of something is a whole number in every row.
    let is_whole = figure.bounds95.is_none() && figure.goal.is_none() && figure.measured.fract() == 0.0;
    let measured = if is_whole { figure.measured.to_string() } else { number(figure.measured) };
    let missed = if figure.missed { " **missed**" } else { "" };
    format!("{measured}{percent}{bounds}{goal}{missed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Mean, Share};

    #[test]
    fn figures_are_written_with_bounds_goals_and_what_was_missed() {
        let hops = Figure::from(Mean { mean: 2.8449, bound95: 0.0042 });
        assert_eq!(cell(Unit::Mean, &[hops.aim(Some(Goal::AtMost(2.88)))]), "2.845 ± 0.004 (≤ 2.88)");
        let share = Figure::from(Share { share: 0.99, bounds95: [0.98, 0.995] }).aim(Some(Goal::AtLeast(0.9999)));
        assert_eq!(cell(Unit::Share, &[share]), "99.000 % [98.000, 99.500] (≥ 99.99 %) **missed**");
        let most = [Figure::new(5.0).aim(Some(Goal::AtMost(5.0))), Figure::new(9.0)];
        assert_eq!(cell(Unit::Whole, &most), "5 (≤ 5) / 9");
        assert_eq!(cell(Unit::Ratio, &[Figure::new(1.5), Figure::new(20.0)]), "1.50 / 20");
        assert_eq!(cell(Unit::Whole, &[]), "–");
    }
}
