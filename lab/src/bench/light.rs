//! `kith-lab bench light`: as many light peers as wanted at one supernode, or at three of which one is killed: whether all
//! stay logged in, and what one costs its home.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::LabError;
use crate::goals::{self, Figure};
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::output;
use crate::process::Usage;
use crate::role::Role;
use crate::storm::Look;
use crate::storm::crowd::Crowd;

/// The product's lease; a lab's own is shorter
const LEASE: Duration = Duration::from_secs(30);
/// Until all are in at first
const IN_LIMIT: Duration = Duration::from_secs(400);
/// Until those of a dead supernode have another home
const HOME_LIMIT: Duration = Duration::from_secs(120);
/// From the kill until all have a home again, in seconds: half of what a storm after which all come back is given
const HOME_GOAL: f64 = 30.0;
/// Links that a supernode has beside those of its peers
const LINKS_BESIDE: usize = 64;

/// How the bench is run
#[derive(Clone, Debug)]
pub(crate) struct LightOptions {
    pub(crate) lab: Options,
    pub(crate) lights: usize,
    /// How long the crowd at rest is measured: some renewals of each
    pub(crate) measured: Duration,
    pub(crate) json: bool,
}

/// Measures it, and says it; whether every goal was reached
///
/// # Errors
/// A supernode did not start, or not all were let in. All processes have ended then.
pub(crate) fn run(options: &LightOptions) -> Result<bool, LabError> {
    let links_max = Some(options.lights + LINKS_BESIDE);
    let lab = Options { peers: 0, lease: LEASE, links_max, ..options.lab.clone() };
    let lab = Lab::empty(lab, Progress::Lines)?;
    let empty = lab.usages(Role::Supernode)?;
    let mut crowd = Crowd::gather(&lab, options.lights, None)?;
    if !crowd.wait_whole(IN_LIMIT) {
        let Look { present, lights, .. } = crowd.look();
        let reason = format!("{present} of {lights} light peers are in");
        return Err(LabError::TimedOut { what: "all to be in".into(), limit: IN_LIMIT, reason });
    }
    let in_after = crowd.look().all_after.unwrap_or_default();
    lab.progress().say(&format!("{} light peers are in after {:.1} s", options.lights, in_after.as_secs_f64()));
    let mut figures =
        vec![Figure::told(format!("{} light peers in after", options.lights), in_after.as_secs_f64(), "s")];
    figures.extend(at_rest(&lab, &mut crowd, options, &empty)?);
    if options.lab.supernodes > 1 {
        figures.extend(home_killed(&lab, &mut crowd)?);
    }
    crowd.send_home();
    lab.down()?;
    if options.json {
        output::line(&json!({ "lights": options.lights, "figures": figures }).to_string());
    } else {
        output::line(&goals::text(&figures));
    }
    Ok(goals::all_held(&figures))
}

/// What the supernodes use while everybody only renews
fn at_rest(
    lab: &Lab,
    crowd: &mut Crowd,
    options: &LightOptions,
    empty: &BTreeMap<String, Usage>,
) -> Result<Vec<Figure>, LabError> {
    let (lost, begun, began) = (crowd.look().losses, lab.usages(Role::Supernode)?, Instant::now());
    crowd.wait(options.measured);
    let (usages, seconds) = (lab.usages(Role::Supernode)?, began.elapsed().as_secs_f64());
    let look = crowd.look();
    let mut figures = vec![
        Figure::at_least(format!("of them still in after {seconds:.0} s"), look.present as f64, look.lights as f64, ""),
        Figure::at_most("sessions that lost their link meanwhile", Some((look.losses - lost) as f64), 0.0, ""),
    ];
    let lights = options.lights.max(1) as f64;
    let total = |of: fn(&Usage) -> u64, usages: &BTreeMap<String, Usage>| usages.values().map(of).sum::<u64>() as f64;
    let grown = total(|usage| usage.rss_kib, &usages) - total(|usage| usage.rss_kib, empty);
    let worked = total(|usage| usage.cpu_ms, &usages) - total(|usage| usage.cpu_ms, &begun);
    for (name, usage) in &usages {
        figures.push(Figure::told(format!("{name}: memory"), usage.rss_kib as f64 / 1024.0, "MiB"));
    }
    figures.push(Figure::told("memory of the supernodes a peer", grown / lights, "KiB"));
    figures.push(Figure::told("processor of the supernodes at rest", worked / seconds / 10.0, "% of a core"));
    figures.push(Figure::told("processor a peer", worked * 1e3 / seconds / lights, "µs a second"));
    Ok(figures)
}

/// Kills a supernode that does not lead, and sees how soon its peers have another home
fn home_killed(lab: &Lab, crowd: &mut Crowd) -> Result<Vec<Figure>, LabError> {
    let leader = lab.leader()?.name;
    let follower = lab.running(Role::Supernode)?.into_iter().find(|node| node.name != leader);
    let follower = follower.ok_or_else(|| LabError::NoSupernode("nobody follows".into()))?;
    let at = follower.listen()?.into_iter().next().unwrap_or_default();
    let concerned = crowd.look().homes.get(&at).copied().unwrap_or_default();
    lab.kill(&follower.name)?;
    let (killed, mut after) = (Instant::now(), None);
    while after.is_none() && killed.elapsed() < HOME_LIMIT && !crowd.wait(crate::storm::crowd::LOOK_EVERY) {
        let look = crowd.look();
        let elsewhere = !look.homes.contains_key(&at) && look.present == look.lights;
        after = elsewhere.then(|| killed.elapsed().as_secs_f64());
    }
    let what = format!("the {concerned} of a killed supernode have another home after");
    let mut figures = vec![Figure::at_most(what, after, HOME_GOAL, "s")];
    for (name, usage) in lab.usages(Role::Supernode)? {
        figures.push(Figure::told(format!("{name}: memory then"), usage.rss_kib as f64 / 1024.0, "MiB"));
    }
    Ok(figures)
}
