//! The five processes of one chain, seen from the bench: started, connected, asked, ended.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::ask::{Answer, Ask, LAST, PLACES, RoundTrips};
use super::{Kind, Lap};
use crate::error::{LabError, io_error};
use crate::process::ProcessId;
use crate::role;

/// No order takes longer, what it measures left out
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Of each measured stretch of sending, this much before it is not counted: queues fill, processors speed up
const WARM_PART: u32 = 5;

/// The processes of one chain; they end when it is dropped, or when this process ends in whatever way
pub(super) struct Stage {
    kind: Kind,
    /// The actors in order, from the sender to the receiver
    actors: Vec<Actor>,
}

struct Actor {
    child: Child,
    asks: Option<ChildStdin>,
    answers: mpsc::Receiver<Answer>,
}

/// What went wrong in a chain
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Packets that forwarders passed on
    pub(super) forwarded: u64,
    /// Packets that anybody dropped
    pub(super) dropped: u64,
}

impl Stage {
    pub(super) fn start(kind: Kind, binary: &Path) -> Result<Self, LabError> {
        let actors = (0..PLACES).map(|place| Actor::start(kind, place, binary)).collect::<Result<_, _>>()?;
        let mut stage = Self { kind, actors };
        stage.connect()?;
        Ok(stage)
    }

    fn connect(&mut self) -> Result<(), LabError> {
        let mut places = Vec::new();
        for (place, actor) in self.actors.iter().enumerate() {
            let Answer::Listening { at } = actor.answer(ANSWER_LIMIT).map_err(self.named(place))? else {
                return Err(self.failed(place, "it does not say where it listens"));
            };
            places.push(at);
        }
        // Everybody at once: nobody is connected before both of its neighbours are.
        let mut nexts = places.into_iter().skip(1);
        for place in 0..PLACES {
            self.tell(place, &Ask::Connect { next: nexts.next() })?;
        }
        (0..PLACES).try_for_each(|place| self.await_done(place))
    }

    /// Sends messages of this size for a while, then makes sure that all have come; then one at a time
    pub(super) fn lap(&mut self, bytes: usize, sending: Duration, trips: Duration) -> Result<Lap, LabError> {
        let millis = |time: Duration| time.as_millis() as u64;
        let (warm_ms, measured_ms) = (millis(sending / WARM_PART), millis(sending));
        let cpu_before = self.cpu();
        self.tell(0, &Ask::Send { bytes })?;
        self.await_done(0)?;
        let count = Ask::Count { warm_ms, measured_ms };
        let Answer::Counted { messages, took_us } = self.ask(LAST, &count)? else { return self.odd(LAST) };
        let Answer::Sent { messages: sent } = self.ask(0, &Ask::Stop)? else { return self.odd(0) };
        let settle = Ask::Settle { messages: sent };
        let Answer::Settled { messages: arrived } = self.ask(LAST, &settle)? else { return self.odd(LAST) };
        let cpu_after = self.cpu();
        let round_trips = self.round_trips(bytes, millis(trips))?;
        let rate = messages as f64 * 1e6 / took_us.max(1) as f64;
        let (p50_us, p99_us) = (round_trips.p50_us, round_trips.p99_us);
        let spent = cpu_after.iter().zip(&cpu_before).map(|(after, before)| after.saturating_sub(*before));
        let spent: Vec<f64> = spent.map(|cpu| cpu.as_secs_f64() * 1e9 / sent.max(1) as f64).collect();
        let forwarders = spent.get(1..LAST).unwrap_or_default();
        let forwarder_ns = forwarders.iter().sum::<f64>() / forwarders.len().max(1) as f64;
        let cpu_ns = spent.iter().sum();
        Ok(Lap { rate, cpu_ns, forwarder_ns, p50_us, p99_us, sent, lost: sent.saturating_sub(arrived) })
    }

    /// Processor time of each process so far
    fn cpu(&self) -> Vec<Duration> {
        let usage = |actor: &Actor| ProcessId::of(actor.child.id()).and_then(|process| process.usage());
        let cpu = |actor| Duration::from_millis(usage(actor).map_or(0, |usage| usage.cpu_ms));
        self.actors.iter().map(cpu).collect()
    }

    fn round_trips(&mut self, bytes: usize, measured_ms: u64) -> Result<RoundTrips, LabError> {
        self.ask(LAST, &Ask::Echo { on: true })?;
        let Answer::RoundTrips(round_trips) = self.ask(0, &Ask::RoundTrips { bytes, measured_ms })? else {
            return self.odd(0);
        };
        self.ask(LAST, &Ask::Echo { on: false })?;
        Ok(round_trips)
    }

    /// What went wrong since the start
    pub(super) fn faults(&mut self) -> Result<Faults, LabError> {
        let mut faults = Faults::default();
        for place in 0..PLACES {
            let Answer::Faults { forwarded, dropped } = self.ask(place, &Ask::Faults)? else { return self.odd(place) };
            faults.forwarded += forwarded;
            faults.dropped += dropped;
        }
        Ok(faults)
    }

    fn ask(&mut self, place: usize, ask: &Ask) -> Result<Answer, LabError> {
        self.tell(place, ask)?;
        self.await_answer(place)
    }

    fn tell(&mut self, place: usize, ask: &Ask) -> Result<(), LabError> {
        let asks = self.actors.get_mut(place).and_then(|actor| actor.asks.as_mut());
        let told = asks.ok_or_else(|| "it has ended".to_owned()).and_then(|asks| {
            let line = serde_json::to_string(ask).map_err(|error| error.to_string())?;
            writeln!(asks, "{line}").and_then(|()| asks.flush()).map_err(|error| error.to_string())
        });
        told.map_err(self.named(place))
    }

    fn await_answer(&self, place: usize) -> Result<Answer, LabError> {
        let actor = self.actors.get(place).ok_or_else(|| self.failed(place, "no such place"))?;
        actor.answer(ANSWER_LIMIT).map_err(self.named(place))
    }

    fn await_done(&self, place: usize) -> Result<(), LabError> {
        match self.await_answer(place)? {
            Answer::Done => Ok(()),
            _ => self.odd(place),
        }
    }

    fn odd<T>(&self, place: usize) -> Result<T, LabError> {
        Err(self.failed(place, "its answer is to another question"))
    }

    fn failed(&self, place: usize, reason: &str) -> LabError {
        self.named(place)(reason.to_owned())
    }

    fn named(&self, place: usize) -> impl FnOnce(String) -> LabError + use<> {
        let kind = self.kind;
        move |reason| LabError::Bench { process: format!("{} {place}", kind.word()), reason }
    }
}

impl Actor {
    fn start(kind: Kind, place: usize, binary: &Path) -> Result<Self, LabError> {
        let mut command = Command::new(binary);
        command.args([super::ROLE, kind.word(), &place.to_string()]);
        role::without_settings(&mut command);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(io_error("start a process of the bench"))?;
        let asks = child.stdin.take();
        let (answered, answers) = mpsc::sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for answer in lines.map_while(|line| serde_json::from_str(&line).ok()) {
                    if answered.send(answer).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child, asks, answers })
    }

    fn answer(&self, limit: Duration) -> Result<Answer, String> {
        match self.answers.recv_timeout(limit) {
            Ok(Answer::Failed { reason }) => Err(reason),
            Ok(answer) => Ok(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", limit.as_secs())),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("it has ended".into()),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.asks = None;
        // It has nothing to lose, and may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
