//! Between the log and the links: what the log tells, and the questions and answers of supernodes that agree.

use kith_common::id::SupernodeId;
use kith_common::link::LinkId;
use kith_common::supernode::{LogEvent, SupernodeEntry};
use kith_common::time::Instant;
use kith_common::wire::Frame;
use kith_runtime::link::{LinkCommand, LinkEvent};

use super::{Driver, DriverError};
use crate::log::News;

impl Driver {
    /// A frame came: those between logs are theirs, all others the core's
    pub(super) fn handle_frame(&mut self, now: Instant, link: LinkId, frame: Frame) {
        match (self.core.supernode_on(link), frame) {
            (Some(from), Frame::LogAsk(ask)) => self.log.ask(from, ask),
            (Some(from), Frame::LogAnswer(answer)) => self.log.answer(from, answer),
            // Whoever has shown no certificate has no right to these, which is the core's to say.
            (_, frame) => self.core.handle_frame(now, link, frame),
        }
    }

    pub(super) fn handle_closed(&mut self, now: Instant, link: LinkId, reason: &str) {
        let supernode = self.core.supernode_on(link);
        self.core.handle_closed(now, link, reason);
        if let Some(supernode) = supernode.filter(|supernode| self.core.backbone_to(*supernode).is_none()) {
            self.log.lose(supernode);
            self.other_logs.remove(&supernode);
        }
    }

    /// An event that comes while this supernode leaves: nothing new is begun, but what is proposed is to be agreed on, and
    /// whoever leads must hear the others, who would wait for it in vain
    pub(super) fn handle_last(&mut self, event: LinkEvent) {
        let now = self.clock.now();
        match event {
            LinkEvent::Frame { link, frame: frame @ (Frame::LogAsk(_) | Frame::LogAnswer(_)) } => {
                self.handle_frame(now, link, frame);
            }
            LinkEvent::Closed { link, reason } if self.core.supernode_on(link).is_some() => {
                self.handle_closed(now, link, &reason.to_string());
            }
            _ => {}
        }
    }

    /// The log says something
    ///
    /// # Errors
    /// [`DriverError`] if it cannot go on, and so this supernode cannot.
    pub(super) fn handle_news(&mut self, news: News) -> Result<(), DriverError> {
        let now = self.clock.now();
        match news {
            News::Events(events) => events.into_iter().for_each(|event| self.core.handle_log(now, event)),
            News::Replaced(directory) => self.core.handle_log(now, LogEvent::Replaced(directory)),
            News::Configured(supernodes) => {
                self.membership.handle_configured(&supernodes);
                self.others.keep(&supernodes);
                let entry = |(id, locations, is_voter)| SupernodeEntry { id, locations, is_voter };
                self.core.handle_log(now, LogEvent::Supernodes(supernodes.into_iter().map(entry).collect()));
            }
            News::Leader(leader) => {
                if leader.is_some() {
                    self.hold_until = None;
                }
                self.core.handle_log(now, LogEvent::LeaderChanged(leader));
            }
            News::Read(Some(index)) => self.core.handle_log(now, LogEvent::Readable(index)),
            News::Read(None) => self.core.handle_log(now, LogEvent::Unreadable),
            News::Ask { whom, ask } => {
                if !self.tell(whom, Frame::LogAsk(*ask)) {
                    self.log.lose(whom);
                }
            }
            // Without a link, whoever asked has lost it as well.
            News::Answer { whom, answer } => drop(self.tell(whom, Frame::LogAnswer(*answer))),
            News::OtherLog(id) => {
                if self.core.backbone_to(id).is_some() && self.other_logs.insert(id) {
                    let reason = "one of the two was put back from a backup: whichever is not wanted must join anew, in an \
                                  empty home";
                    tracing::error!(event = "other_log", %id, reason);
                }
            }
            News::Disk(fault) => {
                self.log.set_full(fault.is_some());
                self.log_fault = fault;
            }
            News::Failed(error) => return Err(error.into()),
            News::Ended(reason) => return Err(DriverError::LogEnded(reason)),
        }
        self.seek_membership();
        Ok(())
    }

    /// Whether there is a link to tell it on
    fn tell(&mut self, whom: SupernodeId, frame: Frame) -> bool {
        let link = self.core.backbone_to(whom);
        self.commands.extend(link.map(|link| LinkCommand::Send { link, frame }));
        link.is_some()
    }

    /// Asks to be let in, or says where this supernode is by now, if that is due
    pub(super) fn seek_membership(&mut self) {
        let linked = self.core.linked_supernode();
        let wish = self.membership.wish(self.clock.now(), &self.listen, linked, self.core.leader().is_some());
        if let Some((change, via)) = wish {
            self.membership.begin(self.log.change(change, via));
        }
    }
}
