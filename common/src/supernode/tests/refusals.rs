//! What refused logins write into the log: one event each, and no more a second than one where everybody sees it.

use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

use super::*;
use crate::crypto::Signature;

/// Level, event and count of each event
#[derive(Default)]
struct Log(Mutex<Vec<(Level, String, Option<u64>)>>);

#[derive(Default)]
struct Fields {
    event: String,
    count: Option<u64>,
}

impl Visit for Fields {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event = value.to_owned();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = Some(value);
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.event, fields.count));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is logged meanwhile, but for what is no refusal at the level of debug
fn logged(run: impl FnOnce()) -> Vec<(Level, String, Option<u64>)> {
    // While there is one subscriber in the process, tracing asks whoever meets an event first for his own alone: where another
    // test, which has none, is that, the event would be off here, too.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let log = Arc::new(Log::default());
    tracing::subscriber::with_default(Arc::clone(&log), run);
    let mut events = log.0.lock().unwrap().clone();
    events.retain(|(level, event, _)| *level <= Level::INFO || event.contains("refused"));
    events
}

#[test]
fn refused_logins_are_one_event_each_and_one_a_second_at_most_for_everybody_to_see() {
    let mut bench = Bench::of(1);
    // The owner of the name is in; whoever else wants it is refused by the directory, or by its wrong signature.
    let taken = |bench: &mut Bench, link: u64| {
        bench.open(link, 7);
        let Frame::Login(login) = login_as(7, name(1), None) else { unreachable!() };
        let signature = if link.is_multiple_of(2) { login.signature } else { Signature([1; 64]) };
        bench.frame(link, Frame::Login(Login { signature, ..login }));
        bench.settle();
        bench.close(link);
        bench.settle();
    };
    let refused = |level, count| (level, "login_refused".to_owned(), count);
    let events = logged(|| (10..15).for_each(|link| taken(&mut bench, link)));
    let mut expected = vec![refused(Level::INFO, Some(1))];
    expected.extend((0..4).map(|_| refused(Level::DEBUG, None)));
    assert_eq!(events, expected);
    bench.wait(millis(1_000));
    assert_eq!(logged(|| taken(&mut bench, 15)), [refused(Level::INFO, Some(5))]);
}
