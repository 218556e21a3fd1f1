//! `kith-lab demo`: a mesh loses the forwarder that carries a flow of messages, heals, and gets it back; then it loses
//! the supernode that leads.
//!
//! Every step is checked, and the demo has held only if every step has.

mod leader;
mod report;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kith_common::id::MessageId;
use kith_runtime::cli::count;
use kith_runtime::control::peer::InboxLine;

use crate::draw::Draw;
use crate::error::LabError;
use crate::fate::Fate;
use crate::flow::{Flow, Sent, Summary};
use crate::graph;
use crate::mesh::Lab;
use crate::node::Node;
use crate::observe::{Change, Observer, What};
use crate::options::{Options, Progress};
use crate::output;
use crate::process::Condition;
use crate::verify;

pub(crate) use report::{Report, Run, Step};

/// One message each: a hundred arrive in the time in which a person notices that nothing does
const SEND_EVERY: Duration = Duration::from_millis(20);
/// The flow before the kill: long enough to be seen to be steady
const FLOW_BEFORE: Duration = Duration::from_millis(1_500);
/// The flow after the kill: the longest time that healing may take
const FLOW_AFTER: Duration = Duration::from_secs(3);
/// From the return of the dead peer until everybody holds their links
const REWIRED_LIMIT: Duration = Duration::from_secs(30);
/// How often every process is looked at while the flow runs
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The timeline shows at most this many lines; the rest is counted
const TIMELINE_MAX: usize = 40;

/// How a demo is run
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    pub lab: Options,
    /// How often a forwarder is killed
    pub runs: usize,
    /// The median outage must not exceed this
    pub outage_max: Duration,
    /// Whether the report is for programs
    pub json: bool,
    /// What to type next, to have the same mesh and keep it
    pub next: Vec<String>,
}

/// Two peers some hops apart, and the way between them
struct Route {
    from: Node,
    to: Node,
    answer: Fate,
}

/// A demo under way
struct Demo<'a> {
    options: &'a DemoOptions,
    lab: Lab,
    draw: Draw,
    tell: Tell,
    report: Report,
}

/// A flow of messages whose forwarder was killed
struct Broken {
    route: Route,
    victim: String,
    killed: Instant,
    before: Fate,
    /// None if nothing arrived at all
    after: Option<Fate>,
    sent: Vec<Sent>,
    flow: Summary,
    timeline: Vec<(Instant, String)>,
}

/// Runs the demo to its end, and says on standard output what it sees
///
/// # Errors
/// The mesh did not come up, or could not be asked: what was found until then is not reported. The mesh is ended.
pub(crate) fn run(options: &DemoOptions) -> Result<Report, LabError> {
    let tell = Tell { json: options.json };
    tell.title("Start a mesh");
    let start = Instant::now();
    let lab = Lab::up(options.lab.clone(), Progress::Lines)?;
    let seed = lab.state()?.seed;
    let report = Report::new(options, seed);
    let mut demo = Demo { options, lab, draw: Draw::new(seed, "demo"), tell, report };
    let supernodes = count(options.lab.supernodes as u64, "supernode");
    let up = format!("{supernodes}; {} peers are logged in and hold their links", options.lab.peers);
    demo.step("mesh up", true, &format!("{up} after {:.1} s", start.elapsed().as_secs_f64()));
    tell.links(&demo.lab)?;
    for number in 1..=options.runs {
        demo.one_run(number)?;
    }
    demo.check_outage();
    if options.lab.supernodes >= leader::SUPERNODES_MIN {
        demo.lose_the_leader()?;
    }
    demo.goodbye()?;
    tell.end(&demo.report, &options.next);
    Ok(demo.report)
}

impl Demo<'_> {
    fn step(&mut self, name: &'static str, held: bool, detail: &str) {
        self.tell.say(&format!("{} {name}: {detail}", output::verdict(held, self.tell.json)));
        self.report.steps.push(Step { name, held, detail: detail.to_owned() });
    }

    fn one_run(&mut self, number: usize) -> Result<(), LabError> {
        if self.options.runs > 1 {
            self.tell.title(&format!("Run {number} of {}", self.options.runs));
        }
        let Some(route) = choose(&self.lab, &mut self.draw)? else {
            self.step("choose a pair", false, "no two peers are two hops apart; try more --peers");
            return Ok(());
        };
        let hops = count(route.answer.hops, "hop");
        let chosen = format!("{} sends to {}, {hops} away", route.from.name, route.to.name);
        self.step("choose a pair", true, &chosen);
        let broken = self.break_it(route)?;
        self.check_way(&broken)?;
        self.check_fates(&broken)?;
        self.check_healed(&broken.victim);
        self.bring_back(&broken.route.from, &broken.victim)?;
        self.report.runs.push(Run::of(&broken));
        Ok(())
    }

    /// Lets messages flow, kills a forwarder on their way, and lets them flow on
    fn break_it(&mut self, route: Route) -> Result<Broken, LabError> {
        let tell = self.tell;
        tell.title("Kill the forwarder while messages flow");
        route.to.take_inbox()?;
        let observer = Observer::start(&self.lab, LOOK_EVERY)?;
        let flow = Flow::start(route.from.clone(), route.to.name.clone(), SEND_EVERY);
        tell.say(&format!("{} sends to {} every {} ms", route.from.name, route.to.name, SEND_EVERY.as_millis()));
        std::thread::sleep(FLOW_BEFORE);
        // The way may have become a direct one since the choice: then the one chosen has a forwarder all the same.
        let before = flow
            .latest()
            .filter(|answer| answer.path.len() > 2 && !answer.relayed)
            .unwrap_or_else(|| route.answer.clone());
        let victim = forwarder(&before, &mut self.draw).unwrap_or_default();
        tell.say(&format!("path before: {}", before.way()));
        tell.say(&format!("kill -9 {victim}"));
        let killed = Instant::now();
        self.lab.kill(&victim)?;
        std::thread::sleep(FLOW_AFTER);
        let after = flow.latest();
        let sent = flow.stop();
        let flow = Summary::of(&sent, SEND_EVERY);
        let timeline = timeline(&observer.changes(), &sent, killed, &victim, &flow);
        tell.say(&format!("path after:  {}", after.as_ref().map(Fate::way).unwrap_or_default()));
        tell.timeline(&timeline, killed);
        tell.say(&report::flow_text(&flow));
        let every = SEND_EVERY.as_millis();
        tell.say(&format!(
            "(The outage is the longest time between two arrivals, less the {every} ms between two sends.)"
        ));
        Ok(Broken { route, victim, killed, before, after, sent, flow, timeline })
    }

    fn check_way(&mut self, broken: &Broken) -> Result<(), LabError> {
        let Broken { route, victim, after, .. } = broken;
        let Some(after) = after else {
            self.step("rerouted", false, "nothing arrived");
            return Ok(());
        };
        let around = !after.path.is_empty() && !after.path.contains(victim);
        let fault = graph::fault_in_path(&self.lab.graph()?, &route.from.name, &route.to.name, after);
        let way = fault.clone().unwrap_or_else(|| format!("{} goes round {victim}", after.way()));
        self.step("rerouted", around && fault.is_none(), &way);
        Ok(())
    }

    fn check_fates(&mut self, broken: &Broken) -> Result<(), LabError> {
        let flow = &broken.flow;
        let fates = format!("{} of {} messages have no known fate", flow.unknown, flow.messages);
        self.step("every fate known", flow.unknown == 0 && flow.messages > 0, &fates);
        let fault = fault_in_inbox(&broken.route.to.take_inbox()?, &broken.sent);
        let kept = format!("{} receipts, each for a message that is in the in-box once", flow.delivered);
        self.step("receipts are true", fault.is_none(), &fault.unwrap_or(kept));
        Ok(())
    }

    fn check_healed(&mut self, victim: &str) {
        let healed = verify::no_dead_links(&self.lab, Instant::now(), FLOW_AFTER);
        let held = healed.is_ok();
        let text = healed.map_or_else(|reason| reason, |_| format!("nobody shows a link to {victim}"));
        self.step("healed", held, &text);
    }

    fn bring_back(&mut self, from: &Node, victim: &str) -> Result<(), LabError> {
        self.tell.title(&format!("Bring {victim} back"));
        let took = self.lab.start_and_wait(victim)?;
        let settled = self.lab.settle("everybody to hold their links", REWIRED_LIMIT);
        let text = match &settled {
            Ok(rewired) => {
                let (logged_in, rewired) = (took.as_millis(), (took + *rewired).as_millis());
                format!("{victim} is logged in after {logged_in} ms and rewired after {rewired} ms")
            }
            Err(error) => error.to_string(),
        };
        self.step("rewired", settled.is_ok(), &text);
        let links = self.lab.node(victim)?.neighbours()?.neighbours;
        let links: Vec<String> = links.into_iter().map(|link| link.name.to_string()).collect();
        self.tell.say(&format!("{victim} has links to {}", links.join(", ")));
        let answer = from.send(victim, "welcome back")?;
        let text = format!("{} {} ({})", answer.status.code(), answer.way(), count(answer.hops, "hop"));
        self.step("reachable again", answer.is_delivered(), &text);
        Ok(())
    }

    fn check_outage(&mut self) {
        let (median, max) = (self.report.median_outage(), self.options.outage_max);
        let held = median <= max && self.report.runs.len() == self.options.runs;
        let runs = self.report.runs.len();
        self.tell.title("Outage");
        let of = if runs == 1 { String::new() } else { format!("median of {runs}: ") };
        let text = format!("{of}{} ms without a message, {} allowed", median.as_millis(), max.as_millis());
        self.step("outage", held, &text);
    }

    fn goodbye(&mut self) -> Result<(), LabError> {
        self.tell.title("Say goodbye");
        let start = Instant::now();
        self.lab.down()?;
        let processes = self.lab.state()?.processes;
        let left = processes.iter().filter(|process| process.condition() != Condition::Ended);
        let left: Vec<&str> = left.map(|process| process.name.as_str()).collect();
        let text = match left.is_empty() {
            true => format!("every process has ended after {:.1} s", start.elapsed().as_secs_f64()),
            false => format!("{} go on", left.join(", ")),
        };
        self.step("goodbye", left.is_empty(), &text);
        Ok(())
    }
}

/// A pair at least two hops apart, by a message to each until one is
fn choose(lab: &Lab, draw: &mut Draw) -> Result<Option<Route>, LabError> {
    let names: Vec<String> = lab.graph()?.into_keys().collect();
    let mut pairs = graph::pairs(&names);
    draw.shuffle(&mut pairs);
    for (from, to) in pairs {
        let (from, to) = (lab.node(&from)?, lab.node(&to)?);
        let answer = from.send(&to.name, "how far are you?")?;
        if answer.is_delivered() && answer.path.len() > 2 && !answer.relayed {
            return Ok(Some(Route { from, to, answer }));
        }
    }
    Ok(None)
}

/// One of the peers between the ends of a path
fn forwarder(answer: &Fate, draw: &mut Draw) -> Option<String> {
    let between = answer.path.len().checked_sub(2).filter(|between| *between > 0)?;
    answer.path.get(1 + draw.below(between)).cloned()
}

/// Whether each message with a receipt is in the in-box, and each in the in-box is there once
fn fault_in_inbox(inbox: &[InboxLine], sent: &[Sent]) -> Option<String> {
    let ids: BTreeSet<MessageId> = inbox.iter().map(|line| line.id.0).collect();
    if ids.len() < inbox.len() {
        return Some(format!("{} messages are in the in-box twice", inbox.len() - ids.len()));
    }
    let delivered = sent.iter().filter_map(|sent| sent.fate.as_ref().ok()).filter(|answer| answer.is_delivered());
    let absent = delivered.filter(|answer| answer.id.is_none_or(|id| !ids.contains(&id))).count();
    (absent > 0).then(|| format!("{absent} messages have a receipt and are not in the in-box"))
}

/// What was detected and rerouted when: changes at the processes, and what the flow noticed
fn timeline(
    changes: &[Change],
    sent: &[Sent],
    killed: Instant,
    victim: &str,
    flow: &Summary,
) -> Vec<(Instant, String)> {
    let told =
        |change: &&Change| change.at >= killed && !(change.name == victim && matches!(change.what, What::Process(_)));
    let mut lines: Vec<(Instant, String)> = vec![(killed, format!("kill -9 {victim}"))];
    lines.extend(changes.iter().filter(told).map(|change| (change.at, format!("{}: {}", change.name, change.what))));
    let after = |sent: &&Sent| sent.done > killed;
    let around = |answer: &Fate| answer.is_delivered() && !answer.path.iter().any(|name| name == victim);
    let rerouted = sent.iter().filter(after).filter_map(|sent| Some((sent.done, sent.fate.as_ref().ok()?)));
    if let Some((at, answer)) = rerouted.filter(|(_, answer)| around(answer)).min_by_key(|(at, _)| *at) {
        lines.push((at, format!("first message by the new path {}", answer.way())));
    }
    let resent = sent.iter().filter(after).filter_map(|sent| Some((sent.done, sent.fate.as_ref().ok()?)));
    if let Some((at, _)) = resent.filter(|(_, answer)| answer.attempts > 1).max_by_key(|(at, _)| *at) {
        lines.push((at, format!("last of {} resent messages has its fate", flow.resent)));
    }
    lines.sort_by_key(|(at, _)| *at);
    let more = lines.len().saturating_sub(TIMELINE_MAX);
    if more > 0 {
        let end = lines.get(TIMELINE_MAX).map_or(killed, |(at, _)| *at);
        lines.truncate(TIMELINE_MAX);
        lines.push((end, format!("and {more} more")));
    }
    lines
}

/// Says what happens: on standard output to people, on standard error when that is kept for a program
#[derive(Clone, Copy)]
struct Tell {
    json: bool,
}

impl Tell {
    fn say(self, text: &str) {
        if self.json {
            output::note(text);
        } else {
            output::line(text);
        }
    }

    fn title(self, text: &str) {
        self.say(&format!("\n== {text}"));
    }

    fn links(self, lab: &Lab) -> Result<(), LabError> {
        for (name, links) in lab.graph()? {
            self.say(&format!("  {name:<10} {}", links.into_iter().collect::<Vec<_>>().join(" ")));
        }
        Ok(())
    }

    fn timeline(self, lines: &[(Instant, String)], killed: Instant) {
        self.say(&format!("timeline (each line up to {} ms late):", LOOK_EVERY.as_millis()));
        for (at, text) in lines {
            self.say(&format!("  {:>+8.1} ms  {text}", at.saturating_duration_since(killed).as_secs_f64() * 1e3));
        }
    }

    fn end(self, report: &Report, next: &[String]) {
        if self.json {
            return output::line(&report.json().to_string());
        }
        output::line(&format!("\n{}", report.verdict()));
        if report.held() {
            output::line("\nNext, a mesh like this one that stays, and kith itself on the path to use it:");
            next.iter().for_each(|command| output::line(&format!("  {command}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_common::status::Status;
    use kith_runtime::control::peer::{Body, Id};

    use super::*;

    fn id(number: u8) -> MessageId {
        MessageId([number; 16])
    }

    fn sent(number: u8, status: Status) -> Sent {
        let now = Instant::now();
        Sent { sent: now, done: now, fate: Ok(Fate { id: Some(id(number)), ..Fate::bare(status) }) }
    }

    fn line(number: u8) -> InboxLine {
        InboxLine {
            sequence: 1,
            id: Id(id(number)),
            from: "alice".parse().expect("a name"),
            address: "0123456789abcdef".into(),
            confirmed: true,
            at: "2026-01-01T00:00:00Z".into(),
            bytes: 5,
            body: Body::Text("hello".into()),
        }
    }

    #[test]
    fn receipts_are_true_when_each_message_is_kept_once() {
        let sent = [sent(1, Status::Delivered), sent(2, Status::TimedOut)];
        assert_eq!(fault_in_inbox(&[line(1), line(2)], &sent), None);
        assert_eq!(fault_in_inbox(&[line(1)], &sent), None);
        assert!(fault_in_inbox(&[line(1), line(1)], &sent).expect("twice").contains("twice"));
        assert!(fault_in_inbox(&[line(2)], &sent).expect("absent").contains("not in the in-box"));
    }

    #[test]
    fn forwarder_is_never_an_end_of_the_path() {
        let mut draw = Draw::new(1, "test");
        let path = |names: &[&str]| Fate {
            path: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Fate::bare(Status::Delivered)
        };
        for _ in 0..20 {
            let forwarder = forwarder(&path(&["a", "b", "c", "d"]), &mut draw).expect("one");
            assert!(["b", "c"].contains(&forwarder.as_str()));
        }
        assert_eq!(forwarder(&path(&["a", "b"]), &mut draw), None);
    }
}
