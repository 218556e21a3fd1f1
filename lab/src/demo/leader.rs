//! The act in which the supernode that leads is killed, while messages flow and somebody logs in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kith_runtime::cli::count;
use kith_runtime::control::peer::HomeSupernode;

use super::report::{Kill, flow_text};
use super::{Demo, FLOW_AFTER, FLOW_BEFORE, LOOK_EVERY, SEND_EVERY, TIMELINE_MAX};
use crate::error::LabError;
use crate::flow::{Flow, Summary};
use crate::graph;
use crate::mesh::Lab;
use crate::names;
use crate::observe::{Change, Observer, What};
use crate::role::Role;

/// As few supernodes as can lose one of them
pub(super) const SUPERNODES_MIN: usize = 3;
/// From the kill until the newcomer is in: another one leads within some two seconds
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

impl Demo<'_> {
    /// Kills the leader under a flow and a login, and sees who notices
    pub(super) fn lose_the_leader(&mut self) -> Result<(), LabError> {
        let tell = self.tell;
        tell.title("Kill the supernode that leads, while messages flow and somebody logs in");
        let leader = self.lab.leader()?.name;
        let newcomer = names::peer(self.options.lab.peers);
        let before = sessions(&self.lab)?;
        let guests = at_home(&self.lab, &leader)?;
        tell.say(&format!(
            "{leader} leads; {} at home there: {}",
            count(guests.len() as u64, "peer"),
            guests.join(", ")
        ));
        tell.say("What to see: messages don't go through supernodes, so none is lost. The other two elect one of");
        tell.say(&format!(
            "themselves, and the login of {newcomer} waits for that and no longer. The peers whose home it was go on at"
        ));
        tell.say("another one, with the addresses and links that they had.");
        let Some((from, to)) = self.a_pair()? else { return Ok(()) };
        let observer = Observer::start(&self.lab, LOOK_EVERY)?;
        let flow = Flow::start(self.lab.node(&from)?, to.clone(), SEND_EVERY);
        std::thread::sleep(FLOW_BEFORE);
        observer.changes();
        tell.say(&format!("kill -9 {leader}, and {newcomer} is started"));
        let killed = Instant::now();
        self.lab.kill(&leader)?;
        self.lab.add_peer(&newcomer)?;
        let logged_in = self.lab.wait_logged_in(&newcomer).map(|_| killed.elapsed());
        std::thread::sleep(FLOW_AFTER.saturating_sub(killed.elapsed()));
        let flow = Summary::of(&flow.stop(), SEND_EVERY);
        tell.timeline(&timeline(&observer.changes(), killed, &leader, logged_in.as_ref().ok().copied()), killed);
        tell.say(&flow_text(&flow));
        self.step(
            "messages go on",
            flow.messages == flow.delivered,
            &format!("{} of {} delivered", flow.delivered, flow.messages),
        );
        let text = match &logged_in {
            Ok(took) => format!("{newcomer} is logged in {} ms after the kill", took.as_millis()),
            Err(error) => error.to_string(),
        };
        self.step("a login in between", logged_in.as_ref().is_ok_and(|took| *took <= LOGIN_LIMIT), &text);
        let next = self.lab.leader().map(|leader| leader.name);
        let text = next.as_ref().map_or_else(ToString::to_string, Clone::clone);
        self.step("another one leads", next.is_ok_and(|next| next != leader), &text);
        let mut after = sessions(&self.lab)?;
        after.remove(&newcomer);
        let kept = after.iter().filter(|(name, address)| before.get(*name) == Some(*address)).count();
        self.step(
            "sessions go on",
            after == before,
            &format!("{kept} of {} peers have the address that they had", before.len()),
        );
        self.report.kill = Some(Kill::of(&leader, logged_in.ok(), &flow));
        self.bring_the_leader_back(&leader)
    }

    fn bring_the_leader_back(&mut self, leader: &str) -> Result<(), LabError> {
        let took = self.lab.start_and_wait(leader)?;
        let agreed = self.lab.wait_agreed();
        let text = match &agreed {
            Ok(agreed) => format!("{leader} is one of the three again after {} ms", (took + *agreed).as_millis()),
            Err(error) => error.to_string(),
        };
        self.step("the dead one is back", agreed.is_ok(), &text);
        Ok(())
    }

    /// Two peers, whichever
    fn a_pair(&mut self) -> Result<Option<(String, String)>, LabError> {
        let names: Vec<String> = self.lab.graph()?.into_keys().collect();
        let pairs = graph::pairs(&names);
        let at = self.draw.below(pairs.len());
        Ok(pairs.into_iter().nth(at))
    }
}

/// The address of every peer, by its own word
fn sessions(lab: &Lab) -> Result<BTreeMap<String, Option<String>>, LabError> {
    let peers = lab.running(Role::Peer)?;
    peers.into_iter().map(|peer| Ok((peer.name.clone(), peer.status()?.answer.address))).collect()
}

/// The peers whose home `supernode` is
fn at_home(lab: &Lab, supernode: &str) -> Result<Vec<String>, LabError> {
    let listen = lab.node(supernode)?.listen()?;
    let mut guests = Vec::new();
    for peer in lab.running(Role::Peer)? {
        let is_here = |home: HomeSupernode| listen.contains(&home.location);
        if peer.status()?.answer.home.is_some_and(is_here) {
            guests.push(peer.name);
        }
    }
    Ok(guests)
}

/// What was seen after the kill, at the supernodes and the peers whose home it was
fn timeline(changes: &[Change], killed: Instant, leader: &str, logged_in: Option<Duration>) -> Vec<(Instant, String)> {
    let told =
        |change: &&Change| change.at >= killed && !(change.name == leader && matches!(change.what, What::Process(_)));
    let mut lines: Vec<(Instant, String)> = vec![(killed, format!("kill -9 {leader}"))];
    lines.extend(changes.iter().filter(told).map(|change| (change.at, format!("{}: {}", change.name, change.what))));
    lines.extend(logged_in.map(|after| (killed + after, "the newcomer is logged in".to_owned())));
    lines.sort_by_key(|(at, _)| *at);
    lines.truncate(TIMELINE_MAX);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_begins_with_the_kill_and_has_what_followed_in_its_order() {
        let killed = Instant::now();
        let after = |ms| killed + Duration::from_millis(ms);
        let change = |ms, name: &str, what| Change { at: after(ms), name: name.to_owned(), what };
        let changes = [
            change(900, "supernode-2", What::Leader { serial: Some(2), own: true }),
            change(5, "supernode-1", What::Process(crate::process::Condition::Ended)),
            change(300, "supernode-3", What::Leader { serial: None, own: false }),
        ];
        let lines = timeline(&changes, killed, "supernode-1", Some(Duration::from_millis(950)));
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "kill -9 supernode-1",
                "supernode-3: is led by nobody",
                "supernode-2: leads the supernodes",
                "the newcomer is logged in"
            ]
        );
    }
}
