use std::time::Duration;

use kith_common::status::Status;
use kith_common::testing::at_ms;

use super::*;
use crate::output::ConnectionId;
use crate::stack::checks::{Checks, GOOD_FOR, Verdict};

const FIRST: ConnectionId = ConnectionId(1);

fn verdict(checks: &mut Checks, now: u64, answer: Result<&Answer, Status>) -> Option<Verdict> {
    let judged = checks.handle_resolved(at_ms(now), &peer_name(2), answer);
    judged.into_iter().next().map(|(_, _, verdict)| verdict)
}

#[test]
fn answer_of_the_directory_decides_and_no_answer_lets_in() {
    let refused = |status| Some(Some(status));
    let table = [
        (Ok(answer(2, 2, 2, Source::Supernode)), Some(None)),
        (Ok(answer(2, 3, 2, Source::Supernode)), refused(Status::NotAllowed)),
        (Ok(answer(2, 2, 7, Source::Supernode)), refused(Status::Gone)),
        (Err(Status::NotFound), refused(Status::NotAllowed)),
        (Err(Status::Gone), refused(Status::Gone)),
        (Ok(answer(2, 3, 7, Source::Memory)), Some(None)),
        (Ok(answer(2, 3, 7, Source::Neighbours)), Some(None)),
        (Err(Status::Unavailable), Some(None)),
    ];
    for (answer, expected) in table {
        let mut checks = Checks::default();
        assert_eq!(checks.begin(at_ms(0), FIRST, grant(2), false), Some(peer_name(2)));
        let said = verdict(&mut checks, 1, answer.as_ref().map_err(|status| *status));
        let status = said.map(|verdict| match verdict {
            Verdict::Admitted => None,
            Verdict::Refused(status, _) => Some(status),
        });
        assert_eq!(status, expected, "{answer:?}");
        assert_eq!(verdict(&mut checks, 2, Err(Status::NotFound)), None, "nobody waits for a second answer");
    }
}

#[test]
fn session_that_was_refused_is_refused_until_the_directory_says_otherwise() {
    let mut checks = Checks::default();
    checks.begin(at_ms(0), FIRST, grant(2), false);
    assert!(matches!(verdict(&mut checks, 1, Err(Status::Gone)), Some(Verdict::Refused(..))));
    checks.forget(FIRST);
    checks.begin(at_ms(2), ConnectionId(2), grant(2), false);
    assert!(matches!(verdict(&mut checks, 3, Err(Status::Unavailable)), Some(Verdict::Refused(Status::Gone, _))));
    checks.begin(at_ms(4), ConnectionId(3), grant(2), false);
    let here = answer(2, 2, 2, Source::Supernode);
    assert_eq!(verdict(&mut checks, 5, Ok(&here)), Some(Verdict::Admitted));
    checks.begin(at_ms(6), ConnectionId(4), grant(2), false);
    assert_eq!(verdict(&mut checks, 7, Err(Status::Unavailable)), Some(Verdict::Admitted));
}

#[test]
fn silence_of_the_directory_changes_nothing_for_whom_it_has_confirmed_and_confirms_nobody() {
    for (is_known, expected) in [(true, true), (false, false)] {
        let mut checks = Checks::default();
        checks.begin(at_ms(0), FIRST, grant(2), false);
        assert!(checks.is_asked(FIRST) && !checks.is_confirmed(FIRST));
        let here = answer(2, 2, 2, Source::Supernode);
        verdict(&mut checks, 1, if is_known { Ok(&here) } else { Err(Status::Unavailable) });
        assert!(!checks.is_asked(FIRST));
        assert_eq!(checks.renew(at_ms(2) + GOOD_FOR, FIRST, false), Some(peer_name(2)));
        assert!(checks.is_asked(FIRST), "what comes meanwhile waits for the answer");
        assert_eq!(verdict(&mut checks, 40_000, Err(Status::Unavailable)), Some(Verdict::Admitted));
        assert_eq!(checks.is_confirmed(FIRST), expected);
    }
}

#[test]
fn one_question_a_lease_and_none_for_whom_a_table_confirms() {
    let mut checks = Checks::default();
    checks.begin(at_ms(0), FIRST, grant(2), false);
    assert_eq!(checks.renew(at_ms(1), FIRST, false), None, "it is asked already");
    verdict(&mut checks, 2, Ok(&answer(2, 2, 2, Source::Supernode)));
    let later = at_ms(2) + GOOD_FOR;
    assert_eq!(checks.renew(at_ms(3), FIRST, false), None);
    assert_eq!(checks.renew(later, FIRST, false), Some(peer_name(2)));
    assert_eq!(checks.renew(later, FIRST, false), None, "once");
    let other = ConnectionId(2);
    assert_eq!(checks.begin(at_ms(0), other, grant(3), true), None);
    assert_eq!(checks.renew(later, other, true), None);
    assert_eq!(checks.renew(later + (GOOD_FOR - Duration::from_micros(1)), other, false), None);
    checks.forget(other);
    assert!(checks.grant(other).is_none() && checks.grant(FIRST).is_some());
}
