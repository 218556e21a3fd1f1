//! `kith-lab bench home`: a home is killed again and again, under messages between its peers and look-ups of theirs, and
//! started again: nobody should lose a message by it, and look-ups should go on soon.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kith_common::status::Status;
use kith_runtime::control::peer::{LookupAnswer, Request, Source};
use kith_runtime::host::raise_file_limit;
use serde_json::json;

use crate::draw::Draw;
use crate::error::LabError;
use crate::flow::{Flow, Sent, Summary};
use crate::goals::{self, Figure, rank};
use crate::mesh::Lab;
use crate::node::Node;
use crate::options::{Options, Progress};
use crate::output;
use crate::role::Role;

/// From one message to the next
const SEND_EVERY: Duration = Duration::from_millis(20);
/// From the answer to a look-up to the next one
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);
/// From one kill to the next: whoever loses homes more often than every ten seconds is held back, which is another matter
const KILL_EVERY: Duration = Duration::from_secs(11);
/// So long messages flow and look-ups are answered before the kill: what gaps there are then are the machine's own
const BEFORE: Duration = Duration::from_secs(2);
/// So long they go on after it at least
const AFTER: Duration = Duration::from_secs(2);
/// … and at most, while look-ups have no sure answer
const AFTER_LIMIT: Duration = Duration::from_secs(15);
/// Until a look-up is given up: longer than a peer looks
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// Until all is as before, from one round to the next
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// Peers of the killed home that look others up
const LOOKERS: usize = 3;

/// The longest time without an arrival, less the time between two messages, in milliseconds
const GAP_GOAL: f64 = 100.0;
/// From the kill until a look-up has a sure answer, where the home did not lead
const SURE_GOAL: f64 = 1.5;
/// … and where it did
const SURE_LED_GOAL: f64 = 3.0;
/// How long any look-up waits for an answer that may be old, and says so
const STALE_GOAL: f64 = 1.5;

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct HomeOptions {
    pub(crate) lab: Options,
    pub(crate) rounds: usize,
    pub(crate) json: bool,
}

/// What came of all rounds so far
#[derive(Clone, Debug, Default)]
struct Book {
    /// Rounds in which the home led
    led: usize,
    rounds: usize,
    messages: usize,
    lost: usize,
    /// Of each flow, in milliseconds
    gaps: Vec<f64>,
    /// … before the kill
    calm_gaps: Vec<f64>,
    /// Of each peer that looks others up, in seconds since the kill; infinite if there was none
    sure: Vec<f64>,
    sure_led: Vec<f64>,
    /// Of each look-up with an answer that may be old, in seconds since it was asked
    stale: Vec<f64>,
    /// Look-ups without any answer
    unanswered: usize,
}

/// What a round and those that look others up in it tell each other
#[derive(Debug, Default)]
struct Signs {
    is_killed: AtomicBool,
    /// How many of them have had a sure answer since
    sure: AtomicUsize,
    is_over: AtomicBool,
}

/// A look-up
#[derive(Clone, Debug)]
struct LookedUp {
    asked: Instant,
    took: Duration,
    /// None without an answer
    is_sure: Option<bool>,
}

/// Kills homes for so many rounds, and says what came of it; whether every goal was reached
///
/// # Errors
/// The lab did not come up, or was not whole again after a kill. All processes have ended then.
pub(crate) fn run(options: &HomeOptions) -> Result<bool, LabError> {
    raise_file_limit();
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    let mut draw = Draw::new(lab.state()?.seed, "homes");
    let mut book = Book::default();
    for number in 1..=options.rounds {
        let next_kill = Instant::now() + KILL_EVERY;
        let (victim, leads, guests) = choose(&lab, &book, &mut draw)?;
        let done = round(&lab, &victim, leads, &guests, &mut book)?;
        let leads = if leads { "which led" } else { "which did not lead" };
        lab.progress().say(&format!("{number:>3} of {}: {victim}, {leads}: {done}", options.rounds));
        if number < options.rounds {
            thread::sleep(next_kill.saturating_duration_since(Instant::now()));
        }
    }
    lab.down()?;
    let figures = book.figures();
    if options.json {
        output::line(&json!({ "rounds": book.rounds, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

/// A supernode that is the home of two peers or more: one that leads, or one that does not, of whom there were fewer so far
fn choose(lab: &Lab, book: &Book, draw: &mut Draw) -> Result<(String, bool, Vec<Node>), LabError> {
    let leader = lab.leader()?.name;
    let peers = lab.running(Role::Peer)?;
    let mut homes = Vec::new();
    for supernode in lab.running(Role::Supernode)? {
        let listen = supernode.listen()?;
        let mut guests = Vec::new();
        for peer in &peers {
            if peer.status()?.answer.home.is_some_and(|home| listen.contains(&home.location)) {
                guests.push(peer.clone());
            }
        }
        homes.push((supernode.name.clone(), supernode.name == leader, guests));
    }
    homes.retain(|(_, _, guests)| guests.len() > 1);
    draw.shuffle(&mut homes);
    let wants_leader = book.led * 2 < book.rounds;
    homes.sort_by_key(|(_, leads, _)| *leads != wants_leader);
    homes.into_iter().next().ok_or_else(|| LabError::NoSupernode("none is the home of two peers".into()))
}

/// Kills a home under messages and look-ups of its guests, and starts it again; in a few words what came of it
fn round(lab: &Lab, victim: &str, leads: bool, guests: &[Node], book: &mut Book) -> Result<String, LabError> {
    let (Some(one), Some(other)) = (guests.first(), guests.get(1)) else {
        return Err(LabError::NoSupernode(format!("{victim} is no home of two peers")));
    };
    let flows = [(one, other), (other, one)].map(|(from, to)| Flow::start(from.clone(), to.name.clone(), SEND_EVERY));
    let names: Vec<String> = lab.running(Role::Peer)?.into_iter().map(|peer| peer.name).collect();
    let (signs, lookers) = (Signs::default(), guests.iter().take(LOOKERS));
    let (killed, looked_up) = thread::scope(|scope| {
        let threads: Vec<_> = lookers.map(|guest| scope.spawn(|| look_up_until(guest, &names, &signs))).collect();
        thread::sleep(BEFORE);
        let killed = Instant::now();
        let killed = lab.kill(victim).map(|()| killed);
        signs.is_killed.store(true, Ordering::Relaxed);
        if let Ok(killed) = &killed {
            let wants_more = || killed.elapsed() < AFTER || signs.sure.load(Ordering::Relaxed) < threads.len();
            while wants_more() && killed.elapsed() < AFTER_LIMIT {
                thread::sleep(LOOK_UP_EVERY);
            }
        }
        signs.is_over.store(true, Ordering::Relaxed);
        let looked_up: Vec<Vec<LookedUp>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
        (killed, looked_up)
    });
    let (sent, killed) = (flows.map(Flow::stop), killed?);
    for sent in &sent {
        let calm: Vec<Sent> = sent.iter().filter(|message| message.done < killed).cloned().collect();
        book.calm_gaps.push(gap_ms(&Summary::of(&calm, SEND_EVERY)));
    }
    let summaries = sent.map(|sent| Summary::of(&sent, SEND_EVERY));
    let done = book.note(leads, killed, &summaries, &looked_up);
    lab.start_and_wait(victim)?;
    lab.wait_agreed()?;
    lab.settle("everybody to hold their links", SETTLE_LIMIT)?;
    Ok(done)
}

/// Looks one after the other of these up
fn look_up_until(at: &Node, names: &[String], signs: &Signs) -> Vec<LookedUp> {
    let (mut looked_up, mut was_sure) = (Vec::new(), false);
    for name in names.iter().filter(|name| **name != at.name).cycle() {
        if signs.is_over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(name) = name.parse() else { continue };
        let (is_killed, asked) = (signs.is_killed.load(Ordering::Relaxed), Instant::now());
        let answer = at.ask::<LookupAnswer>(&Request::Lookup { name }, ANSWER_LIMIT);
        let answer = answer.ok().filter(|done| done.status == Status::Delivered).map(|done| done.answer);
        let is_sure = answer.map(|answer| !answer.stale && answer.source == Source::Supernode);
        if is_killed && is_sure == Some(true) && !was_sure {
            was_sure = true;
            signs.sure.fetch_add(1, Ordering::Relaxed);
        }
        looked_up.push(LookedUp { asked, took: asked.elapsed(), is_sure });
        thread::sleep(LOOK_UP_EVERY);
    }
    looked_up
}

/// The longest time without an arrival, less the time between two messages, in milliseconds
fn gap_ms(flow: &Summary) -> f64 {
    flow.outage.as_secs_f64() * 1e3
}

impl Book {
    fn note(&mut self, leads: bool, killed: Instant, flows: &[Summary], looked_up: &[Vec<LookedUp>]) -> String {
        self.rounds += 1;
        self.led += usize::from(leads);
        let gap = flows.iter().map(gap_ms).fold(0.0, f64::max);
        let lost: usize = flows.iter().map(|flow| flow.failed + flow.unknown).sum();
        self.messages += flows.iter().map(|flow| flow.messages).sum::<usize>();
        self.lost += lost;
        self.gaps.extend(flows.iter().map(gap_ms));
        let mut slowest = 0.0_f64;
        for looked_up in looked_up {
            let after = || looked_up.iter().filter(|look_up| look_up.asked >= killed);
            let first = after().find(|look_up| look_up.is_sure == Some(true));
            let sure = first.map_or(f64::INFINITY, |first| (first.asked + first.took - killed).as_secs_f64());
            slowest = slowest.max(sure);
            if leads {
                self.sure_led.push(sure)
            } else {
                self.sure.push(sure)
            }
            let stale = looked_up.iter().filter(|look_up| look_up.is_sure == Some(false));
            self.stale.extend(stale.map(|look_up| look_up.took.as_secs_f64()));
            self.unanswered += looked_up.iter().filter(|look_up| look_up.is_sure.is_none()).count();
        }
        format!("{lost} messages lost, a gap of {gap:.0} ms, sure look-ups after {slowest:.2} s")
    }

    fn figures(&self) -> Vec<Figure> {
        let worst = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        // Where there was none it is never.
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        vec![
            Figure::told("rounds", self.rounds as f64, ""),
            Figure::told("… in which the home led", self.led as f64, ""),
            Figure::told("messages", self.messages as f64, ""),
            Figure::at_most("messages lost", Some(self.lost as f64), 0.0, ""),
            Figure::told("longest gap of a flow before the kill, the worst", worst(&self.calm_gaps), "ms"),
            Figure::told("longest gap of a flow, half of them", rank(&self.gaps, 50), "ms"),
            Figure::at_most("longest gap of a flow, the worst", Some(worst(&self.gaps)), GAP_GOAL, "ms"),
            Figure::at_most(
                "sure look-ups where it did not lead, 99 of a hundred",
                finite(rank(&self.sure, 99)),
                SURE_GOAL,
                "s",
            ),
            Figure::told("… half of them", rank(&self.sure, 50), "s"),
            Figure::at_most(
                "sure look-ups where it led, 99 of a hundred",
                finite(rank(&self.sure_led, 99)),
                SURE_LED_GOAL,
                "s",
            ),
            Figure::told("… half of them", rank(&self.sure_led, 50), "s"),
            Figure::told("look-ups with answers that may be old", self.stale.len() as f64, ""),
            Figure::at_most("… the slowest of them", Some(worst(&self.stale)), STALE_GOAL, "s"),
            Figure::at_most("look-ups without an answer", Some(self.unanswered as f64), 0.0, ""),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_answers_count_from_the_kill_and_old_ones_from_their_question() {
        let killed = Instant::now();
        let look_up = |asked_ms: u64, took_ms: u64, is_sure| LookedUp {
            asked: killed + Duration::from_millis(asked_ms),
            took: Duration::from_millis(took_ms),
            is_sure,
        };
        let flow = Summary::of(&[], SEND_EVERY);
        let mut book = Book::default();
        let answers = vec![look_up(10, 20, Some(false)), look_up(50, 800, None), look_up(900, 100, Some(true))];
        book.note(true, killed, &[flow], &[answers, vec![look_up(5, 1, Some(false))]]);
        assert_eq!((book.rounds, book.led, book.unanswered), (1, 1, 1));
        assert_eq!(book.sure_led, [1.0, f64::INFINITY]);
        assert_eq!(book.stale, [0.02, 0.001]);
        let missed: Vec<String> = book.figures().iter().filter(|f| !f.held).map(|f| f.what.clone()).collect();
        assert_eq!(missed, ["sure look-ups where it led, 99 of a hundred", "look-ups without an answer"]);
    }
}
