//! What each question is answered with, and by whom.

mod random;

use super::*;
use crate::id::{Epoch, Key, ShortId};
use crate::testing::{at_ms as at, name};

const HOME: Answerer = Answerer::Supernode;

fn place(n: u64) -> Address {
    Address(n << 32)
}

fn record(of: &str, n: u64) -> Record {
    let key = Key([n as u8; 32]);
    Record { name: name(of), key, address: place(n), epoch: Epoch::new(0, 1), locations: Default::default() }
}

fn local(of: &str, n: u64) -> Local {
    Local { name: name(of), address: place(n), record: None }
}

fn heidi() -> Subject {
    Subject::Name(name("heidi"))
}

fn found(query: u64, status: Status, record: Option<Record>) -> Found {
    Found { query, status, record, index: 0, is_stale: false }
}

fn drain(resolver: &mut Resolver) -> Vec<NamesOutput> {
    std::iter::from_fn(|| resolver.poll_output()).collect()
}

/// The shortest form of an output, for tables
fn told(output: &NamesOutput) -> String {
    match output {
        NamesOutput::Resolved { fresh, answer: Ok(answer), .. } => {
            let (fresh, stale) = (if *fresh { "fresh " } else { "" }, if answer.stale { ", stale" } else { "" });
            let key = if answer.key().is_some() { "" } else { ", no key" };
            let place = answer.address.0 >> 32;
            format!("{fresh}{} at {place} by {:?}{stale}{key}", answer.name, answer.source)
        }
        NamesOutput::Resolved { answer: Err(status), .. } => status.code().to_string(),
        NamesOutput::LookedUp { name, answer } => format!("{name} looked up: {}", answer.is_ok()),
        NamesOutput::Ask(_) => "ask".to_owned(),
        NamesOutput::Flood { except, look_up } => {
            let except = except.map(|address| format!(" except {}", address.0 >> 32)).unwrap_or_default();
            format!("flood {}{except}", look_up.ttl)
        }
        NamesOutput::Answer { to, .. } => format!("answer {}", to.0 >> 32),
        NamesOutput::Save(record) => format!("save {}", record.name),
        NamesOutput::Erase(name) => format!("erase {name}"),
    }
}

/// A resolver, its clock, and the last question that it asked
struct One {
    resolver: Resolver,
    now: Instant,
    query: u64,
}

impl One {
    fn homeless() -> Self {
        Self::who_remembers(REMEMBER)
    }

    fn who_remembers(remember: Duration) -> Self {
        Self { resolver: Resolver::new(1, remember), now: at(0), query: 0 }
    }

    fn at_home() -> Self {
        let mut one = Self::homeless();
        one.resolver.handle_home(at(0), true);
        one
    }

    fn told(&mut self) -> Vec<String> {
        let outputs = drain(&mut self.resolver);
        for output in &outputs {
            if let NamesOutput::Ask(look_up) | NamesOutput::Flood { except: None, look_up } = output {
                self.query = look_up.query;
            }
        }
        outputs.iter().map(told).collect()
    }

    fn ask(&mut self, subject: Subject, fresh: bool, local: Option<Local>) -> Vec<String> {
        self.resolver.handle_ask(self.now, subject, fresh, local);
        self.told()
    }

    fn answer(&mut self, from: Answerer, status: Status, record: Option<Record>) -> Result<Vec<String>, Ignored> {
        self.resolver.handle_found(self.now, from, &found(self.query, status, record))?;
        Ok(self.told())
    }

    /// Asks for heidi, and the supernode says that she is at 7
    fn learn(&mut self) {
        self.ask(heidi(), true, None);
        self.answer(HOME, Status::Delivered, Some(record("heidi", 7))).unwrap();
    }

    fn home(&mut self, reachable: bool) -> Vec<String> {
        self.resolver.handle_home(self.now, reachable);
        self.told()
    }

    fn wakes_at(&mut self, millis: u64) -> Vec<String> {
        assert_eq!(self.resolver.next_timeout(), Some(at(millis)));
        self.now = at(millis);
        self.resolver.handle_timeout(self.now);
        self.told()
    }

    /// Neighbour `from` asks for heidi
    fn asked_by(&mut self, from: u64, query: u64, ttl: u8) -> Result<Vec<String>, Ignored> {
        let look_up = LookUp { query, ttl, subject: heidi(), may_be_stale: false };
        let taken = self.resolver.handle_look_up(self.now, place(from), &look_up, None);
        let told = self.told();
        assert!(taken.is_ok() || told.is_empty(), "what is ignored changes nothing");
        taken.map(|()| told)
    }
}

#[test]
fn tables_answer_before_anybody_is_asked() {
    assert_eq!(One::at_home().ask(heidi(), false, Some(local("heidi", 3))), ["heidi at 3 by Tables, no key"]);
    assert_eq!(One::homeless().ask(heidi(), false, Some(local("heidi", 3))), ["heidi at 3 by Tables, stale, no key"]);
}

#[test]
fn key_that_a_table_lacks_comes_from_memory_if_the_place_is_the_same() {
    let mut one = One::at_home();
    one.learn();
    assert_eq!(one.ask(heidi(), false, Some(local("heidi", 7))), ["heidi at 7 by Tables"]);
    assert_eq!(one.ask(heidi(), false, Some(local("heidi", 8))), ["heidi at 8 by Tables, no key"]);
}

#[test]
fn supernode_is_asked_for_an_unknown_name_and_its_answer_remembered() {
    let mut one = One::at_home();
    assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    let answered = one.answer(HOME, Status::Delivered, Some(record("heidi", 7))).unwrap();
    assert_eq!(answered, ["save heidi", "fresh heidi at 7 by Supernode"]);
    one.now = at(59_000);
    assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Memory"]);
    assert_eq!(one.ask(heidi(), true, None), ["ask"], "for a fresh answer memory will not do");
}

#[test]
fn old_answer_of_a_supernode_does_and_is_not_remembered_and_that_it_knows_nobody_decides_nothing() {
    let mut one = One::at_home();
    let stale = |one: &mut One, status, record| {
        let found = Found { is_stale: true, ..found(one.query, status, record) };
        one.resolver.handle_found(one.now, HOME, &found).unwrap();
        one.told()
    };
    one.ask(heidi(), false, None);
    let told = stale(&mut one, Status::Delivered, Some(record("heidi", 7)));
    assert_eq!(told, ["fresh heidi at 7 by Supernode, stale"]);
    assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    assert_eq!(stale(&mut one, Status::NotFound, None), ["flood 4"]);
    let mut one = One::at_home();
    one.learn();
    one.ask(heidi(), true, None);
    assert_eq!(stale(&mut one, Status::Gone, None), ["fresh heidi at 7 by Memory, stale"]);
}

#[test]
fn record_a_minute_old_is_asked_for_again_while_there_is_a_supernode() {
    let mut one = One::at_home();
    one.learn();
    one.now = at(60_000);
    assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    assert_eq!(one.wakes_at(62_000), ["fresh heidi at 7 by Memory, stale"]);
}

#[test]
fn name_stays_known_for_a_day_without_a_supernode_and_is_marked_stale() {
    let mut one = One::at_home();
    one.learn();
    one.home(false);
    one.now = at(24 * 3_600_000 - 1);
    assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Memory, stale"]);
    assert_eq!(one.ask(heidi(), true, None), ["fresh heidi at 7 by Memory, stale"]);
    one.now = at(24 * 3_600_000);
    assert_eq!(one.ask(heidi(), false, None), ["flood 4"]);
}

#[test]
fn negative_answers_are_passed_on_and_not_remembered() {
    for (status, code) in [(Status::NotFound, "404"), (Status::Gone, "410")] {
        let mut one = One::at_home();
        one.learn();
        one.ask(heidi(), true, None);
        assert_eq!(one.answer(HOME, status, None).unwrap(), ["erase heidi", code]);
        assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    }
}

#[test]
fn supernode_that_cannot_say_is_done_without() {
    for status in [Status::SlowDown, Status::Unavailable] {
        let mut one = One::at_home();
        one.ask(heidi(), true, Some(local("heidi", 3)));
        assert_eq!(one.answer(HOME, status, None).unwrap(), ["fresh heidi at 3 by Tables, stale, no key"]);
    }
}

#[test]
fn silent_supernode_then_silent_neighbours_give_503() {
    let mut one = One::at_home();
    assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    assert_eq!(one.wakes_at(2_000), ["flood 4"]);
    assert_eq!(one.wakes_at(3_500), ["503"]);
    assert_eq!(one.resolver.next_timeout(), None);
}

#[test]
fn lost_supernode_is_not_waited_for_and_a_new_one_asked_at_once() {
    let mut one = One::at_home();
    one.ask(heidi(), false, None);
    assert_eq!(one.home(false), ["flood 4"]);
    assert!(one.home(false).is_empty());
    assert_eq!(one.home(true), ["ask"]);
    assert!(one.answer(HOME, Status::Delivered, Some(record("heidi", 7))).is_ok());
}

#[test]
fn answer_that_is_not_the_questions_is_ignored_with_a_reason() {
    let mut one = One::at_home();
    one.ask(heidi(), false, None);
    let bob = Some(record("bob", 7));
    assert_eq!(one.answer(HOME, Status::Delivered, bob), Err(Ignored::OtherSubject));
    assert_eq!(one.answer(HOME, Status::Delivered, None), Err(Ignored::OtherSubject));
    let neighbour = Answerer::Neighbour(place(1));
    let heidi = || Some(record("heidi", 7));
    assert_eq!(one.answer(neighbour, Status::Delivered, heidi()), Err(Ignored::Unknown), "it was not asked");
    assert!(one.answer(HOME, Status::Delivered, heidi()).is_ok());
    assert_eq!(one.answer(HOME, Status::Delivered, heidi()), Err(Ignored::Unknown), "that was the second");
}

#[test]
fn flood_answers_are_hearsay_kept_for_a_minute_and_never_on_disk() {
    let mut one = One::homeless();
    assert_eq!(one.ask(heidi(), false, None), ["flood 4"]);
    let neighbour = Answerer::Neighbour(place(1));
    assert_eq!(one.answer(neighbour, Status::NotFound, None), Err(Ignored::OtherSubject), "nobody may deny a name");
    let said = one.answer(neighbour, Status::Delivered, Some(record("heidi", 7))).unwrap();
    assert_eq!(said, ["fresh heidi at 7 by Neighbours, stale, no key"]);
    assert_eq!(one.resolver.remembered(one.now).count(), 0);
    one.now = at(59_000);
    assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Neighbours, stale, no key"]);
    one.now = at(60_000);
    assert_eq!(one.ask(heidi(), false, None), ["flood 4"]);
}

#[test]
fn own_floods_go_once_a_second_and_those_past_the_wait_end_with_503() {
    let mut one = One::homeless();
    let ask = |one: &mut One, n: u32| one.ask(Subject::ShortId(ShortId(n)), false, None);
    assert_eq!(ask(&mut one, 0), ["flood 4"]);
    for n in 1..=4 {
        assert!(ask(&mut one, n).is_empty(), "question {n} waits its turn");
    }
    assert_eq!(ask(&mut one, 5), ["503"]);
    assert_eq!(one.wakes_at(1_000), ["flood 4"]);
    assert_eq!(one.wakes_at(1_500), ["503"]);
    assert_eq!(one.wakes_at(2_000), ["flood 4"]);
}

#[test]
fn questions_with_one_subject_are_one_question() {
    let mut one = One::at_home();
    assert_eq!(one.ask(heidi(), false, None), ["ask"]);
    assert!(one.ask(heidi(), true, None).is_empty());
    assert_eq!(one.answer(HOME, Status::Delivered, Some(record("heidi", 7))).unwrap().len(), 2);
}

#[test]
fn question_past_the_bound_gets_429() {
    let mut one = One::at_home();
    for n in 0..QUESTIONS_MAX as u32 {
        assert_eq!(one.ask(Subject::ShortId(ShortId(n)), false, None), ["ask"]);
    }
    assert_eq!(one.ask(heidi(), false, None), ["429"]);
}

#[test]
fn short_id_is_looked_up_like_a_name() {
    let mut one = One::at_home();
    assert_eq!(one.ask(Subject::ShortId(ShortId(7)), false, None), ["ask"]);
    assert_eq!(one.answer(HOME, Status::Delivered, Some(record("bob", 8))), Err(Ignored::OtherSubject));
    assert!(one.answer(HOME, Status::Delivered, Some(record("bob", 7))).is_ok());
    assert_eq!(one.ask(Subject::ShortId(ShortId(7)), false, None), ["bob at 7 by Memory"]);
}

#[test]
fn unchanged_record_is_written_once_an_hour_and_a_changed_one_at_once() {
    let mut one = One::at_home();
    let mut learn = |millis, n| {
        one.resolver.handle_record(at(millis), &record("heidi", n));
        one.told()
    };
    assert_eq!(learn(0, 7), ["save heidi"]);
    assert!(learn(3_599_000, 7).is_empty());
    assert_eq!(learn(3_599_500, 8), ["save heidi"]);
    assert_eq!(learn(7_199_500, 8), ["save heidi"]);
}

#[test]
fn memory_comes_back_from_disk_with_its_age() {
    let mut one = One::homeless();
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let saved = [(record("heidi", 7), hours(23)), (record("bob", 8), hours(24)), (record("carol", 9), hours(0))];
    one.resolver.restore(at(0), saved);
    let mut names: Vec<_> = one.resolver.remembered(at(1)).map(|(r, age)| (r.name.to_string(), age)).collect();
    names.sort();
    let tick = Duration::from_millis(1);
    assert_eq!(names, [("carol".to_owned(), tick), ("heidi".to_owned(), hours(23) + tick)]);
    assert_eq!(one.told(), ["erase bob"], "or its place on disk would be taken for ever");
    assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Memory, stale"]);
}

#[test]
fn memory_lasts_as_long_as_it_is_set_to_and_is_written_in_time() {
    for seconds in [60, 7 * 24 * 3600] {
        let mut one = One::who_remembers(Duration::from_secs(seconds));
        one.resolver.handle_record(at(0), &record("heidi", 7));
        assert_eq!(one.told(), ["save heidi"]);
        one.resolver.handle_record(at(2_499), &record("heidi", 7));
        assert!(one.told().is_empty());
        one.resolver.handle_record(at(2_500), &record("heidi", 7));
        assert_eq!(one.told(), if seconds == 60 { vec!["save heidi"] } else { Vec::new() });
        one.now = at(2_500 + seconds * 1_000 - 1);
        assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Memory, stale"], "{seconds} s");
        one.now = at(2_500 + seconds * 1_000);
        assert_ne!(one.ask(heidi(), false, None), ["heidi at 7 by Memory, stale"], "{seconds} s");
    }
}

#[test]
fn memory_of_no_time_keeps_nothing_here_or_on_disk() {
    let mut one = One::who_remembers(Duration::ZERO);
    one.resolver.restore(at(0), [(record("heidi", 7), Duration::ZERO)]);
    assert_eq!(one.told(), ["erase heidi"]);
    one.resolver.handle_home(at(0), true);
    one.learn();
    assert_eq!((one.resolver.len(), one.ask(heidi(), false, None)), (0, vec!["ask".to_owned()]));
}

#[test]
fn record_next_to_expire_is_forgotten_at_the_bound() {
    let mut one = One::at_home();
    for n in 0..RECORDS_MAX as u64 {
        one.resolver.handle_record(at(n), &record(&format!("n{n}"), n));
    }
    one.told();
    // The disk leaves out what finds no place there.
    one.resolver.handle_record(at(RECORDS_MAX as u64), &record("heidi", 7));
    assert_eq!(one.told(), ["erase n0", "save heidi"], "room on disk is made before it is taken");
    assert_eq!(one.resolver.len(), RECORDS_MAX);
}

#[test]
fn neighbours_question_goes_on_with_one_hop_less_and_never_back() {
    let mut one = One::at_home();
    assert_eq!(one.asked_by(1, 10, 4), Ok(vec!["flood 3 except 1".to_owned()]));
    assert_eq!(one.asked_by(1, 11, 255), Ok(vec!["flood 3 except 1".to_owned()]), "no claim goes farther");
    assert_eq!(one.asked_by(2, 12, 1), Err(Ignored::TtlSpent));
    assert_eq!(one.asked_by(2, 13, 0), Err(Ignored::TtlSpent));
}

#[test]
fn question_that_was_here_before_is_dropped() {
    let mut one = One::homeless();
    one.asked_by(1, 10, 4).unwrap();
    assert_eq!(one.asked_by(2, 10, 4), Err(Ignored::Duplicate));
    one.ask(heidi(), false, None);
    let own = one.query;
    assert_eq!(one.asked_by(2, own, 4), Err(Ignored::Duplicate), "our own came round");
    one.answer(Answerer::Neighbour(place(3)), Status::Delivered, Some(record("heidi", 7))).unwrap();
    assert_eq!(one.asked_by(2, own, 4), Err(Ignored::Duplicate), "and once more, answered meanwhile");
    one.now = at(4_000);
    assert!(one.asked_by(1, 10, 4).is_ok(), "after its lifetime it is a new one");
}

#[test]
fn neighbour_that_asks_too_often_is_held_to_one_question_a_second() {
    let mut one = One::homeless();
    let mut passed = 0;
    for n in 0..600 {
        one.now = at(100 * n);
        passed += u64::from(one.asked_by(1, n, 4).is_ok());
    }
    assert_eq!(passed, u64::from(ASKS_BURST) + 59);
    assert_eq!(one.asked_by(1, 9_999, 4), Err(Ignored::TooOften));
    assert!(one.asked_by(2, 9_998, 4).is_ok(), "others are served");
}

#[test]
fn askers_past_the_bound_are_not_served_until_others_were_quiet() {
    let mut one = One::homeless();
    for n in 0..ASKERS_MAX as u64 {
        one.asked_by(n, n, 4).unwrap();
    }
    assert_eq!(one.asked_by(500, 500, 4), Err(Ignored::Overloaded));
    one.now = at(1_000);
    assert!(one.asked_by(500, 500, 4).is_ok());
}

#[test]
fn neighbour_gets_one_answer_from_what_is_known_for_sure() {
    let mut one = One::at_home();
    one.learn();
    assert_eq!(one.asked_by(1, 10, 4), Ok(vec!["answer 1".to_owned()]));
    let look_up = LookUp { query: 11, ttl: 1, subject: Subject::Name(name("me")), may_be_stale: false };
    one.resolver.handle_look_up(at(1), place(2), &look_up, Some(record("me", 9))).unwrap();
    let expected = Found::of_neighbour(11, record("me", 9));
    assert_eq!(drain(&mut one.resolver), [NamesOutput::Answer { to: place(2), found: expected }]);
}

#[test]
fn hearsay_is_not_passed_on_as_an_answer() {
    let mut one = One::homeless();
    one.ask(heidi(), false, None);
    one.answer(Answerer::Neighbour(place(3)), Status::Delivered, Some(record("heidi", 7))).unwrap();
    assert_eq!(one.asked_by(1, 10, 4), Ok(vec!["flood 3 except 1".to_owned()]));
}

#[test]
fn answer_goes_back_the_way_of_its_question_once() {
    let mut one = One::homeless();
    one.asked_by(1, 10, 4).unwrap();
    one.query = 10;
    let from = Answerer::Neighbour(place(2));
    assert_eq!(one.answer(from, Status::Delivered, Some(record("bob", 5))), Err(Ignored::OtherSubject));
    assert_eq!(one.answer(from, Status::NotFound, None), Err(Ignored::OtherSubject));
    assert_eq!(one.answer(from, Status::Delivered, Some(record("heidi", 7))), Ok(vec!["answer 1".to_owned()]));
    assert_eq!(one.answer(from, Status::Delivered, Some(record("heidi", 7))), Err(Ignored::Duplicate));
    one.query = 77;
    assert_eq!(one.answer(from, Status::Delivered, Some(record("heidi", 7))), Err(Ignored::Unknown));
}

#[test]
fn users_look_up_is_told_once_and_only_a_fresh_answer() {
    let mut one = One::at_home();
    one.learn();
    for _ in 0..2 {
        one.resolver.look_up(one.now, name("heidi"), None);
    }
    assert_eq!(one.told(), ["ask"], "what is remembered is no answer for a user");
    assert_eq!(one.ask(heidi(), false, None), ["heidi at 7 by Memory"], "it is one for a message");
    let told = one.answer(HOME, Status::Delivered, Some(record("heidi", 7))).unwrap();
    assert_eq!(told, ["heidi looked up: true", "fresh heidi at 7 by Supernode"]);
    assert_eq!(one.ask(heidi(), true, None), ["ask"]);
    let told = one.answer(HOME, Status::Delivered, Some(record("heidi", 8))).unwrap();
    assert_eq!(told, ["save heidi", "fresh heidi at 8 by Supernode"], "the new record, not the remembered one");
    assert_eq!(one.ask(heidi(), true, None), ["ask"]);
    assert_eq!(one.answer(HOME, Status::NotFound, None).unwrap(), ["erase heidi", "404"], "no user asked");
}
