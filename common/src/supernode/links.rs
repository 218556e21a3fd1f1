//! The links of peers, each with its admission, and which of them is whose home link.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;

use super::SupernodeOutput;
use crate::directory::Directory;
use crate::id::{Address, Key, SessionId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::rate::Strangers;
use crate::session::admission::{Admission, AdmissionOutput};
use crate::status::Status;
use crate::time::{Instant, Timers};
use crate::wire::Frame;
use crate::wire::link::Probe;
use crate::wire::session::{Reason, Refused};

struct Link {
    key: Key,
    admission: Admission,
    /// The session that has had its home link here since its grant: another link may have become that since
    home_of: Option<SessionId>,
}

/// All links, and what goes out
///
/// What an admission sends goes out at once; what else it wants waits to be taken by [`Self::take_wish`].
#[derive(Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
    /// Of the links whose login is under way: few of many
    deadlines: Timers<LinkId>,
    /// The link of each session that has one; none of them has closed
    homes: BTreeMap<SessionId, LinkId>,
    wishes: VecDeque<(LinkId, AdmissionOutput)>,
    /// Logins that were refused, of which nobody has been told; emptied by each input
    refused: Vec<(LinkId, Key, Refused)>,
    /// Whoever asks for a session that it does not get
    strangers: Strangers,
    outputs: VecDeque<SupernodeOutput>,
}

impl Links {
    /// Adds a link of the peer with `key`
    pub(super) fn open(&mut self, link: LinkId, key: Key, admission: Admission) {
        self.links.insert(link, Link { key, admission, home_of: None });
        self.drain(link);
    }

    /// Forgets a link that has closed
    pub(super) fn close(&mut self, link: LinkId) {
        self.deadlines.stop(&link);
        let home_of = self.links.remove(&link).and_then(|link| link.home_of);
        // A session that logs out is not lost, but is at home until that is durable.
        if let Some(session) = home_of.filter(|session| self.home_of(*session) == Some(link))
            && !mutant::is(Mutant::HomeLossIgnored)
        {
            self.homes.remove(&session);
        }
    }

    /// Tells the admission of `link` something; `false` if there is no such link
    pub(super) fn tell(&mut self, link: LinkId, tell: impl FnOnce(&mut Admission)) -> bool {
        let Some(peer) = self.links.get_mut(&link) else { return false };
        tell(&mut peer.admission);
        self.drain(link);
        true
    }

    /// Carries out what the admission of `link` wants sent, and keeps its other wishes
    fn drain(&mut self, link: LinkId) {
        let Some(Link { key, admission, home_of }) = self.links.get_mut(&link) else { return };
        while let Some(wish) = admission.poll_output() {
            match wish {
                AdmissionOutput::Send(frame) => {
                    // The end of a session is an event of its own.
                    if let Frame::Refused(refused) = &frame
                        && home_of.is_none()
                    {
                        self.refused.push((link, *key, refused.clone()));
                    }
                    self.outputs.push_back(SupernodeOutput::Send { link, frame });
                }
                AdmissionOutput::Close { status, reason } => {
                    self.outputs.push_back(SupernodeOutput::Close { link, status, reason });
                }
                wish => self.wishes.push_back((link, wish)),
            }
        }
        match admission.next_timeout() {
            Some(deadline) => self.deadlines.set(deadline, link),
            None => self.deadlines.stop(&link),
        }
    }

    /// Tells of the logins that were refused, each once: whoever has no session does not decide how much is logged
    pub(super) fn tell_refused(&mut self, now: Instant) {
        for (link, key, Refused { status, reason, .. }) in self.refused.drain(..) {
            let link = link.0;
            match self.strangers.count(now) {
                Some(count) => tracing::info!(event = "login_refused", count, link, %key, %status, %reason),
                None => tracing::debug!(event = "login_refused", link, %key, %status, %reason),
            }
        }
    }

    /// What an admission wants that is no frame and no end of its link
    pub(super) fn take_wish(&mut self) -> Option<(LinkId, AdmissionOutput)> {
        self.wishes.pop_front()
    }

    /// The next thing for the shell
    pub(super) fn poll_output(&mut self) -> Option<SupernodeOutput> {
        self.outputs.pop_front()
    }

    /// Puts something into the order of what goes out
    pub(super) fn output(&mut self, output: SupernodeOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn send(&mut self, link: LinkId, frame: Frame) {
        self.output(SupernodeOutput::Send { link, frame });
    }

    /// Ends a link whatever its admission thinks
    pub(super) fn end(&mut self, link: LinkId, status: Status, reason: &str) {
        self.output(SupernodeOutput::Close { link, status, reason: Reason::truncated(reason) });
    }

    /// Asks whoever is at the other end of `link` whether it is there
    pub(super) fn probe(&mut self, link: LinkId) {
        self.send(link, Frame::Probe(Probe { sequence: 0 }));
    }

    /// Pushes the peer at `address` its whole table, if it has a home link here
    pub(super) fn rewire(&mut self, directory: &Directory, address: Address) {
        let home = directory.by_address(address).and_then(|session| self.home_of(session.id));
        if let (Some(home), Some(rewire)) = (home, directory.neighbourhood(address)) {
            self.tell(home, |admission| admission.handle_rewire(rewire));
        }
    }

    /// `link` is the home link of `session` from now on
    pub(super) fn settle_at(&mut self, link: LinkId, session: SessionId) {
        if let Some(peer) = self.links.get_mut(&link) {
            peer.home_of = Some(session);
            self.homes.insert(session, link);
        }
    }

    /// `session` has no home link any more; which one that was
    pub(super) fn unsettle(&mut self, session: SessionId) -> Option<LinkId> {
        self.homes.remove(&session)
    }

    pub(super) fn home_of(&self, session: SessionId) -> Option<LinkId> {
        self.homes.get(&session).copied()
    }

    /// Sessions with a home link behind this one, in the order of their ids
    pub(super) fn homes_after(&self, last: Option<SessionId>) -> impl Iterator<Item = (SessionId, LinkId)> + '_ {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.homes.range((from, Bound::Unbounded)).map(|(session, link)| (*session, *link))
    }

    pub(super) fn homes(&self) -> usize {
        self.homes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Where `link` comes from, if it is there and that is known
    pub(super) fn remote_ip(&self, link: LinkId) -> Option<IpAddr> {
        self.links.get(&link).and_then(|link| link.admission.observed())
    }

    /// Whether the login on `link` is to be answered
    pub(super) fn awaits(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.admission.awaits())
    }

    /// The session that is logged in on `link`
    pub(super) fn session_on(&self, link: LinkId) -> Option<SessionId> {
        self.links.get(&link).and_then(|link| link.admission.session())
    }

    /// The place of the session that is logged in on `link`
    pub(super) fn address_on(&self, directory: &Directory, link: LinkId) -> Option<Address> {
        self.session_on(link).and_then(|session| directory.session(session)).map(|session| session.address)
    }

    /// Tells the admissions that wait for something that this process stood still
    pub(super) fn handle_held_up(&mut self, now: Instant) {
        for link in self.deadlines.items().copied().collect::<Vec<_>>() {
            self.tell(link, |admission| admission.handle_held_up(now));
        }
    }

    /// Tells the admissions whose time has come
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(link) = self.deadlines.take_due(now) {
            self.tell(link, |admission| admission.handle_timeout(now));
        }
    }

    /// When to call [`Self::handle_timeout`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next_timeout()
    }
}
