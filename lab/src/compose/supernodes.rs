//! The three supernodes of the containers.

use kith_runtime::control::supernode::{MembersAnswer, SupernodeMember, SupernodeRole};

use super::{ComposeError, Project, SETTLED_LIMIT, docker};
use crate::fate::Fate;

/// Those of the file
const SUPERNODES: [&str; 3] = ["supernode-1", "supernode-2", "supernode-3"];

impl Project {
    pub(super) fn kill_the_leader(&mut self) -> Result<(), ComposeError> {
        let leader = self.leader().map_err(|reason| ComposeError::Failed { what: "a leader".into(), reason })?;
        self.compose(&["kill", leader])?;
        let sent = self.send("bob", "grace");
        let held = sent.as_ref().is_ok_and(Fate::is_delivered);
        let text =
            sent.map_or_else(|error| error.to_string(), |sent| format!("{} over {}", sent.status.code(), sent.way()));
        self.step("kill the leading supernode, and messages go on", held, &text);
        let id = self.container("grace")?;
        docker(&["restart", "--time", "5", &id])?;
        self.mended("restart grace, who logs in by another one")?;
        let next = self.leader().unwrap_or("nobody");
        self.step("another one leads", next != leader && next != "nobody", &format!("{next}, and {leader} did"));
        self.compose(&["start", leader])?;
        let agreed = self.wait("three supernodes to be one network", SETTLED_LIMIT, || self.agreed());
        let text =
            agreed.as_ref().map_or_else(ToString::to_string, |took| format!("after {:.1} s", took.as_secs_f64()));
        self.step("start it, and it is one of them", agreed.is_ok(), &text);
        self.mended("everybody is there")
    }

    /// What a supernode says of all of them
    fn members(&self, supernode: &str) -> Result<MembersAnswer, String> {
        let line = self.ask(supernode, "kith-supernode", &["members"]).map_err(|error| error.to_string())?;
        line.done().map(|done| done.answer).map_err(|error| format!("{supernode}: {error}"))
    }

    /// Which of them leads, by its own word
    fn leader(&self) -> Result<&'static str, String> {
        let leads = |supernode: &&str| {
            let members = self.members(supernode).map(|answer| answer.supernodes).unwrap_or_default();
            members.iter().any(|member| member.here && member.role == SupernodeRole::Leader)
        };
        SUPERNODES.into_iter().find(leads).ok_or_else(|| "nobody leads".to_owned())
    }

    /// Whether each of them has links with the others, and all have a vote
    pub(super) fn agreed(&self) -> Result<(), String> {
        for supernode in SUPERNODES {
            let known = self.members(supernode)?.supernodes;
            let is_one =
                |member: &SupernodeMember| (member.here || member.linked) && member.role != SupernodeRole::Learner;
            if known.len() != SUPERNODES.len() || !known.iter().all(is_one) {
                return Err(format!("{supernode}: {known:?}"));
            }
        }
        self.leader().map(|_| ())
    }
}
