//! Supernodes that are replaced, one after the other, so that after as many rounds none of the first is left.

use std::time::Duration;

use super::{Breaker, Done};
use crate::error::LabError;
use crate::mesh::{Lab, Standing};
use crate::names;
use crate::process::Condition;

pub(super) const KIND: &str = "replacement";

/// A learner has a vote by then, and who was taken out has ended
const CHANGED: Duration = Duration::from_secs(30);

impl Breaker<'_> {
    /// Lets a new one in, and takes out whoever is there longest
    pub(super) fn replace(&mut self) -> Result<Done, LabError> {
        // One fault at a time: an operator replaces nobody while others are being sought.
        self.lab.wait_agreed()?;
        let Some(old) = self.supernodes.first().cloned() else {
            return Err(LabError::NoSupernode("none is left to be replaced".into()));
        };
        let new = names::supernode(self.count);
        self.count += 1;
        if let Err(error) = self.lab.add_supernode(&new) {
            // Whoever was not let in is none of them: it would be missed by all that comes.
            self.lab.kill(&new)?;
            return Err(error);
        }
        self.supernodes.push(new.clone());
        self.tell_clients()?;
        self.lab.wait_agreed()?;
        self.lab.remove_supernode(&old)?;
        self.supernodes.retain(|name| *name != old);
        self.offsets.retain(|(name, _)| *name != old);
        self.tell_clients()?;
        self.lab
            .wait_until(&format!("{old} to end, and {new} to vote"), CHANGED, || is_replaced(self.lab, &old, &new))?;
        self.lab.wait_agreed()?;
        Ok(Done { what: format!("{new} takes the place of {old}"), bit: true })
    }

    /// Clients go to those that are supernodes at present
    fn tell_clients(&self) -> Result<(), LabError> {
        let locations = self.lab.listening_of(&self.supernodes)?;
        self.shared.set_supernodes(locations);
        Ok(())
    }
}

/// Whether the old one has ended, and the new one votes by its own word, or could if an odd number did
fn is_replaced(lab: &Lab, old: &str, new: &str) -> Result<(), String> {
    let text = |error: LabError| error.to_string();
    let state = lab.state().map_err(text)?;
    if state.process(old).is_some_and(|process| process.condition() != Condition::Ended) {
        return Err(format!("{old} still runs"));
    }
    let standing = lab.node(new).and_then(Standing::of).map_err(text)?;
    let voters: Vec<u64> = standing.voters().collect();
    match voters.contains(&standing.status.serial) || voters.len() + 1 == standing.members.supernodes.len() {
        true => Ok(()),
        false => Err(format!("{new} has no vote")),
    }
}
