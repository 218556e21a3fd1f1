//! What a demo has shown.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::{Broken, DemoOptions};
use crate::flow::{self, Summary};

/// One thing that had to hold
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub name: &'static str,
    pub held: bool,
    pub detail: String,
}

/// One kill of a forwarder
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    pub victim: String,
    /// The path of the last message before the kill
    pub path_before: Vec<String>,
    /// The path of the last message of the flow
    pub path_after: Vec<String>,
    /// The longest time without an arrival, beyond the sending interval, in milliseconds
    pub outage_ms: u64,
    pub messages: usize,
    pub delivered: usize,
    /// Messages that were sent more than once
    pub resent: usize,
    /// Messages that a supernode carried
    pub relayed: usize,
    /// Messages with another fate
    pub failed: usize,
    /// Messages without a known fate
    pub unknown: usize,
    /// Milliseconds after the kill, and what was seen then
    pub timeline: Vec<(u64, String)>,
}

impl Run {
    pub(super) fn of(broken: &Broken) -> Self {
        let ms = |at: &Instant| at.saturating_duration_since(broken.killed).as_millis() as u64;
        let flow = &broken.flow;
        Self {
            victim: broken.victim.clone(),
            path_before: broken.before.path.clone(),
            path_after: broken.after.as_ref().map(|after| after.path.clone()).unwrap_or_default(),
            outage_ms: flow.outage.as_millis() as u64,
            messages: flow.messages,
            delivered: flow.delivered,
            resent: flow.resent,
            relayed: flow.relayed,
            failed: flow.failed,
            unknown: flow.unknown,
            timeline: broken.timeline.iter().map(|(at, text)| (ms(at), text.clone())).collect(),
        }
    }
}

/// The kill of the supernode that led
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Kill {
    pub victim: String,
    /// From the kill until the newcomer was logged in, in milliseconds; none if it was not
    pub login_ms: Option<u64>,
    /// As of [`Run`]
    pub outage_ms: u64,
    pub messages: usize,
    pub delivered: usize,
}

impl Kill {
    pub(super) fn of(victim: &str, login: Option<Duration>, flow: &Summary) -> Self {
        Self {
            victim: victim.to_owned(),
            login_ms: login.map(|login| login.as_millis() as u64),
            outage_ms: flow.outage.as_millis() as u64,
            messages: flow.messages,
            delivered: flow.delivered,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What the mesh and the choices were drawn from
    pub seed: u64,
    pub supernodes: usize,
    /// Peers in the mesh
    pub peers: usize,
    pub degree: u8,
    /// Everything that had to hold, in the order in which it was seen
    pub steps: Vec<Step>,
    /// Every kill of a forwarder
    pub runs: Vec<Run>,
    /// The leader's; none where too few supernodes were there
    pub kill: Option<Kill>,
}

impl Report {
    pub(super) fn new(options: &DemoOptions, seed: u64) -> Self {
        let lab = &options.lab;
        let (supernodes, peers, degree) = (lab.supernodes, lab.peers, lab.degree);
        Self { seed, supernodes, peers, degree, steps: Vec::new(), runs: Vec::new(), kill: None }
    }

    /// Whether every step held
    pub(crate) fn held(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.held)
    }

    /// The middle one of the runs' outages
    pub(crate) fn median_outage(&self) -> Duration {
        flow::median(self.runs.iter().map(|run| Duration::from_millis(run.outage_ms)).collect())
    }

    /// One object, with the keys of this type and `held` and `outage_median_ms`
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut value = json!(self);
        if let Some(object) = value.as_object_mut() {
            object.insert("held".into(), json!(self.held()));
            object.insert("outage_median_ms".into(), json!(self.median_outage().as_millis() as u64));
        }
        value
    }

    /// The last line for people; after a failure, with the command that gives the same mesh
    pub(crate) fn verdict(&self) -> String {
        let failed = self.steps.iter().filter(|step| !step.held).count();
        match failed {
            0 => format!("Every one of {} steps held.", self.steps.len()),
            _ => format!(
                "{failed} of {} steps FAILED. Reproduce: kith-lab demo --supernodes {} --peers {} --degree {} --seed {} --runs {}",
                self.steps.len(),
                self.supernodes,
                self.peers,
                self.degree,
                self.seed,
                self.runs.len()
            ),
        }
    }
}

/// The flow's numbers in one line
pub(super) fn flow_text(flow: &Summary) -> String {
    format!(
        "outage {} ms; {} messages: {} delivered, {} resent, {} relayed, {} failed, {} without a known fate",
        flow.outage.as_millis(),
        flow.messages,
        flow.delivered,
        flow.resent,
        flow.relayed,
        flow.failed,
        flow.unknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(held: &[bool], outages: &[u64]) -> Report {
        let step = |held: &bool| Step { name: "step", held: *held, detail: String::new() };
        let run = |outage_ms: &u64| Run { outage_ms: *outage_ms, ..Run::default() };
        Report {
            seed: 7,
            supernodes: 3,
            peers: 8,
            degree: 4,
            steps: held.iter().map(step).collect(),
            runs: outages.iter().map(run).collect(),
            kill: None,
        }
    }

    #[test]
    fn report_holds_only_if_every_step_did() {
        assert!(report(&[true, true], &[1]).held());
        assert!(!report(&[true, false], &[1]).held());
        assert!(!report(&[], &[]).held());
    }

    #[test]
    fn failed_report_says_how_to_see_it_again() {
        let verdict = report(&[true, false], &[1, 2]).verdict();
        assert!(verdict.contains("--seed 7 --runs 2"), "{verdict}");
    }

    #[test]
    fn json_has_the_verdict_and_the_median() {
        let json = report(&[true], &[30, 10, 20]).json();
        assert_eq!(json.get("held"), Some(&json!(true)));
        assert_eq!(json.get("outage_median_ms"), Some(&json!(20)));
        assert_eq!(json.get("seed"), Some(&json!(7)));
    }
}
