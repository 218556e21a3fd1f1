//! Supernodes that are replaced, one after the other, so that after as many rounds none of the first is left.

use super::{Breaker, Done};
use crate::error::LabError;
use crate::names;

pub(super) const KIND: &str = "replacement";

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
        self.lab.wait_replaced(&old, &new)?;
        Ok(Done { what: format!("{new} takes the place of {old}"), bit: true })
    }

    /// Clients go to those that are supernodes at present
    fn tell_clients(&self) -> Result<(), LabError> {
        let locations = self.lab.listening_of(&self.supernodes)?;
        self.shared.set_supernodes(locations);
        Ok(())
    }
}
