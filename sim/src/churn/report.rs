//! What was found, for people.

use super::{Costs, Counted, Figures};
use crate::goals::Figure;
use crate::members::History;
use crate::output::{line, row};

pub(super) fn print(figures: &Figures) {
    line(&format!("{} peers, degree {}, seeds: {}", figures.peers, figures.degree, figures.seeds));
    for ring in &figures.rings {
        let into = if ring.ring == History::Joins { "a ring of joins" } else { "a churned ring" };
        line(&format!("{into}:"));
        print_costs("join", &ring.join);
        print_costs("leave", &ring.leave);
        row("1 % out and in: links closed", &format!("{} × those of who left", text(ring.at_once)));
    }
    line("after a day of sessions:");
    row("mean hops, fresh ring", &text(figures.day.fresh));
    row("mean hops, after a day", &text(figures.day.after));
    row("ratio", &text(figures.day.ratio));
}

fn print_costs(what: &str, costs: &Costs) {
    let each = [("links opened", &costs.opened), ("links closed", &costs.closed), ("peers touched", &costs.touched)];
    for (figure, Counted { mean, max }) in each {
        row(&format!("{what}: {figure}"), &format!("{}, max {max}", text(*mean)));
    }
}

/// The figure, its bound, and its goal and whether that was missed
fn text(figure: Figure) -> String {
    let bound = figure.bounds95.map_or(String::new(), |[_, most]| format!(" ± {:.3}", most - figure.measured));
    let goal = figure.goal.map_or(String::new(), |goal| {
        let verdict = if figure.missed { "MISSED" } else { "holds" };
        format!(" (goal {goal}: {verdict})")
    });
    format!("{:.3}{bound}{goal}", figure.measured)
}
