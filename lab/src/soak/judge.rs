//! Whether what became of the messages of a pair is what their sender was told.
//!
//! What is judged is what the two applications saw: the sender's, which asked its daemon and was answered or not, and the
//! receiver's, which reads its in-box. Nothing of what a daemon says of itself counts, but for the fates, which are held
//! against the receiver's book.
//!
//! *The order* of a pair is the order in which its messages were asked for: over one connection a daemon accepts in that
//! order. A daemon that was killed and started again goes on with the messages that it has on disk, and those that are
//! asked for later come behind them. So a restart of either end excuses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use kith_common::id::MessageId;
use kith_common::status::Status;

/// What an application knows of a message that it has asked for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: its daemon has not answered. It may arrive, once at most.
    Unsure,
    /// The daemon has it, by its word
    Accepted(MessageId),
    /// The daemon has not taken it, by its word
    Refused,
}

/// What the daemon said when it was asked for a fate
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The message's fate; never 202, which is none yet
    Fate(Status),
    /// It knows no message with this id
    Nothing,
}

/// A message that was asked for; its number is its place among those of its pair
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// When, since the beginning
    pub(super) asked: Duration,
    pub(super) answer: Answer,
    /// The status of that answer
    pub(super) said: Option<Status>,
    pub(super) told: Option<Told>,
    /// What was told before, of one that was asked about twice
    pub(super) told_before: Option<Told>,
}

/// A message in an in-box, as its reader saw it the first time
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Its place in the in-box, one of all senders
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    /// By its body
    pub(super) number: u64,
    /// When, since the beginning
    pub(super) at: Duration,
}

/// What must never be
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It was accepted, and has not arrived
    Lost,
    /// It has two places in the in-box
    Doubled,
    /// It came behind a later one of its pair
    OutOfOrder,
    /// Its fate says that it arrived, and it has not, or the other way round
    FalseFate,
    /// Its fate is not known, though it was accepted
    NoFate,
    /// Its fate was another one before
    OtherFate,
    /// It was refused, and has arrived all the same
    Refused,
    /// It arrived under another id than that which its sender was told, or was never asked for
    Stranger,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Lost,
        Self::Doubled,
        Self::OutOfOrder,
        Self::FalseFate,
        Self::NoFate,
        Self::OtherFate,
        Self::Refused,
        Self::Stranger,
    ];

    /// What a figure counts
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Lost => "accepted and never delivered",
            Self::Doubled => "delivered twice",
            Self::OutOfOrder => "delivered out of order",
            Self::FalseFate => "fates that are not true",
            Self::NoFate => "accepted and without a known fate",
            Self::OtherFate => "fates that became other ones",
            Self::Refused => "refused and delivered all the same",
            Self::Stranger => "delivered under another id, or never sent",
        }
    }
}

/// One message of which something is wrong
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// What is known of it
    pub(super) text: String,
}

/// What came of the messages of one pair
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) unsure: usize,
    /// Of those, how many have arrived
    pub(super) unsure_arrived: usize,
    /// Fates that say that it may have arrived
    pub(super) open: usize,
    /// Of those, how many have
    pub(super) open_arrived: usize,
    /// Seconds from the asking to the receiver's reading, of those that were accepted and arrived
    pub(super) took_s: Vec<f64>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Verdict {
    /// As if both were of one pair
    pub(super) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unsure += other.unsure;
        self.unsure_arrived += other.unsure_arrived;
        self.open += other.open;
        self.open_arrived += other.open_arrived;
        self.took_s.extend(other.took_s);
        self.mistakes.extend(other.mistakes);
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked for at {:.3} s", self.asked.as_secs_f64())?;
        match self.answer {
            Answer::Unsure => f.write_str(", not answered")?,
            Answer::Accepted(id) => write!(f, ", accepted as {id:?}")?,
            Answer::Refused => f.write_str(", refused")?,
        }
        if let Some(status) = self.said {
            write!(f, " with {status}")?;
        }
        for (told, when) in [(self.told_before, "fate before"), (self.told, "fate")] {
            match told {
                Some(Told::Fate(status)) => write!(f, ", {when} {status}")?,
                Some(Told::Nothing) => write!(f, ", {when} unknown to its daemon")?,
                None => {}
            }
        }
        Ok(())
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, id, at, .. } = self;
        write!(f, "in-box {sequence} as {id:?} at {:.3} s", at.as_secs_f64())
    }
}

/// Judges what became of the messages of one pair, in any order of the arrivals
pub(super) fn judge(records: &[Record], arrivals: &[Arrival]) -> Verdict {
    let mut by_number: BTreeMap<u64, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        by_number.entry(arrival.number).or_default().push(arrival);
    }
    let mut verdict = Verdict::default();
    for (number, record) in (0_u64..).zip(records) {
        let came = by_number.remove(&number).unwrap_or_default();
        judge_one(number, record, &came, &mut verdict);
    }
    for (number, came) in by_number {
        let text = came.iter().map(|arrival| arrival.to_string()).collect::<Vec<_>>().join(" and ");
        verdict.mistakes.push(Mistake { kind: Kind::Stranger, number, text: format!("never asked for, {text}") });
    }
    verdict.mistakes.extend(out_of_order(records, arrivals));
    verdict
}

fn judge_one(number: u64, record: &Record, came: &[&Arrival], verdict: &mut Verdict) {
    let has_come = !came.is_empty();
    let mut kinds = Vec::new();
    match record.answer {
        Answer::Unsure => {
            verdict.unsure += 1;
            verdict.unsure_arrived += usize::from(has_come);
        }
        Answer::Refused => {
            verdict.refused += 1;
            kinds.extend(has_come.then_some(Kind::Refused));
        }
        Answer::Accepted(id) => {
            verdict.accepted += 1;
            let first = came.iter().map(|arrival| arrival.at).min();
            verdict.took_s.extend(first.map(|at| at.saturating_sub(record.asked).as_secs_f64()));
            kinds.extend((!has_come).then_some(Kind::Lost));
            kinds.extend(came.iter().any(|arrival| arrival.id != id).then_some(Kind::Stranger));
            match record.told {
                None | Some(Told::Nothing) => kinds.push(Kind::NoFate),
                Some(Told::Fate(Status::TimedOut)) => {
                    verdict.open += 1;
                    verdict.open_arrived += usize::from(has_come);
                }
                Some(Told::Fate(status)) if (status == Status::Delivered) != has_come => kinds.push(Kind::FalseFate),
                Some(Told::Fate(_)) => {}
            }
            kinds.extend(
                record.told_before.is_some_and(|before| record.told != Some(before)).then_some(Kind::OtherFate),
            );
        }
    }
    kinds.extend((came.len() > 1).then_some(Kind::Doubled));
    if !kinds.is_empty() {
        let mut text = record.to_string();
        came.iter().for_each(|arrival| text += &format!("; {arrival}"));
        verdict.mistakes.extend(kinds.into_iter().map(|kind| Mistake { kind, number, text: text.clone() }));
    }
}

/// Those that have a place in the in-box behind a later one; of one with several places the first counts
fn out_of_order(records: &[Record], arrivals: &[Arrival]) -> Vec<Mistake> {
    let mut in_order = arrivals.to_vec();
    in_order.sort_by_key(|arrival| arrival.sequence);
    let (mut seen, mut latest, mut mistakes) = (BTreeSet::new(), None::<Arrival>, Vec::new());
    for arrival in in_order.into_iter().filter(|arrival| seen.insert(arrival.number)) {
        match latest {
            Some(later) if later.number > arrival.number => {
                let record = usize::try_from(arrival.number).ok().and_then(|at| records.get(at));
                let record = record.map(Record::to_string).unwrap_or_default();
                let text = format!("{record}; {arrival}, behind message {} with {later}", later.number);
                mistakes.push(Mistake { kind: Kind::OutOfOrder, number: arrival.number, text });
            }
            _ => latest = Some(arrival),
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    const MESSAGES: u64 = 500;

    fn id(number: u64) -> MessageId {
        format!("{number:032x}").parse().expect("an id")
    }

    fn record(number: u64, answer: Answer, told: Option<Told>) -> Record {
        Record { asked: Duration::from_millis(number), answer, said: None, told, told_before: None }
    }

    /// A run of which nothing is wrong: some were refused, some have no answer, one in two of which has arrived
    fn sound(draw: &mut Draw) -> (Vec<Record>, Vec<Arrival>) {
        let (mut records, mut arrivals) = (Vec::new(), Vec::new());
        for number in 0..MESSAGES {
            let (answer, told, comes) = match draw.below(10) {
                0 => (Answer::Refused, None, false),
                1 => (Answer::Unsure, None, draw.below(2) == 0),
                _ => (Answer::Accepted(id(number)), Some(Told::Fate(Status::Delivered)), true),
            };
            records.push(record(number, answer, told));
            if comes {
                let at = Duration::from_millis(number + 5);
                arrivals.push(Arrival { sequence: 7 * number + 1, id: id(number), number, at });
            }
        }
        (records, arrivals)
    }

    fn accepted(draw: &mut Draw, records: &[Record]) -> usize {
        loop {
            let at = draw.below(records.len() - 1);
            if matches!(records[at].answer, Answer::Accepted(_)) {
                return at;
            }
        }
    }

    fn place(arrivals: &[Arrival], number: usize) -> usize {
        arrivals.iter().position(|arrival| arrival.number == number as u64).expect("it has arrived")
    }

    fn kinds(verdict: &Verdict) -> Vec<(Kind, u64)> {
        verdict.mistakes.iter().map(|mistake| (mistake.kind, mistake.number)).collect()
    }

    /// For each seed a sound run with a mistake made in it: which kinds it is seen as, all of one message
    fn assert_seen(expected: &[Kind], mistake: impl Fn(usize, &mut Vec<Record>, &mut Vec<Arrival>)) {
        for seed in 0..20 {
            let mut draw = Draw::new(seed, "mistakes");
            let (mut records, mut arrivals) = sound(&mut draw);
            assert_eq!(kinds(&judge(&records, &arrivals)), [], "seed {seed}: nothing is wrong");
            let number = accepted(&mut draw, &records);
            mistake(number, &mut records, &mut arrivals);
            let expected: Vec<_> = expected.iter().map(|kind| (*kind, number as u64)).collect();
            assert_eq!(kinds(&judge(&records, &arrivals)), expected, "seed {seed}");
        }
    }

    #[test]
    fn lost_message_is_seen_and_so_is_the_fate_that_denies_it() {
        assert_seen(&[Kind::Lost, Kind::FalseFate], |number, _, arrivals| {
            arrivals.remove(place(arrivals, number));
        });
        assert_seen(&[Kind::Lost], |number, records, arrivals| {
            arrivals.remove(place(arrivals, number));
            records[number].told = Some(Told::Fate(Status::NotFound));
        });
    }

    #[test]
    fn doubled_message_is_seen_once_wherever_its_second_place_is() {
        for later in [1, 100_000] {
            assert_seen(&[Kind::Doubled], |number, _, arrivals| {
                let arrival = arrivals[place(arrivals, number)];
                arrivals.push(Arrival { sequence: arrival.sequence + later, ..arrival });
            });
        }
    }

    #[test]
    fn swapped_messages_are_seen_at_the_earlier_one() {
        assert_seen(&[Kind::OutOfOrder], |number, _, arrivals| {
            let at = place(arrivals, number);
            // The last one has nobody to be swapped with.
            let (earlier, later) = (arrivals[at].sequence, arrivals.get(at + 1).map_or(u64::MAX, |next| next.sequence));
            arrivals[at].sequence = later;
            match arrivals.get_mut(at + 1) {
                Some(next) => next.sequence = earlier,
                None => arrivals.push(Arrival { sequence: 0, number: number as u64 + 1, ..arrivals[at] }),
            }
        });
    }

    #[test]
    fn false_unknown_and_changed_fates_are_seen() {
        for status in [Status::NotFound, Status::Gone, Status::SlowDown, Status::Unavailable] {
            let told = Some(Told::Fate(status));
            assert_seen(&[Kind::FalseFate], |number, records, _| records[number].told = told);
        }
        for told in [None, Some(Told::Nothing)] {
            assert_seen(&[Kind::NoFate], |number, records, _| records[number].told = told);
        }
        assert_seen(&[Kind::OtherFate], |number, records, _| {
            records[number].told_before = Some(Told::Fate(Status::TimedOut));
        });
    }

    #[test]
    fn message_under_another_id_and_one_that_nobody_sent_are_seen() {
        assert_seen(&[Kind::Stranger], |number, _, arrivals| {
            let at = place(arrivals, number);
            arrivals[at].id = id(MESSAGES + 1);
        });
        let (records, mut arrivals) = sound(&mut Draw::new(1, "mistakes"));
        let at = Duration::from_secs(1);
        arrivals.push(Arrival { sequence: 1 << 40, id: id(MESSAGES), number: MESSAGES, at });
        assert_eq!(kinds(&judge(&records, &arrivals)), [(Kind::Stranger, MESSAGES)]);
    }

    #[test]
    fn refused_message_that_arrives_is_seen_and_unsure_one_may_arrive_once_in_its_place() {
        assert_seen(&[Kind::Refused], |number, records, _| records[number] = record(0, Answer::Refused, None));
        assert_seen(&[], |number, records, _| records[number] = record(0, Answer::Unsure, None));
        assert_seen(&[Kind::Doubled], |number, records, arrivals| {
            records[number] = record(0, Answer::Unsure, None);
            let arrival = arrivals[place(arrivals, number)];
            arrivals.push(Arrival { sequence: 1 << 40, ..arrival });
        });
    }

    #[test]
    fn message_that_may_have_arrived_by_its_fate_may_be_either_but_is_lost_if_it_has_not() {
        let told = Some(Told::Fate(Status::TimedOut));
        assert_seen(&[], |number, records, _| records[number].told = told);
        assert_seen(&[Kind::Lost], |number, records, arrivals| {
            records[number].told = told;
            arrivals.remove(place(arrivals, number));
        });
        let arrival = Arrival { sequence: 1, id: id(0), number: 0, at: Duration::from_secs(3) };
        let verdict = judge(&[record(0, Answer::Accepted(id(0)), told)], &[arrival]);
        assert_eq!((verdict.open, verdict.open_arrived, verdict.took_s.as_slice()), (1, 1, [3.0].as_slice()));
    }
}
