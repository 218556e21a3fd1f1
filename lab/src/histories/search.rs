//! The second judge: searches for an order in which one directory could have answered so, and knows nothing of indices.
//!
//! Each name is a history of its own. Going through its beginnings and ends in time, all states are kept in which the
//! directory can be, with which of the operations under way are done (Lowe, "Testing for linearizability", 2017). Where
//! none is left, there is no such order.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Anomaly, Answer, KeyNumber, Micros, Op, What};

/// States that are kept at most: beyond, the judge gives up, and says so
const STATES_MAX: usize = 200_000;

/// After so long nobody carries out any more a login or a release that was never answered: all waits for the log
const FORGOTTEN: Micros = 30_000_000;

/// A session whose client is gone ends after a lease at the latest, which begins anew with each leader: no history is
/// without one for so long
const ENDED: Micros = 300_000_000;

/// What a directory knows of one name
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    owner: Option<KeyNumber>,
    /// Who is logged in, and since when; a session that nobody was told of has no epoch yet
    session: Option<(KeyNumber, Option<u64>)>,
}

/// Numbers of operations
type Ops = BTreeSet<usize>;

/// A state, and which of the operations under way are done in it: those that were answered, and those that never were
type Possible = (Known, Ops, Ops);

/// All states that there can be
///
/// What was never answered need not be done. So of two that differ only in those that are done, and one lacks some that the
/// other has done, that one can become whatever the other can, and the other is left out.
#[derive(Clone, Default)]
struct States(BTreeMap<(Known, Ops), Vec<Ops>>);

impl States {
    /// Whether it is new, and not less than another one
    fn insert(&mut self, (known, done, spent): Possible) -> bool {
        let kept = self.0.entry((known, done)).or_default();
        if kept.iter().any(|other| other.is_subset(&spent)) {
            return false;
        }
        kept.retain(|other| !spent.is_subset(other));
        kept.push(spent);
        true
    }

    fn iter(&self) -> impl Iterator<Item = Possible> + '_ {
        let all = self.0.iter().flat_map(|((known, done), kept)| kept.iter().map(move |spent| (known, done, spent)));
        all.map(|(known, done, spent)| (*known, done.clone(), spent.clone()))
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// What the search came to
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an order
    Possible,
    Impossible(Anomaly),
    /// There are too many
    Unknown,
}

/// Searches each name's history
pub(super) fn check(ops: &[Op]) -> Verdict {
    let mut names: BTreeMap<u32, Vec<&Op>> = BTreeMap::new();
    let promises = ops.iter().filter(|op| op.answer != Answer::MayBeOld);
    promises.for_each(|op| names.entry(op.name).or_default().push(op));
    let verdicts = names.values().map(|ops| search(ops));
    verdicts.into_iter().find(|verdict| *verdict != Verdict::Possible).unwrap_or(Verdict::Possible)
}

fn search(ops: &[&Op]) -> Verdict {
    // An answer is not there before its question, so beginnings come first.
    let mut events: Vec<(Micros, bool, usize)> = Vec::new();
    for (number, op) in ops.iter().enumerate() {
        events.push((op.from, false, number));
        events.push((op.until.unwrap_or(op.from + forgotten(op)), true, number));
    }
    events.sort_unstable();
    let mut possible = States::default();
    possible.insert((Known { owner: None, session: None }, Ops::new(), Ops::new()));
    let mut under_way = Ops::new();
    for (_, is_end, number) in events {
        if !is_end {
            under_way.insert(number);
            continue;
        }
        let Some(reached) = reach(ops, &possible, &under_way) else { return Verdict::Unknown };
        under_way.remove(&number);
        let must = ops.get(number).is_some_and(|op| op.until.is_some());
        possible = States::default();
        for (known, mut done, mut spent) in reached.iter() {
            if done.remove(&number) || spent.remove(&number) || !must {
                possible.insert((known, done, spent));
            }
        }
        if possible.len() == 0 {
            let answered = ops.get(number).map(|op| format!("{op:?}")).unwrap_or_default();
            return Verdict::Impossible(Anomaly(format!("no order of what was done explains {answered}")));
        }
    }
    Verdict::Possible
}

/// So long after its beginning it may be done
const fn forgotten(op: &Op) -> Micros {
    match op.what {
        What::LogOut(..) | What::Lose(..) => ENDED,
        What::LogIn(_) | What::LookUp | What::Release => FORGOTTEN,
    }
}

/// All that can be, once some of the operations under way are done in some order
///
/// What changes nothing is done as soon as it can be: that is a look-up, a login that is refused, or the end of a session
/// that is over, which hinder nothing later and could change nothing later. What was not answered and ends one certain
/// session need not be remembered as done, as doing it again changes nothing. Of several that were not answered and are the
/// same the first is done first, as it is forgotten first.
fn reach(ops: &[&Op], from: &States, under_way: &Ops) -> Option<States> {
    let (mut reached, mut new) = (States::default(), Vec::new());
    for possible in from.iter().map(|possible| settle(ops, possible, under_way)) {
        if reached.insert(possible.clone()) {
            new.push(possible);
        }
    }
    while let Some((known, done, spent)) = new.pop() {
        let mut tried: Vec<What> = Vec::new();
        for number in under_way.iter().filter(|number| !done.contains(number) && !spent.contains(number)) {
            let Some(op) = ops.get(*number) else { continue };
            let is_answered = op.until.is_some();
            if !is_answered && tried.contains(&op.what) {
                continue;
            }
            let Some(next) = known.after(op).filter(|next| *next != known) else { continue };
            let (mut done, mut spent) = (done.clone(), spent.clone());
            if is_answered {
                done.insert(*number);
            } else {
                tried.push(op.what);
                if !matches!(op.what, What::LogOut(..) | What::Lose(..)) {
                    spent.insert(*number);
                }
            }
            let next = settle(ops, (next, done, spent), under_way);
            if reached.insert(next.clone()) {
                new.push(next);
            }
        }
        if reached.len() > STATES_MAX {
            return None;
        }
    }
    Some(reached)
}

/// Does all that was answered and changes nothing
fn settle(ops: &[&Op], (known, mut done, spent): Possible, under_way: &Ops) -> Possible {
    let is_idle = |op: &&&Op| op.until.is_some() && known.after(op) == Some(known);
    let idle: Vec<usize> =
        under_way.difference(&done).copied().filter(|number| ops.get(*number).as_ref().is_some_and(is_idle)).collect();
    done.extend(idle);
    (known, done, spent)
}

impl Known {
    /// What is known once the operation is done and answered so; `None` if it cannot be answered so
    fn after(self, op: &Op) -> Option<Self> {
        let is_own = |key| self.owner.is_none_or(|owner| owner == key);
        match (op.what, op.answer) {
            (What::LogIn(key), Answer::In(epoch)) if is_own(key) => {
                Some(Self { owner: Some(key), session: Some((key, Some(epoch))) })
            }
            (What::LogIn(key), Answer::Unknown) if is_own(key) => {
                // A session that is taken up again keeps its epoch, and one that is there may be.
                let kept = self.session.filter(|(other, _)| *other == key);
                Some(Self { owner: Some(key), session: kept.or(Some((key, None))) })
            }
            (What::LogIn(key), Answer::Taken) => self.owner.filter(|owner| *owner != key).map(|_| self),
            (What::LookUp, Answer::Found(key, epoch)) => match self.session {
                Some((other, Some(since))) if (other, since) == (key, epoch) => Some(self),
                // The first that anybody hears of it.
                Some((other, None)) if other == key => Some(Self { session: Some((key, Some(epoch))), ..self }),
                _ => None,
            },
            (What::LookUp, Answer::Away) => (self.owner.is_some() && self.session.is_none()).then_some(self),
            (What::LookUp, Answer::Nobody) => self.owner.is_none().then_some(self),
            (What::LogOut(key, epoch) | What::Lose(key, epoch), _) => match self.session {
                Some((other, since)) if other == key && since.is_none_or(|since| since == epoch) => {
                    Some(Self { session: None, ..self })
                }
                _ => Some(self),
            },
            // An operator is told so if there is nothing to give free, and then nothing was done.
            (What::Release, Answer::Done) if self.owner.is_none() => None,
            (What::Release, _) => Some(Self { owner: None, session: None }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::op;
    use super::*;

    fn good() -> Vec<Op> {
        vec![
            op(0, What::LogIn(1), Answer::In(5), 0, 10, 0),
            op(0, What::LogIn(2), Answer::Taken, 5, 14, 0),
            op(0, What::LookUp, Answer::Found(1, 5), 11, 12, 0),
            op(0, What::LogOut(1, 5), Answer::Done, 13, 20, 0),
            op(0, What::LookUp, Answer::Away, 15, 18, 0),
            op(0, What::Release, Answer::Done, 21, 30, 0),
            op(0, What::LogIn(2), Answer::Unknown, 25, 0, 0),
            op(0, What::LookUp, Answer::Found(2, 8), 31, 32, 0),
            op(0, What::Lose(2, 8), Answer::Unknown, 33, 0, 0),
            op(0, What::LookUp, Answer::Found(2, 8), 40, 41, 0),
            op(0, What::LookUp, Answer::Away, 42, 43, 0),
        ]
    }

    fn is_impossible(ops: &[Op]) -> bool {
        matches!(check(ops), Verdict::Impossible(_))
    }

    #[test]
    fn what_one_directory_answers_has_an_order_and_each_corruption_of_it_has_none() {
        assert_eq!(check(&good()), Verdict::Possible);
        let corrupted = |at: usize, answer: Answer| {
            let mut ops = good();
            ops[at].answer = answer;
            is_impossible(&ops)
        };
        assert!(corrupted(1, Answer::In(6)), "two owners");
        assert!(corrupted(2, Answer::Nobody), "an acknowledged login that is not there");
        assert!(corrupted(2, Answer::Found(1, 4)), "a session from before");
        assert!(corrupted(4, Answer::Nobody), "a name that nobody gave free");
        assert!(corrupted(9, Answer::Nobody), "an owner who is gone");
        let mut back = good();
        back.push(op(0, What::LookUp, Answer::Found(2, 8), 50, 51, 0));
        assert!(is_impossible(&back), "a session that had ended is back");
        let mut early = good();
        (early[6].from, early[7].from, early[7].until) = (34, 22, Some(24));
        assert!(is_impossible(&early), "found before anybody logged in");
    }

    #[test]
    fn session_of_a_client_that_is_gone_ends_as_late_as_supernodes_find_a_leader() {
        let login = op(0, What::LogIn(1), Answer::In(5), 0, 1, 0);
        let lost = op(0, What::Lose(1, 5), Answer::Unknown, 2, 0, 0);
        let away = |at| op(0, What::LookUp, Answer::Away, at, at + 1, 0);
        let found = |at| op(0, What::LookUp, Answer::Found(1, 5), at, at + 1, 0);
        assert_eq!(check(&[login.clone(), lost.clone(), found(50_000_000), away(100_000_000)]), Verdict::Possible);
        assert!(is_impossible(&[login, lost, found(400_000_000), away(500_000_000)]), "for no reason");
    }

    #[test]
    fn hundred_logins_that_nobody_answered_are_not_too_many() {
        let mut ops =
            vec![op(0, What::LogIn(1), Answer::In(5), 0, 1, 0), op(0, What::Lose(1, 5), Answer::Unknown, 2, 0, 0)];
        for at in 0..100 {
            ops.push(op(0, What::LogIn(at % 5), Answer::Unknown, 10 + u64::from(at), 0, 0));
        }
        let released = op(0, What::Release, Answer::Unknown, 120, 0, 0);
        ops.extend([released.clone(), released, op(0, What::LookUp, Answer::Found(3, 70), 200, 210, 0)]);
        ops.push(op(0, What::Lose(3, 70), Answer::Unknown, 220, 0, 0));
        ops.push(op(0, What::LookUp, Answer::Found(4, 90), 300, 310, 0));
        assert_eq!(check(&ops), Verdict::Possible);
        ops.push(op(0, What::LookUp, Answer::Found(3, 70), 320, 330, 0));
        assert!(is_impossible(&ops), "its session was replaced");
    }

    #[test]
    fn name_is_given_free_after_somebody_has_taken_it_and_not_before() {
        let release = |from, until| op(0, What::Release, Answer::Done, from, until, 0);
        let (login, free) =
            (op(0, What::LogIn(1), Answer::In(5), 0, 20, 0), op(0, What::LookUp, Answer::Nobody, 30, 31, 0));
        assert_eq!(check(&[login.clone(), release(5, 10), free.clone()]), Verdict::Possible);
        assert!(is_impossible(&[release(0, 5), Op { from: 6, ..login }, free]), "nobody had it");
    }

    #[test]
    fn operation_without_an_answer_may_have_been_done_or_not() {
        let login = op(0, What::LogIn(1), Answer::Unknown, 0, 0, 0);
        for answer in [Answer::Nobody, Answer::Found(1, 7)] {
            assert_eq!(check(&[login.clone(), op(0, What::LookUp, answer, 5, 6, 0)]), Verdict::Possible);
        }
        let (seen, gone) =
            (op(0, What::LookUp, Answer::Found(1, 7), 5, 6, 0), op(0, What::LookUp, Answer::Nobody, 8, 9, 0));
        assert!(is_impossible(&[login, seen, gone]), "and not be undone again");
    }
}
