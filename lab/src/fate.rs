//! What became of a message.

use kith_common::id::MessageId;
use kith_common::status::Status;
use kith_runtime::control::Done;
use kith_runtime::control::client::{ClientError, Line};
use kith_runtime::control::peer::{Id, SendAnswer};

/// What became of a message, by the word of its sender's daemon
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// 200: it is on the receiver's disk; 202: it is on its sender's
    pub status: Status,
    /// Why it was not delivered; empty if it was
    pub reason: String,
    /// None if the daemon refused to send it
    pub id: Option<MessageId>,
    /// Links that it crossed; 0 if that is not known
    pub hops: u64,
    /// The names along its way, both ends included; empty if it was not delivered
    pub path: Vec<String>,
    /// Whether a supernode carried it
    pub relayed: bool,
    /// How often it was sent; 0 if the daemon refused to send it
    pub attempts: u64,
}

impl Fate {
    /// What the last line of the answer to `send` says; that the daemon refused to send it is a fate as well
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the line is something else.
    pub fn of(line: &Line) -> Result<Self, ClientError> {
        match line.done::<SendAnswer>() {
            Ok(done) => Ok(done.into()),
            Err(ClientError::Refused { status, refusal }) => Ok(Self { reason: refusal.error, ..Self::bare(status) }),
            Err(error) => Err(error),
        }
    }

    /// A fate of which nothing but the status is known
    pub(crate) fn bare(status: Status) -> Self {
        let (reason, path) = (String::new(), Vec::new());
        Self { status, reason, id: None, hops: 0, path, relayed: false, attempts: 0 }
    }

    /// Whether the message is on the receiver's disk
    pub fn is_delivered(&self) -> bool {
        self.status == Status::Delivered
    }

    /// `alice → carol → heidi`
    pub fn way(&self) -> String {
        self.path.join(" → ")
    }
}

impl From<Done<SendAnswer>> for Fate {
    fn from(Done { status, answer, .. }: Done<SendAnswer>) -> Self {
        let SendAnswer { id: Id(id), hops, path, relayed, attempts, reason, .. } = answer;
        Self { status, reason: reason.unwrap_or_default(), id: Some(id), hops, path, relayed, attempts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(line: &str) -> Fate {
        Fate::of(&Line::read(line.to_owned()).expect("a line")).expect("a fate")
    }

    #[test]
    fn delivered_message_has_a_way() {
        let sent = fate(
            r#"{"done":true,"status":200,"id":"000102030405060708090a0b0c0d0e0f","to":"heidi","hops":2,
            "path":["alice","bob","heidi"],"relayed":false,"elapsed_us":900,"attempts":1,"reason":null}"#,
        );
        assert!(sent.is_delivered());
        assert_eq!(sent.way(), "alice → bob → heidi");
    }

    #[test]
    fn refusal_is_a_fate_with_its_reason() {
        let sent = fate(r#"{"done":true,"status":503,"error":"no session"}"#);
        assert_eq!((sent.status, sent.reason.as_str()), (Status::Unavailable, "no session"));
    }
}
