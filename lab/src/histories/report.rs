//! What came of a history: how many operations and faults, and what both judges say.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::by_index;
use super::history::{Answer, Micros, Op, What};
use super::nemesis::{self, Broken, Count};
use super::search::{self, Verdict};

/// What came of it
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) operations: usize,
    /// Operations that nobody has answered
    pub(crate) unanswered: usize,
    /// How many there are of each kind
    pub(crate) kinds: BTreeMap<&'static str, usize>,
    pub(crate) faults: Vec<Broken>,
    /// Of each kind of faults
    pub(crate) counts: Vec<Count>,
    /// The longest time without a write that was acknowledged
    pub(crate) without_write_s: f64,
    /// Of the faults, by each: the median, 99 of a hundred, and the worst
    pub(crate) after_faults_s: [f64; 3],
    /// What 99 of a hundred may be, if anything is promised
    pub(crate) outage_max_s: Option<f64>,
    /// What contradicts the order of the log
    pub(crate) by_index: Option<String>,
    /// What no order explains
    pub(crate) by_search: Option<String>,
    /// Whether the search gave up
    pub(crate) unknown: bool,
}

impl Report {
    /// Whether both judges believe it, each kind of faults has bitten and was mended, and no outage was too long
    pub(crate) fn held(&self) -> bool {
        let is_believed = self.by_index.is_none() && self.by_search.is_none() && !self.unknown;
        let [_, most, _] = self.after_faults_s;
        let was_short = self.outage_max_s.is_none_or(|max| most <= max);
        is_believed && was_short && self.counts.iter().all(Count::held)
    }

    pub(super) fn of(ops: &[Op], mut faults: Vec<Broken>, outage_max: Option<Duration>) -> Self {
        let mut kinds = BTreeMap::new();
        for op in ops {
            *kinds.entry(kind(op)).or_default() += 1;
        }
        let mut writes: Vec<Micros> = ops.iter().filter(|op| is_write(op)).filter_map(|op| op.until).collect();
        writes.sort_unstable();
        let ends: Vec<Micros> = faults.iter().skip(1).map(|next| next.at).chain([Micros::MAX]).collect();
        for (fault, end) in faults.iter_mut().zip(ends) {
            fault.without_write_s = longest(&writes, fault.at, end);
        }
        let mut after: Vec<f64> = faults.iter().map(|fault| fault.without_write_s).collect();
        after.sort_by(f64::total_cmp);
        let rank = |share: f64| after.get(((after.len() as f64 * share).ceil() as usize).saturating_sub(1));
        let after_faults_s = [0.5, 0.99, 1.0].map(|share| rank(share).copied().unwrap_or_default());
        let by_search = search::check(ops);
        Self {
            operations: ops.len(),
            unanswered: ops.iter().filter(|op| op.until.is_none()).count(),
            kinds,
            counts: nemesis::counts(&faults),
            faults,
            without_write_s: longest(&writes, 0, Micros::MAX),
            after_faults_s,
            outage_max_s: outage_max.map(|max| max.as_secs_f64()),
            by_index: by_index::check(ops).err().map(|anomaly| anomaly.0),
            unknown: by_search == Verdict::Unknown,
            by_search: match by_search {
                Verdict::Impossible(anomaly) => Some(anomaly.0),
                Verdict::Possible | Verdict::Unknown => None,
            },
        }
    }

    pub(super) fn text(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let judge = |anomaly: &Option<String>| {
            anomaly.clone().map_or_else(|| "believed".to_owned(), |text| format!("NOT BELIEVED: {text}"))
        };
        let [median, most, worst] = self.after_faults_s;
        let search = if self.unknown { "too many orders to say".to_owned() } else { judge(&self.by_search) };
        let (operations, unanswered, faults) = (self.operations, self.unanswered, self.faults.len());
        let counts = self.counts.iter().map(|Count { kind, faults, bit, failed }| {
            format!("{kind}: {faults}, of which {bit} bit and {failed} could not be done or undone")
        });
        let mut lines = vec![
            format!(
                "{operations} operations ({}), {unanswered} without an answer; at most {:.2} s without a write",
                kinds.join(", "),
                self.without_write_s
            ),
            format!(
                "{faults} faults, after each without a write for {median:.2} s (median), {most:.2} s (99 of a hundred), \
                 {worst:.2} s (worst)"
            ),
        ];
        lines.extend(counts);
        lines.push(format!("by the log's order: {}", judge(&self.by_index)));
        lines.push(format!("by search: {search}"));
        lines.join("\n")
    }
}

/// Whether the log has a new command by it, and says so
fn is_write(op: &Op) -> bool {
    match op.what {
        What::LogIn(_) => matches!(op.answer, Answer::In(_)),
        What::LogOut(..) | What::Release => op.answer == Answer::Done,
        What::LookUp | What::Lose(..) => false,
    }
}

/// The longest time between two of these, in seconds, the first of which is the last before `from`
fn longest(writes: &[Micros], from: Micros, end: Micros) -> f64 {
    let first = writes.partition_point(|at| *at < from).saturating_sub(1);
    let within = writes.iter().skip(first).take_while(|at| **at < end);
    let gaps = within.clone().zip(within.skip(1)).map(|(one, next)| next - one);
    gaps.max().unwrap_or_default() as f64 / 1e6
}

fn kind(op: &Op) -> &'static str {
    match (op.what, op.answer) {
        (_, Answer::Unknown) if matches!(op.what, What::Lose(..)) => "sessions left",
        (_, Answer::Unknown) => "unknown",
        (What::LogIn(_), Answer::In(_)) => "logins",
        (What::LogIn(_), _) => "names taken",
        (_, Answer::MayBeOld) => "look-ups that may be old",
        (What::LookUp, Answer::Found(..)) => "look-ups that found",
        (What::LookUp, _) => "look-ups that did not",
        (What::LogOut(..) | What::Lose(..), _) => "logouts",
        (What::Release, _) => "releases",
    }
}
