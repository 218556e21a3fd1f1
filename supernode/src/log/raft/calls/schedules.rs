//! Questions that are answered, time out and lose their link at once, in every order.

use kith_runtime::sync::{Time, block_on, explore, sees, thread};

use super::*;

const ANSWERS: SupernodeId = SupernodeId(1);
const UNREACHABLE: SupernodeId = SupernodeId(2);

/// Three questions, to one that answers and one without a link, while a link may close; what came of them
fn ask_three(closes: bool) -> Vec<(SupernodeId, Result<LogReply, NoAnswer>)> {
    // As full as it can be: whoever asks waits for the driver.
    let (news, mut told) = mpsc::channel(1);
    let calls = Calls::new(Lineage::new(1), news);
    let askers = [ANSWERS, ANSWERS, UNREACHABLE].map(|whom| {
        let calls = calls.clone();
        thread::spawn(move || (whom, block_on(calls.ask(whom, LogQuestion::WhoLeads, Instant::now()))))
    });
    let driver = calls.clone();
    let driver = thread::spawn(move || {
        for _ in 0..3 {
            let Some(News::Ask { whom, ask }) = block_on(told.recv()) else { panic!("a question") };
            match whom {
                ANSWERS => driver.answer(whom, ask.number, LogReply::Committed),
                _ => driver.lose(whom),
            }
        }
    });
    if closes {
        calls.lose(ANSWERS);
    }
    let heard = askers.map(|asker| asker.join().unwrap()).to_vec();
    driver.join().unwrap();
    assert!(calls.book().waiting.is_empty(), "nobody waits any more");
    heard
}

fn all_are_answered() {
    for (whom, reply) in ask_three(false) {
        let expected = if whom == ANSWERS { Ok(LogReply::Committed) } else { Err(NoAnswer::Unreachable) };
        assert_eq!(reply, expected, "{whom}");
    }
}

#[test]
fn schedules_questions_are_answered_or_known_to_be_in_vain() {
    explore(Time::Stands, all_are_answered);
    assert!(sees(Mistake::AsksBeforeItWaits, Time::Stands, all_are_answered));
}

#[test]
fn schedules_questions_end_though_links_close() {
    explore(Time::Stands, || {
        let answers = ask_three(true).into_iter().filter(|(_, reply)| *reply == Err(NoAnswer::TimedOut)).count();
        assert_eq!(answers, 0, "nobody has waited for time to pass");
    });
}

#[test]
fn schedules_questions_that_time_out_leave_nothing_behind() {
    explore(Time::Passes, || drop(ask_three(true)));
}
