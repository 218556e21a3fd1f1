//! What came of a history: how many operations and faults, and what both judges say.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::by_index;
use super::history::{Answer, Micros, Op, What};
use super::nemesis::{self, Broken, Count};
use super::search::{self, Verdict};
use crate::output;

/// Of a hundred look-ups, so many must be sure over a whole run: more would be lost to faults, and a directory that says of
/// every answer that it may be old would never be caught
const SURE_MIN: usize = 50;
/// … and so many where nothing was broken: one or another asks while the first leader is elected
const SURE_MIN_CALM: usize = 90;

/// What a history must reach to say anything; by default nothing, as whoever reads one again did not choose it
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Goals {
    /// So long there may be no write after a fault, but for one of a hundred
    pub(crate) outage_max: Option<Duration>,
    /// So many operations there must be
    pub(crate) operations_min: Option<usize>,
    /// So many faults there must have been
    pub(crate) rounds: Option<usize>,
    /// Of a hundred look-ups, so many must be sure, and there must be some of each kind of operation
    pub(crate) sure_min: Option<usize>,
}

impl Goals {
    /// Of a run in which so much must be sure, as nothing, or something, was broken
    pub(crate) fn sure(self, is_calm: bool) -> Self {
        Self { sure_min: Some(if is_calm { SURE_MIN_CALM } else { SURE_MIN }), ..self }
    }

    /// What was not reached, in words
    fn missed(&self, ops: &[Op], faults: usize) -> Vec<String> {
        let mut missed = Vec::new();
        if let Some(min) = self.operations_min.filter(|min| ops.len() < *min) {
            missed.push(format!("{} operations, and {min} are wanted", ops.len()));
        }
        if let Some(rounds) = self.rounds.filter(|rounds| faults < *rounds) {
            missed.push(format!("{faults} faults, and {rounds} are wanted"));
        }
        let Some(sure_min) = self.sure_min else { return missed };
        let count = |is: fn(&Op) -> bool| ops.iter().filter(|op| is(op)).count();
        let sure = count(|op| op.what == What::LookUp && op.until.is_some() && op.answer != Answer::MayBeOld);
        let each = [
            ("login", count(|op| matches!(op.answer, Answer::In(_)))),
            ("look-up that is sure", sure),
            ("logout", count(|op| matches!(op.what, What::LogOut(..)) && op.answer == Answer::Done)),
            ("release", count(|op| op.what == What::Release && op.answer == Answer::Done)),
        ];
        missed.extend(each.iter().filter(|(_, count)| *count == 0).map(|(kind, _)| format!("no {kind}")));
        let look_ups = count(|op| op.what == What::LookUp);
        if sure * 100 < look_ups * sure_min {
            missed.push(format!("{sure} of {look_ups} look-ups are sure, and {sure_min} of a hundred are wanted"));
        }
        missed
    }
}

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
    /// What it takes to say anything, and was not reached
    pub(crate) missed: Vec<String>,
}

impl Report {
    /// Whether both judges believe it, it has all that was wanted, each kind of faults has bitten and was mended, and no
    /// outage was too long
    pub(crate) fn held(&self) -> bool {
        let is_believed = self.by_index.is_none() && self.by_search.is_none() && !self.unknown;
        let [_, most, _] = self.after_faults_s;
        let was_short = self.outage_max_s.is_none_or(|max| most <= max);
        is_believed && self.missed.is_empty() && was_short && self.counts.iter().all(Count::held)
    }

    /// What came of these, where clients began nothing any more at `over`
    pub(super) fn of(ops: &[Op], mut faults: Vec<Broken>, over: Micros, goals: Goals) -> Self {
        let mut kinds = BTreeMap::new();
        for op in ops {
            *kinds.entry(kind(op)).or_default() += 1;
        }
        let mut writes: Vec<Micros> = ops.iter().filter(|op| is_write(op)).filter_map(|op| op.until).collect();
        writes.sort_unstable();
        // Whoever waits for a write to the end has waited, too; after it there are few who want any.
        let ends: Vec<Micros> = faults.iter().skip(1).map(|next| next.at).chain([over]).collect();
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
            missed: goals.missed(ops, faults.len()),
            faults,
            without_write_s: longest(&writes, 0, over),
            after_faults_s,
            outage_max_s: goals.outage_max.map(|max| max.as_secs_f64()),
            by_index: by_index::check(ops).err().map(|anomaly| anomaly.0),
            unknown: by_search == Verdict::Unknown,
            by_search: match by_search {
                Verdict::Impossible(anomaly) => Some(anomaly.0),
                Verdict::Possible | Verdict::Unknown => None,
            },
        }
    }

    /// Says it, in words or for programs
    pub(super) fn print(&self, json: bool) {
        match json {
            true => output::line(&serde_json::to_string(self).unwrap_or_default()),
            false => output::line(&self.text()),
        }
    }

    fn text(&self) -> String {
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
        lines.extend(self.missed.iter().map(|missed| format!("MISSED: {missed}")));
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

/// The longest time without one of these, in seconds, from the last before `from` to `end`
fn longest(writes: &[Micros], from: Micros, end: Micros) -> f64 {
    let first = writes.partition_point(|at| *at < from);
    let before = first.checked_sub(1).and_then(|before| writes.get(before)).copied().unwrap_or_default();
    let within = writes.iter().skip(first).copied().take_while(|at| *at < end);
    let (longest, last) = within.fold((0, before), |(longest, last), at| (longest.max(at - last), at));
    longest.max(end.saturating_sub(last)) as f64 / 1e6
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

#[cfg(test)]
mod tests {
    use super::super::history::op;
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn killed(at: Micros) -> Broken {
        Broken { kind: "kill", what: "kill".into(), at_s: 0.0, without_write_s: 0.0, bit: true, failed: None, at }
    }

    fn login(epoch: u64, at: Micros) -> Op {
        op(0, What::LogIn(1), Answer::In(epoch), at - 1, at, epoch)
    }

    #[test]
    fn time_without_a_write_is_from_the_last_before_the_fault_to_the_first_after_it_or_to_the_end() {
        let writes = [SECOND, 4 * SECOND, 5 * SECOND];
        assert_eq!(longest(&writes, 2 * SECOND, 6 * SECOND), 3.0);
        assert_eq!(longest(&writes, 4 * SECOND + 1, 20 * SECOND), 15.0, "nobody has written any more");
        assert_eq!(longest(&[], 0, 7 * SECOND), 7.0);
        assert_eq!(longest(&writes, 0, 3 * SECOND), 2.0);
    }

    #[test]
    fn supernodes_that_are_stuck_after_the_last_fault_are_seen_by_those_who_ask_in_vain() {
        let mut ops = vec![login(5, SECOND), login(9, 2 * SECOND)];
        ops.push(op(0, What::LogIn(2), Answer::Unknown, 60 * SECOND, 0, 0));
        let promised = Goals { outage_max: Some(Duration::from_secs(3)), ..Goals::default() };
        let report = Report::of(&ops, vec![killed(2 * SECOND + 1)], 60 * SECOND, promised);
        assert_eq!(report.after_faults_s, [58.0; 3]);
        assert!(!report.held());
        assert!(
            Report::of(&ops, vec![killed(2 * SECOND + 1)], 60 * SECOND, Goals::default()).held(),
            "nothing was promised"
        );
        assert!(Report::of(&ops[..2], vec![killed(SECOND + 1)], 2 * SECOND, promised).held());
    }

    fn look_up(answer: Answer, at: Micros) -> Op {
        op(0, What::LookUp, answer, at - 1, at, 1)
    }

    /// One of each kind of operation
    fn one_of_each() -> Vec<Op> {
        let logout = op(0, What::LogOut(1, 1), Answer::Done, 20, 21, 2);
        let release = Op { index: None, ..op(0, What::Release, Answer::Done, 30, 31, 3) };
        vec![login(1, 10), look_up(Answer::Found(1, 1), 15), Op { index: None, ..logout }, release]
    }

    fn missed(goals: Goals, ops: &[Op], faults: usize) -> String {
        let report = Report::of(ops, (0..faults as u64).map(|at| killed(40 + at)).collect(), 100, goals);
        assert_eq!(report.held(), report.missed.is_empty(), "{report:?}");
        report.missed.join("; ")
    }

    #[test]
    fn run_of_too_few_operations_or_faults_does_not_hold() {
        let goals = Goals { operations_min: Some(4), rounds: Some(2), ..Goals::default() };
        assert_eq!(missed(goals, &one_of_each(), 2), "");
        assert_eq!(missed(goals, &one_of_each()[..3], 2), "3 operations, and 4 are wanted");
        assert_eq!(missed(goals, &one_of_each(), 1), "1 faults, and 2 are wanted");
    }

    #[test]
    fn run_without_one_kind_of_operation_does_not_hold() {
        let goals = Goals::default().sure(true);
        assert_eq!(missed(goals, &one_of_each(), 0), "");
        for (at, kind) in ["login", "look-up that is sure", "logout", "release"].into_iter().enumerate() {
            let mut ops = one_of_each();
            ops.remove(at);
            let report = Report::of(&ops, Vec::new(), 100, goals);
            assert!(!report.held() && report.missed.contains(&format!("no {kind}")), "{report:?}");
        }
    }

    #[test]
    fn directory_that_says_of_most_answers_that_they_may_be_old_does_not_hold() {
        let of = |sure: u64, old: u64| {
            let mut ops = one_of_each();
            ops.remove(1);
            ops.extend((0..sure).map(|at| look_up(Answer::Found(1, 1), 11 + at % 8)));
            ops.extend((0..old).map(|at| look_up(Answer::MayBeOld, 11 + at % 8)));
            ops
        };
        let [broken, calm] = [Goals::default().sure(false), Goals::default().sure(true)];
        assert_eq!(missed(broken, &of(5, 5), 0), "");
        assert_eq!(missed(broken, &of(4, 5), 0), "4 of 9 look-ups are sure, and 50 of a hundred are wanted");
        assert_eq!(missed(calm, &of(9, 1), 0), "");
        assert_eq!(missed(calm, &of(9, 2), 0), "9 of 11 look-ups are sure, and 90 of a hundred are wanted");
        let none = missed(broken, &of(0, 9), 0);
        assert_eq!(none, "no look-up that is sure; 0 of 9 look-ups are sure, and 50 of a hundred are wanted");
    }
}
