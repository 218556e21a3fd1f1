//! Histories of one directory, which both judges believe, and what each of them says when an answer is not what it was.

use super::history::{Answer, KeyNumber, Micros, Op, What};
use super::search::Verdict;
use super::{by_index, search};
use crate::draw::Draw;

const SEEDS: u64 = 20;
const NAMES: usize = 3;
const KEYS: usize = 3;
const OPS: usize = 200;
/// Indices between two commands of this history, which others have
const STRIDE: u64 = 10;
/// From one operation to the next
const STEP: Micros = 100;

#[derive(Clone, Copy, Default)]
struct Known {
    owner: Option<KeyNumber>,
    session: Option<(KeyNumber, u64)>,
    /// When its client had heard of the session
    heard: Micros,
}

impl Known {
    fn answer(self) -> Answer {
        match (self.session, self.owner) {
            (Some((key, epoch)), _) => Answer::Found(key, epoch),
            (None, Some(_)) => Answer::Away,
            (None, None) => Answer::Nobody,
        }
    }
}

/// What one directory answers, and what it knew of the operation's name before each; if they `overlap`, each operation has
/// begun before the last one was answered
fn good(seed: u64, overlap: bool) -> (Vec<Op>, Vec<Answer>) {
    let (mut draw, mut known, mut index) = (Draw::new(seed, "history"), [Known::default(); NAMES], 0);
    let (mut ops, mut before) = (Vec::new(), Vec::new());
    let reach = if overlap { 2 * STEP } else { STEP / 3 };
    for at in (1..=OPS as u64).map(|at| at * STEP) {
        let (mut from, until) = (at.saturating_sub(draw.number() % reach), at + draw.number() % reach);
        let (name, key) = (draw.below(NAMES), draw.below(KEYS) as KeyNumber);
        let now = &mut known[name];
        before.push(now.answer());
        let (what, answer, index) = match (draw.below(8), now.session) {
            (0, _) if now.owner.is_some() => {
                *now = Known::default();
                index += STRIDE;
                (What::Release, Answer::Done, None)
            }
            (1, Some((key, epoch))) if now.heard < at => {
                (now.session, from) = (None, from.max(now.heard + 1));
                index += STRIDE;
                (What::LogOut(key, epoch), Answer::Done, None)
            }
            (1..4, _) if now.owner.is_none_or(|owner| owner == key) => {
                index += STRIDE;
                *now = Known { owner: Some(key), session: Some((key, index)), heard: until };
                (What::LogIn(key), Answer::In(index), Some(index))
            }
            (1..4, _) => (What::LogIn(key), Answer::Taken, None),
            _ => (What::LookUp, now.answer(), Some(index)),
        };
        ops.push(Op { name: name as u32, what, answer, from, until: Some(until), index });
    }
    (ops, before)
}

fn is_seen_by_index(ops: &[Op]) -> bool {
    by_index::check(ops).is_err()
}

fn is_seen_by_search(ops: &[Op]) -> bool {
    let verdict = search::check(ops);
    assert_ne!(verdict, Verdict::Unknown);
    verdict != Verdict::Possible
}

/// Corrupts the history of each seed in all places where that can be; how often, and how often each judge saw it
fn corrupted(corrupt: impl Fn(&[Op], &[Answer], usize) -> Option<Vec<Op>>) -> (usize, usize, usize) {
    let (mut count, mut by_index, mut by_search) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (ops, before) = good(seed, false);
        for corrupted in (0..ops.len()).filter_map(|at| corrupt(&ops, &before, at)) {
            count += 1;
            by_index += usize::from(is_seen_by_index(&corrupted));
            by_search += usize::from(is_seen_by_search(&corrupted));
        }
    }
    assert!(count > 50, "{count} places are too few to say anything");
    (count, by_index, by_search)
}

/// The next operation of that kind on the same name, before anything changes there again
fn next(ops: &[Op], at: usize, is_it: impl Fn(&Op) -> bool) -> Option<usize> {
    let changed = ops.get(at)?;
    let later = ops.iter().enumerate().skip(at + 1).filter(|(_, op)| op.name == changed.name);
    later.take_while(|(_, op)| !is_change(op)).find(|(_, op)| is_it(op)).map(|(at, _)| at)
}

fn is_change(op: &Op) -> bool {
    matches!(op.answer, Answer::In(_) | Answer::Done)
}

/// A look-up after an acknowledged change answers what was true before it
fn stale(ops: &[Op], before: &[Answer], at: usize) -> Option<(Vec<Op>, usize)> {
    let old = *before.get(at)?;
    let stale = next(ops, at, |op| op.what == What::LookUp).filter(|stale| ops[*stale].answer != old)?;
    let mut ops = ops.to_vec();
    ops[stale].answer = old;
    Some((ops, stale))
}

#[test]
fn what_one_directory_answers_is_believed_by_both_also_if_operations_overlap() {
    for (seed, overlap) in (0..SEEDS).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (ops, _) = good(seed, overlap);
        assert_eq!((by_index::check(&ops), search::check(&ops)), (Ok(()), Verdict::Possible), "seed {seed}");
    }
}

#[test]
fn answer_that_is_older_than_an_acknowledged_change_is_seen_by_the_search_and_with_its_index_by_both() {
    let (count, by_index, by_search) = corrupted(|ops, before, at| stale(ops, before, at).map(|(ops, _)| ops));
    assert_eq!(by_search, count);
    assert!(by_index > 0, "a session that had been replaced");
    // A replica that lags says so by its index. A logout or a release tells no index, a login does.
    let (count, by_index, by_search) = corrupted(|ops, before, at| {
        let is_login = ops[at].index.is_some();
        let (mut ops, stale) = stale(ops, before, at).filter(|_| is_login)?;
        ops[stale].index = ops[at].index.map(|index| index - STRIDE);
        Some(ops)
    });
    assert_eq!((by_index, by_search), (count, count));
}

#[test]
fn answer_that_says_that_it_may_be_old_is_never_wrong() {
    let (_, by_index, by_search) = corrupted(|ops, before, at| {
        let (mut ops, stale) = stale(ops, before, at)?;
        (ops[stale].answer, ops[stale].index) = (Answer::MayBeOld, Some(1));
        Some(ops)
    });
    assert_eq!((by_index, by_search), (0, 0));
}

#[test]
fn two_keys_that_own_one_name_are_seen_by_the_search_and_where_the_first_is_found_later_by_both() {
    let second = |ops: &[Op], at: usize| {
        let mut ops = ops.to_vec();
        let taken = ops.get_mut(at).filter(|op| op.answer == Answer::Taken)?;
        let last = taken.from;
        let index = ops.iter().filter(|op| op.until < Some(last)).filter_map(|op| op.index).max()? + STRIDE / 2;
        (ops[at].answer, ops[at].index) = (Answer::In(index), Some(index));
        Some(ops)
    };
    let (count, by_index, by_search) = corrupted(|ops, _, at| second(ops, at));
    assert_eq!(by_search, count);
    assert!(by_index > 0);
    let (count, by_index, by_search) = corrupted(|ops, _, at| {
        let is_found = next(ops, at, |op| matches!(op.answer, Answer::Found(..)) && op.index > ops[at].index);
        let ops = second(ops, at)?;
        is_found.filter(|found| ops[*found].index > ops[at].index).map(|_| ops)
    });
    assert_eq!((by_index, by_search), (count, count));
}

#[test]
fn acknowledged_login_that_is_lost_is_seen_by_the_search_and_where_an_older_session_is_found_by_both() {
    let lost = |ops: &[Op], before: &[Answer], at: usize| {
        let old = *before.get(at).filter(|_| matches!(ops[at].answer, Answer::In(_)))?;
        next(ops, at, |op| op.what == What::LookUp)?;
        let mut lost = ops.to_vec();
        for (later, op) in ops.iter().enumerate().skip(at + 1).filter(|(_, op)| op.name == ops[at].name) {
            match op.what {
                _ if is_change(op) => break,
                What::LookUp => lost[later].answer = old,
                _ => {}
            }
        }
        Some((lost, old))
    };
    let (count, by_index, by_search) = corrupted(|ops, before, at| lost(ops, before, at).map(|(ops, _)| ops));
    assert_eq!(by_search, count);
    assert!(by_index > 0);
    let (count, by_index, by_search) = corrupted(|ops, before, at| {
        lost(ops, before, at).filter(|(_, old)| matches!(old, Answer::Found(..))).map(|(ops, _)| ops)
    });
    assert_eq!((by_index, by_search), (count, count));
}

#[test]
fn index_that_goes_back_is_seen_by_the_log_and_not_by_the_search_which_knows_of_none() {
    let (count, by_index, by_search) = corrupted(|ops, _, at| {
        let what = ops.get(at).filter(|op| matches!(op.answer, Answer::Away | Answer::Nobody))?;
        let before = ops.iter().filter(|op| op.until < Some(what.from)).filter_map(|op| op.index).max()?;
        let mut ops = ops.to_vec();
        ops[at].index = Some(before.checked_sub(1)?);
        Some(ops)
    });
    assert_eq!((by_index, by_search), (count, 0));
}
