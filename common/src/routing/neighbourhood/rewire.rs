//! A new table, or a new place of our own: who is wanted from now on.

use std::collections::BTreeSet;

use super::Neighbourhood;
use super::link::Standing;
use super::neighbour::Neighbour;
use super::output::{Event, RewireFault, UpsetReason};
use crate::id::{Epoch, Key};
use crate::lift;
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::session::{Record, Rewire};

impl Neighbourhood {
    /// All links show others the address that was ours: none of them counts any more, but they still carry
    pub(super) fn outdate_links(&mut self, now: Instant) {
        let patience = self.config.patience;
        for link in self.links.values_mut() {
            link.standing = Standing::Leaving { until: now + patience, outdated: true };
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.try_anew(now, patience);
        }
    }

    /// Makes `rewire` the own table, or says why it changes nothing; a record that is at fault is left out
    pub(super) fn apply(&mut self, now: Instant, rewire: &Rewire, cause: UpsetReason) {
        let epoch = rewire.epoch;
        if let Some(reason) = self.rewire_fault(rewire) {
            return self.event(Event::RewireIgnored { epoch, reason });
        }
        (self.epoch, self.members, self.degree) = (Some(epoch), rewire.members.max(1), rewire.degree);
        self.apart = rewire.apart.iter().copied().collect();
        let mut old = std::mem::take(&mut self.neighbours);
        let (of, mut kept) = (old.len(), 0);
        let mut keys = BTreeSet::new();
        for record in &rewire.neighbours {
            if let Err(reason) = self.check_record(record, &mut keys) {
                self.event(Event::RecordIgnored { epoch, address: record.address, reason });
                continue;
            }
            let known = old.remove(&record.address).filter(|neighbour| neighbour.record.key == record.key);
            kept += usize::from(known.is_some());
            self.want(now, record, known);
        }
        let (joined, left) = (self.neighbours.len() - kept, of - kept);
        self.event(Event::Rewired { epoch, members: self.members, kept, joined, left });
        if 2 * left > of {
            self.event(Event::Upset { epoch, left, of, reason: cause });
        }
        self.dismiss_guests(now);
        self.are_views_changed = true;
    }

    fn rewire_fault(&self, rewire: &Rewire) -> Option<RewireFault> {
        match self.epoch {
            _ if self.grant.is_none() => Some(RewireFault::NotLoggedIn),
            Some(epoch) if is_old(rewire.epoch, epoch) => Some(RewireFault::NotNewer),
            _ => (!lift::is_degree(rewire.degree)).then_some(RewireFault::Degree),
        }
    }

    fn check_record(&self, record: &Record, keys: &mut BTreeSet<Key>) -> Result<(), RewireFault> {
        if record.key == self.own || Some(record.address) == self.own_address() {
            Err(RewireFault::Ourselves)
        } else if self.neighbours.contains_key(&record.address) || !keys.insert(record.key) {
            Err(RewireFault::Repeated)
        } else {
            Ok(())
        }
    }

    fn want(&mut self, now: Instant, record: &Record, known: Option<Neighbour>) {
        let patience = self.config.patience;
        let neighbour = match known {
            Some(known) => known.renewed(now, record.clone(), patience),
            None => Neighbour::new(now, record.clone(), patience),
        };
        self.neighbours.insert(record.address, neighbour);
    }

    /// Home has said who the neighbours are: guests that are none go like former neighbours
    fn dismiss_guests(&mut self, now: Instant) {
        let until = now + self.config.patience;
        for link in self.links.values_mut() {
            if matches!(link.standing, Standing::Guest { .. }) && !mutant::is(Mutant::GuestStays) {
                link.standing = Standing::Leaving { until, outdated: false };
            }
        }
    }
}

/// Whether a table of `epoch` says nothing new to who has that of `known`
///
/// One of another incarnation does: the log has been opened again since, perhaps an older copy of it.
fn is_old(epoch: Epoch, known: Epoch) -> bool {
    let is_old = epoch <= known || (mutant::is(Mutant::IncarnationIgnored) && epoch.index <= known.index);
    is_old && !mutant::is(Mutant::EpochUnchecked)
}
