//! The functions that a peer evaluates for others.
//!
//! | function | arguments | result |
//! |---|---|---|
//! | `echo` | any | the arguments, joined by a space |
//! | `functions` | none | the functions that its caller may call, as a JSON object |
//! | `status` | none | a short JSON object |
//! | `time` | none | the time of day, RFC 3339, UTC |
//!
//! Beside these there are those of the configuration ([`Own`]), each of which runs a program for those whom its rule names; nothing
//! that comes over the wire chooses code otherwise. A call that is repeated does not come here twice, unless this peer has started
//! again meanwhile.

mod own;
mod run;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::wire::content::{Call, VALUE_BYTES_MAX};
use kith_runtime::control::peer::{Function, FunctionsResult};
use tokio::sync::Semaphore;

pub(crate) use self::own::Own;
use self::run::RUNNING_MAX;
pub(crate) use self::run::{Job, run};

/// Functions of the configuration: a table of them is no longer than a result may be
pub(crate) const OWN_MAX: usize = 256;

/// What every peer has, with its arguments, in the order of the alphabet
const BUILT_IN: [(&str, &str); 4] = [("echo", "text..."), ("functions", ""), ("status", ""), ("time", "")];

/// What a call comes to: the status and the body of its reply
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// 200; 400 for arguments that it does not take; 403 for somebody else's function; 404 for an unknown one; 413 for too long a
    /// result; 500 for a program that has failed
    pub status: Status,
    /// The result if the status is 200, else the reason
    pub body: Vec<u8>,
}

impl Outcome {
    fn new(status: Status, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        if body.len() <= VALUE_BYTES_MAX {
            return Self { status, body };
        }
        Self { status: Status::TooLarge, body: b"the result does not fit in a message".to_vec() }
    }
}

/// How a call goes on
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Evaluation {
    Done(Outcome),
    /// A program is to be run ([`run`])
    Runs(Job),
}

pub(crate) struct Functions {
    status: Box<dyn Fn() -> String + Send + Sync>,
    own: Vec<Own>,
    /// For programs that run
    places: Arc<Semaphore>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Functions {
    /// `status` makes the result of the function of that name; it must not block, and whoever may send here sees it
    pub(crate) fn new(status: impl Fn() -> String + Send + Sync + 'static, own: Vec<Own>) -> Self {
        Self { status: Box::new(status), own, places: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }

    /// Evaluates a call, by somebody or by the own user; never fails but by the outcome's status
    pub(crate) fn evaluate(&self, caller: Option<&Name>, call: &Call, now: SystemTime) -> Evaluation {
        Evaluation::Done(match &*call.function {
            "echo" => echo(call),
            "functions" => without_arguments(call, || self.list(caller)),
            "status" => without_arguments(call, || (self.status)()),
            "time" => without_arguments(call, || rfc3339(now)),
            name => match self.own.iter().find(|own| own.name() == name) {
                Some(own) if own.is_for(caller) => match own.job(caller, &call.arguments) {
                    Ok(job) => return Evaluation::Runs(job),
                    Err(reason) => Outcome::new(Status::Malformed, reason),
                },
                Some(own) => Outcome::new(Status::NotAllowed, format!("{} is for others", own.name())),
                None => self.unknown(caller, name),
            },
        })
    }

    /// Runs a program when one of [`RUNNING_MAX`] has ended
    pub(crate) fn run(&self, job: Job) -> impl Future<Output = Outcome> + Send + 'static {
        run(job, Arc::clone(&self.places))
    }

    fn list(&self, caller: Option<&Name>) -> String {
        let built_in = BUILT_IN.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned()));
        let own = self.own.iter().filter(|own| own.is_for(caller)).map(|own| (own.name().to_owned(), own.arguments()));
        let functions = built_in.chain(own).map(|(name, arguments)| Function { name, arguments }).collect();
        // Texts always have a JSON form.
        serde_json::to_string(&FunctionsResult { functions }).unwrap_or_default()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        BUILT_IN.iter().map(|(name, _)| *name).chain(self.own.iter().map(Own::name))
    }

    fn unknown(&self, caller: Option<&Name>, name: &str) -> Outcome {
        tracing::debug!(reason = "no such function", "call refused");
        let is_for = |known: &&str| self.own.iter().all(|own| own.name() != *known || own.is_for(caller));
        let known: Vec<&str> = self.names().filter(is_for).collect();
        Outcome::new(Status::NotFound, format!("no function {name:?}; there are {}", known.join(", ")))
    }
}

/// Whether a function of one's own would never be called, as every peer has one of that name
pub(crate) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(of, _)| *of == name)
}

fn echo(call: &Call) -> Outcome {
    let arguments: Vec<&[u8]> = call.arguments.iter().map(|argument| &**argument).collect();
    Outcome::new(Status::Delivered, arguments.join(&b' '))
}

fn without_arguments(call: &Call, result: impl FnOnce() -> String) -> Outcome {
    if call.arguments.is_empty() {
        return Outcome::new(Status::Delivered, result());
    }
    Outcome::new(Status::Malformed, format!("{} takes no arguments", call.function))
}

/// `2026-01-31T23:59:59.250Z`; a moment before 1970 is taken for the beginning of 1970
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (second / 3_600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01
///
/// Counted in years that begin in March, so that the leap day is a year's last and each month's first day is a line in
/// fifths: Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + (month <= 2) as u64, month, day)
}

#[cfg(test)]
mod tests {
    use kith_common::wire::bounded::{Bounded, Text};

    use super::*;

    fn evaluate(function: &str, arguments: &[&[u8]]) -> (u16, Vec<u8>) {
        let own = ["sum(number...) for alice: /bin/sum", "date() for bob: /bin/date"];
        let own = own.map(|text| text.parse().unwrap()).to_vec();
        let functions = Functions::new(|| r#"{"state":"logged_in"}"#.to_owned(), own);
        let arguments = arguments.iter().map(|argument| argument.to_vec().try_into().unwrap());
        let call = Call { function: Text::truncated(function), arguments: Bounded::truncated(arguments) };
        let alice = "alice".parse().unwrap();
        match functions.evaluate(Some(&alice), &call, UNIX_EPOCH + Duration::from_millis(1_000_000_000_123)) {
            Evaluation::Done(Outcome { status, body }) => (status.code(), body),
            Evaluation::Runs(job) => (202, job.arguments.join(" ").into_bytes()),
        }
    }

    #[test]
    fn echo_joins_its_arguments_by_a_space() {
        assert_eq!(evaluate("echo", &[]), (200, vec![]));
        assert_eq!(evaluate("echo", &[b"a", b"", &[0xff]]), (200, b"a  \xff".to_vec()));
    }

    #[test]
    fn echo_over_the_size_of_a_message_is_413() {
        let half = vec![b'x'; VALUE_BYTES_MAX / 2];
        assert_eq!(evaluate("echo", &[&half, &half]).0, 413);
        assert_eq!(evaluate("echo", &[&half, &half[1..]]).0, 200);
    }

    #[test]
    fn status_is_what_the_closure_says() {
        assert_eq!(evaluate("status", &[]), (200, br#"{"state":"logged_in"}"#.to_vec()));
    }

    #[test]
    fn time_is_rfc_3339_in_utc() {
        assert_eq!(evaluate("time", &[]), (200, b"2001-09-09T01:46:40.123Z".to_vec()));
    }

    #[test]
    fn arguments_where_there_should_be_none_are_400() {
        assert_eq!(evaluate("time", &[b"UTC"]), (400, b"time takes no arguments".to_vec()));
    }

    #[test]
    fn unknown_function_is_404_with_the_list_of_what_there_is() {
        let there_are = br#"no function "Echo"; there are echo, functions, status, time, sum"#;
        assert_eq!(evaluate("Echo", &[]), (404, there_are.to_vec()));
        for (function, _) in BUILT_IN {
            assert_eq!(evaluate(function, &[]).0, 200, "{function} is in the list");
        }
    }

    #[test]
    fn function_of_ones_own_runs_for_whom_it_names_with_arguments_that_it_takes() {
        assert_eq!(evaluate("sum", &[b"1", b"2"]), (202, b"1 2".to_vec()));
        assert_eq!(evaluate("sum", &[b"a"]).0, 400);
        assert_eq!(evaluate("date", &[]), (403, b"date is for others".to_vec()));
        let listed = String::from_utf8(evaluate("functions", &[]).1).unwrap();
        assert!(listed.contains(r#"{"name":"sum","arguments":"number..."}"#) && !listed.contains("date"), "{listed}");
    }

    #[test]
    fn dates_are_right_around_leap_days_and_turns_of_centuries() {
        let date = |secs| rfc3339(UNIX_EPOCH + Duration::from_secs(secs))[..10].to_owned();
        let dates = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ];
        for (secs, expected) in dates {
            assert_eq!(date(secs), expected);
        }
    }
}
