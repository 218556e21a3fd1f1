//! What arrives is what was sent, to the byte and by whom, and the result of a call is that call's.
//!
//! Source: a message's id stands for one content (docs/protocol.md, "Messages and their fates"). All contents of a run
//! differ (`stamp` in `mesh::users`), so bytes of another message are seen as such.

use std::collections::{BTreeMap, HashMap};

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::Call;

use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;
use crate::mesh::users::{echo, name_of};
use crate::mesh::watch::Observation;

/// Who sent each message, and what it says: a run's messages are some ten thousand, so none is forgotten
#[derive(Debug, Default)]
pub(crate) struct Contents {
    sent: BTreeMap<MessageId, (Name, Vec<u8>)>,
    calls: BTreeMap<MessageId, Call>,
    /// By whom, and at whom, each was made that differs from all others
    callers: HashMap<Call, (Name, Name)>,
}

impl Oracle for Contents {
    fn name(&self) -> &'static str {
        "contents"
    }

    fn see(&mut self, _: Instant, node: NodeId, seen: &Observation<'_>) -> Result<(), String> {
        match seen {
            Observation::Sending { id, bytes, .. } => {
                self.sent.insert(*id, (name_of(node.0), bytes.to_vec()));
            }
            Observation::Keeping(message) => match self.sent.get(&message.id) {
                None => return Err(format!("message {} arrived, which nobody sent", message.id)),
                Some((from, _)) if *from != message.from => {
                    return Err(format!("message {} of {from} arrived as one of {}", message.id, message.from));
                }
                Some((_, bytes)) if *bytes == message.bytes => {}
                Some((from, _)) => return Err(format!("message {} of {from} arrived with other bytes", message.id)),
            },
            Observation::Calling { id, to, call, .. } => {
                self.calls.insert(*id, (*call).clone());
                self.callers.insert((*call).clone(), (name_of(node.0), (*to).clone()));
            }
            Observation::Evaluating { from, call, .. } => {
                let here = name_of(node.0);
                let from = from.map_or(&here, |grant| &grant.name);
                match self.callers.get(*call) {
                    Some((caller, to)) if caller == from && *to == here => {}
                    Some((caller, to)) => {
                        return Err(format!("a call of {caller} at {to} is evaluated here as one of {from}"));
                    }
                    None => return Err(format!("a call is evaluated for {from} that nobody has made")),
                }
            }
            Observation::Called(called)
                if called.status == Status::Delivered
                    && called.pipe.is_none()
                    && self.calls.get(&called.id).map(echo).as_ref() != Some(&called.body) =>
            {
                return Err(format!("the result of call {} is another one's", called.id));
            }
            _ => {}
        }
        Ok(())
    }
}
