//! What home coming and going means: who is wanted by whose word, and what failed meanwhile.

use super::Neighbourhood;
use super::output::{Event, NeighbourhoodOutput, RewireFault, UpsetReason};
use crate::mutant::{self, Mutant};
use crate::time::Instant;
use crate::wire::grant::Grant;
use crate::wire::session::Rewire;

impl Neighbourhood {
    /// A login, or a session taken up again, with the table to begin with; home is reachable
    ///
    /// With another address than before, every link is opened anew. A grant for another key changes nothing.
    pub fn handle_login(&mut self, now: Instant, grant: &Grant, rewire: &Rewire) {
        if grant.key != self.own {
            return self.event(Event::RewireIgnored { epoch: rewire.epoch, reason: RewireFault::OtherKey });
        }
        let is_moved = self.grant.as_ref().is_some_and(|old| old.address != grant.address);
        self.grant = Some(grant.clone());
        self.are_views_changed = true;
        if is_moved {
            self.outdate_links(now);
        }
        self.apply(now, rewire, if is_moved { UpsetReason::OwnAddressChanged } else { UpsetReason::Rewire });
        self.dismiss_stand_ins();
        self.on_home(now, true);
        self.end_cut_off(now);
        self.settle(now);
    }

    /// A return without a supernode, by the grant and the table of the last session: until a login says more, they count
    ///
    /// A grant for another key, or a table that is at fault, changes nothing.
    pub(crate) fn handle_return(&mut self, now: Instant, grant: &Grant, rewire: &Rewire) {
        if grant.key != self.own || self.grant.is_some() {
            return self.event(Event::RewireIgnored { epoch: rewire.epoch, reason: RewireFault::OtherKey });
        }
        self.grant = Some(grant.clone());
        self.apply(now, rewire, UpsetReason::Rewire);
        self.settle(now);
    }

    /// Whether the home supernode can be asked and told; reachable again, it is told what it missed
    pub(crate) fn handle_home(&mut self, now: Instant, reachable: bool) {
        self.on_home(now, reachable && self.grant.is_some());
        self.settle(now);
    }

    pub(super) fn on_home(&mut self, now: Instant, reachable: bool) {
        if reachable && !self.is_home_reachable {
            self.neighbours.values_mut().for_each(|neighbour| neighbour.is_loss_reported = false);
            self.excuse_others(now);
            self.isolated = self.isolated.map(|_| now);
        }
        self.is_home_reachable = reachable;
        let is_end_near = reachable && !mutant::is(Mutant::GuestStays);
        let end = is_end_near.then(|| now + self.config.unknown_wait);
        let accepted = self.links.values_mut().filter_map(|link| link.on_home(reachable, end));
        self.outputs.extend(accepted.map(NeighbourhoodOutput::Event));
    }

    /// This peer is in the network again: that others could not be reached meanwhile was its own absence
    pub(super) fn end_cut_off(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_cut_off) {
            self.excuse_others(now);
        }
    }

    fn excuse_others(&mut self, now: Instant) {
        let patience = self.config.patience;
        let tried = self.neighbours.values_mut().filter(|neighbour| neighbour.trying.is_some());
        for neighbour in tried.filter(|_| !mutant::is(Mutant::CutOffBlamesOthers)) {
            neighbour.excuse(now, patience);
        }
    }
}
