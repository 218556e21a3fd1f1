//! The first judge: answers say at which command of the log they hold, and that order must fit the clocks.
//!
//! It is quick enough for millions of operations, and sees what an old or a parted directory would answer.

use std::collections::BTreeMap;

use super::history::{Anomaly, Answer, Op, What};

/// Looks for an answer that contradicts the order of the log
///
/// * What began after something else had been answered holds at no earlier command.
/// * A session begins once, with one key, and a look-up shows the last one that had begun by its command.
pub(super) fn check(ops: &[Op]) -> Result<(), Anomaly> {
    let is_sure = |op: &&Op| op.until.is_some() && op.index.is_some() && op.answer != Answer::MayBeOld;
    let mut by_end: Vec<&Op> = ops.iter().filter(is_sure).collect();
    let mut by_begin = by_end.clone();
    by_end.sort_by_key(|op| op.until);
    by_begin.sort_by_key(|op| op.from);
    let (mut ended, mut highest) = (by_end.into_iter().peekable(), None::<&Op>);
    for op in by_begin {
        while let Some(before) = ended.next_if(|before| before.until < Some(op.from)) {
            if highest.is_none_or(|highest| before.index > highest.index) {
                highest = Some(before);
            }
        }
        if let Some(before) = highest.filter(|before| before.index > op.index) {
            return Err(Anomaly(format!("{op:?} is older than {before:?}, which was answered before it began")));
        }
    }
    sessions(ops)
}

fn sessions(ops: &[Op]) -> Result<(), Anomaly> {
    let mut begun: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    let mut of_name: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for op in ops {
        let (key, epoch) = match (op.what, op.answer) {
            (What::LogIn(key), Answer::In(epoch)) | (_, Answer::Found(key, epoch)) => (key, epoch),
            _ => continue,
        };
        match begun.insert(epoch, (op.name, key)) {
            None => of_name.entry(op.name).or_default().push(epoch),
            Some(other) if other == (op.name, key) => {}
            Some((name, other)) => {
                return Err(Anomaly(format!("{op:?}: at that epoch key {other} had logged in as name {name}")));
            }
        }
    }
    of_name.values_mut().for_each(|epochs| epochs.sort_unstable());
    for op in ops {
        let (Answer::Found(_, epoch), Some(index)) = (op.answer, op.index) else { continue };
        let epochs = of_name.get(&op.name).map(Vec::as_slice).unwrap_or_default();
        let newest = epochs.iter().rev().find(|begun| **begun <= index);
        if newest != Some(&epoch) {
            return Err(Anomaly(format!("{op:?}: another session had begun by then, at {newest:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::history::op;
    use super::*;

    fn good() -> Vec<Op> {
        vec![
            op(0, What::LogIn(1), Answer::In(5), 0, 10, 5),
            op(0, What::LookUp, Answer::Found(1, 5), 11, 12, 6),
            op(0, What::LogIn(2), Answer::Taken, 13, 14, 0),
            op(0, What::LogIn(1), Answer::In(9), 20, 22, 9),
            op(0, What::LookUp, Answer::Found(1, 9), 21, 30, 9),
            op(1, What::LookUp, Answer::Nobody, 31, 32, 12),
        ]
    }

    #[test]
    fn what_one_directory_answers_is_believed_and_each_corruption_of_it_is_not() {
        assert_eq!(check(&good()), Ok(()));
        let corrupted = |change: &dyn Fn(&mut Vec<Op>)| {
            let mut ops = good();
            change(&mut ops);
            check(&ops).is_err()
        };
        assert!(corrupted(&|ops| ops[5].index = Some(8)), "an old directory's answer");
        assert!(corrupted(&|ops| ops[4].answer = Answer::Found(1, 5)), "a session that had been replaced");
        assert!(corrupted(&|ops| ops[4].answer = Answer::Found(2, 9)), "somebody else's session");
        assert!(corrupted(&|ops| ops[3].answer = Answer::In(5)) || corrupted(&|ops| ops[3].index = Some(4)));
        assert!(
            corrupted(&|ops| ops.push(op(1, What::LogIn(3), Answer::In(9), 40, 41, 13))),
            "one epoch, two sessions"
        );
    }
}
