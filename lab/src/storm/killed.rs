//! The storm after which all supernodes are killed at once and started again: how soon all light peers are back, by how
//! many tries, and what that takes of the supernodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::crowd::Crowd;
use super::{Report, StormOptions, send_home, tell};
use crate::error::LabError;
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::role::Role;
use crate::{output, threads};

/// From the kill until 99 of a hundred are back
const MOST_GOAL: f64 = 20.0;
/// … and until all are
const ALL_GOAL: f64 = 60.0;
/// Dials of a peer from when a supernode listens again; those before it cost no supernode anything
const TRIES_GOAL: f64 = 1.5;
/// Resident memory of each supernode at its largest, in MiB
const RSS_GOAL: f64 = 1024.0;
/// From when the supernodes run again until as many answers come as before, in seconds
const GOODPUT_GOAL: f64 = 30.0;
/// So much of what it was is as good as that
const GOODPUT_SHARE: f64 = 0.95;
/// Over so many seconds answers are counted
const GOODPUT_OVER: usize = 5;
/// A peer asks so often: in a large network a few hundred a second do
const ASK_EVERY: Duration = Duration::from_secs(10);
/// So long answers are counted before the kill
const BEFORE: Duration = Duration::from_secs(15);
/// Until all are in at first: not judged here
const GATHER_LIMIT: Duration = Duration::from_secs(300);
/// So long it is watched at most after the kill; late is not never
const WATCHED: Duration = Duration::from_secs(180);
/// From one look to the next while none listens yet
const START_LOOK_EVERY: Duration = Duration::from_millis(20);
/// From one look at the supernodes' memory to the next
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Kills and starts all supernodes of the lab once all are in; whether every goal was reached
///
/// # Errors
/// Not all came in at first, or a supernode did not start again.
pub(super) fn run(lab: &Lab, options: StormOptions) -> Result<bool, LabError> {
    let mut crowd = Crowd::gather(lab, options.lights, Some(ASK_EVERY))?;
    tell(options, &format!("{} light peers log in at once", options.lights));
    if !crowd.wait_whole(GATHER_LIMIT) {
        let look = crowd.look();
        let reason = format!("{} of {} light peers are in", look.present, look.lights);
        return Err(LabError::TimedOut { what: "all to be in".into(), limit: GATHER_LIMIT, reason });
    }
    tell(options, &Report::of(&crowd.look(), &lab.state()?).text());
    // The first answers of those that have just come in are few.
    crowd.wait(ASK_EVERY);
    let counted_from = Instant::now();
    crowd.wait(BEFORE);
    let before = mean(&crowd.answers(counted_from, Instant::now()));
    let figures = kill_and_watch(lab, &mut crowd, options, before)?;
    send_home(crowd, options);
    if options.json {
        output::line(&json!({ "lights": options.lights, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

fn kill_and_watch(lab: &Lab, crowd: &mut Crowd, options: StormOptions, before: f64) -> Result<Vec<Figure>, LabError> {
    let names: Vec<String> = lab.running(Role::Supernode)?.into_iter().map(|node| node.name).collect();
    crowd.begin();
    let killed = Instant::now();
    threads::each(&names, |name| lab.kill(name).and_then(|()| lab.start(name)))
        .into_iter()
        .collect::<Result<(), _>>()?;
    let early = loop {
        let tries = crowd.look().tries;
        if names.iter().any(|name| lab.node(name).is_ok_and(|node| node.listen().is_ok())) {
            break tries;
        }
        if killed.elapsed() > WATCHED || crowd.wait(START_LOOK_EVERY) {
            return Err(LabError::NoSupernode("none of them has started again".into()));
        }
    };
    let listening = Instant::now();
    tell(options, &format!("{} supernodes were killed and started again", names.len()));
    let (mut rss, mut told, mut good_after, mut whole) = (BTreeMap::new(), Instant::now(), None, None);
    // The goodput may come back later than the last peer.
    while killed.elapsed() < WATCHED && (whole.is_none() || good_after.is_none()) {
        for (name, usage) in lab.usages(Role::Supernode)? {
            let most: &mut f64 = rss.entry(name).or_default();
            *most = most.max(usage.rss_kib as f64 / 1024.0);
        }
        if good_after.is_none() {
            good_after = good_again(&crowd.answers(listening, Instant::now()), before);
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            tell(options, &super::progress(&crowd.look()));
        }
        if whole.is_none() {
            // Whoever is lost again begins another round.
            whole = Some(crowd.look()).filter(|look| look.all_after.is_some());
        }
        if crowd.wait(LOOK_EVERY) {
            break;
        }
    }
    let look = whole.unwrap_or_else(|| crowd.look());
    tell(options, &Report::of(&look, &lab.state()?).text());
    let lights = options.lights.max(1) as f64;
    let seconds = |after: Option<Duration>| after.map(|after| after.as_secs_f64());
    let mut figures = vec![
        Figure::at_most("99 of a hundred back after the kill", seconds(look.most_after), MOST_GOAL, "s"),
        Figure::at_most("all back", seconds(look.all_after), ALL_GOAL, "s"),
        Figure::told("tries a peer while no supernode listened", early as f64 / lights, ""),
        Figure::at_most(
            "tries a peer from then on",
            Some(look.tries.saturating_sub(early) as f64 / lights),
            TRIES_GOAL,
            "",
        ),
        Figure::told("refusals", look.refusals as f64, ""),
        Figure::told("answers before the kill", before, "/s"),
        Figure::at_most(
            "as many answers as before, but 5 %, after a supernode listened",
            good_after,
            GOODPUT_GOAL,
            "s",
        ),
    ];
    figures.extend(
        rss.into_iter()
            .map(|(name, most)| Figure::at_most(format!("memory of {name} at most"), Some(most), RSS_GOAL, "MiB")),
    );
    Ok(figures)
}

/// Seconds until answers came as before for [`GOODPUT_OVER`] seconds: the first of these counts
fn good_again(answers: &[u32], before: f64) -> Option<f64> {
    let at = answers.windows(GOODPUT_OVER).position(|window| mean(window) >= GOODPUT_SHARE * before);
    at.map(|second| second as f64)
}

fn mean(counts: &[u32]) -> f64 {
    counts.iter().copied().map(f64::from).sum::<f64>() / counts.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_back_from_the_first_second_of_enough_good_ones() {
        assert_eq!(good_again(&[0, 0, 50, 100, 100, 90, 100, 100], 100.0), Some(3.0));
        assert_eq!(good_again(&[0, 0, 50, 100, 100, 90, 90, 90], 100.0), None);
        assert_eq!(good_again(&[100; 4], 100.0), None, "not for long enough yet");
    }
}
