//! The other supernodes: what they say, what the shell is told of them, and what is due between supernodes.

use std::time::Duration;

use super::backbone::{Own, Said};
use super::handover::HandingOver;
use super::homes::Looking;
use super::log::SupernodeEntry;
use super::{Supernode, short_id_of};
use crate::crypto::Signer;
use crate::id::{SessionId, SupernodeId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::status::Status;
use crate::time::Instant;
use crate::wire::Frame;

/// A supernode of the network, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupernodeStanding {
    pub entry: SupernodeEntry,
    /// The link with it; none with this supernode itself
    pub link: Option<LinkId>,
    /// How many of the links that it may have it has, in thousandths, as it said last; `None`: it is not linked
    pub load: Option<u16>,
    /// The last round trip, once a probe was answered
    pub rtt: Option<Duration>,
    /// Who leads the log, as it said last
    pub leader: Option<SupernodeId>,
}

impl<S: Signer> Supernode<S> {
    /// A dial for [`SupernodeOutput::Dial`](super::SupernodeOutput::Dial) has made no link
    pub fn handle_dial_failed(&mut self, now: Instant, number: u64, status: Status, reason: &str) {
        self.check_pace(now);
        self.backbone.handle_dial_failed(now, number, status, reason, &mut self.rng);
    }

    /// Who has shown a good certificate on `link`, whether the log names it or not
    pub fn supernode_on(&self, link: LinkId) -> Option<SupernodeId> {
        self.backbone.supernode_on(link)
    }

    /// The link with this supernode, while there is one
    pub fn backbone_to(&self, id: SupernodeId) -> Option<LinkId> {
        self.backbone.link_to(id)
    }

    /// Some supernode that has shown a good certificate, if there is a link with any: a newcomer asks it to be let in
    pub fn linked_supernode(&self) -> Option<SupernodeId> {
        self.backbone.linked()
    }

    /// All supernodes of the network, in the order of their ids, this one among them; none as long as the log has not said
    /// who they are
    pub fn supernodes(&self) -> impl Iterator<Item = SupernodeStanding> + '_ {
        self.members.iter().map(|entry| {
            let entry = entry.clone();
            if entry.id == self.credentials.id {
                let Own { load, leader } = self.own();
                return SupernodeStanding { entry, link: None, load: Some(load), rtt: None, leader };
            }
            let standing = self.backbone.standing_of(entry.id);
            SupernodeStanding {
                link: self.backbone.link_to(entry.id),
                load: standing.as_ref().map(|standing| standing.load),
                rtt: standing.as_ref().and_then(|standing| standing.rtt),
                leader: standing.and_then(|standing| standing.leader),
                entry,
            }
        })
    }

    /// How many of the links that it may have this supernode has, in thousandths
    pub(super) fn load(&self) -> u16 {
        let share = self.links().saturating_mul(1_000) / self.links_max.max(1);
        u16::try_from(share).unwrap_or(u16::MAX).min(1_000)
    }

    pub(super) fn own(&self) -> Own {
        Own { load: self.load(), leader: self.leader }
    }

    /// Whether this supernode leads the log, as far as it has heard
    pub(super) fn leads(&self) -> bool {
        self.leader == Some(self.credentials.id)
    }

    /// Whether the session is at home here, and so judged here
    pub(super) fn is_at_home(&self, session: SessionId) -> bool {
        let home = self.directory.session(session).map(|session| session.home);
        home.is_none_or(|home| home == self.credentials.id) || mutant::is(Mutant::GuestsAreJudged)
    }

    /// Another supernode says something
    pub(super) fn handle_said(&mut self, now: Instant, link: LinkId, frame: Frame) {
        let own = self.own();
        match self.backbone.handle_frame(now, link, frame, &self.credentials, &self.members, own) {
            Said::Nothing => {}
            Said::Reported(reported) => self.requests().handle_reported(now, reported),
            Said::Claim(question) => self.logins().handle_claim(now, link, question),
            Said::Claimed(told) => self.logins().handle_claimed(now, link, &told),
            Said::Relay(packet) => self.relay().take_over(link, &packet),
            Said::GivenBack(packet) => self.relay().hand_back(packet),
        }
        self.grant_wishes(now);
    }

    /// Whether `link` was one with another supernode, which is gone
    pub(super) fn lose_supernode(&mut self, now: Instant, link: LinkId, reason: &str) -> bool {
        self.backbone.handle_closed(now, link, reason, &mut self.rng)
    }

    /// Links to others, tells them how this one is, tells peers of them, and judges homes
    pub(super) fn attend_others(&mut self, now: Instant) {
        let own = self.own();
        self.backbone.handle_timeout(now, own, &mut self.rng);
        let Self { credentials, directory, links, members, backbone, proposals, homes, handover, .. } = self;
        members.tell(now, links, backbone, credentials.id, own.load);
        let (id, lease) = (credentials.id, credentials.admission.lease);
        Looking { id, lease, directory, members, backbone, proposals, homes }.handle_timeout(now);
        HandingOver { id, lease, members, backbone, links, handover }.handle_timeout(now);
        // Links that were ended are closed by the shell, which says so.
        self.grant_wishes(now);
    }

    pub(super) fn relay(&mut self) -> super::relay::Relay<'_> {
        let short_id = short_id_of(&self.key());
        let is_sure = self.leader.is_some() || !self.members.are_several();
        let Self { credentials, directory, links, backbone, .. } = self;
        super::relay::Relay { short_id, directory, links, backbone, id: credentials.id, is_sure }
    }
}
