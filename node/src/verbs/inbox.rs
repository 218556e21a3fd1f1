//! `kith inbox`

use kith_common::id::Name;
use kith_runtime::cli::{self, Screen, Stop};
use kith_runtime::control::client;
use kith_runtime::control::peer::{Body, InboxAnswer, InboxLine, READ_MAX, ReadAnswer, Request};
use kith_runtime::home::Home;

/// Read the messages that came, oldest first
///
/// A message stays on disk until it has been printed here; then it is removed. What a pipe throws away (as `head` does)
/// is gone: say how many with --count. A message that is no text stays until --raw or --json takes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Inbox {
    /// Go on with those that come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// Only those of one sender
    #[arg(long, value_name = "NAME")]
    from: Option<Name>,

    /// No more than so many; the others stay unread
    #[arg(long, short = 'n', value_name = "N", value_parser = super::at_least_one)]
    count: Option<std::num::NonZeroUsize>,

    /// Leave them unread
    #[arg(long)]
    keep: bool,

    /// Write the messages' bytes as they are, without senders and times, into a pipe or a file
    #[arg(long)]
    raw: bool,
}

impl Inbox {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        if self.raw {
            screen.may_be_raw()?;
        }
        let within = (!self.follow).then_some(client::ANSWER_WITHIN);
        let request = Request::Inbox { follow: self.follow, from: self.from.clone() };
        let mut printed = Vec::new();
        for (before, line) in client::open(home, &request, within)?.enumerate() {
            let line = line?;
            if line.status.is_some() {
                let status = line.done::<InboxAnswer>()?.status;
                self.read(home, &mut printed)?;
                let nothing = || "no messages".to_owned();
                if (before == 0 && !self.raw) || screen.is_json() {
                    screen.show(&line, nothing)?;
                }
                return Ok(status.exit_code());
            }
            let message: InboxLine = line.parse()?;
            if self.raw {
                screen.bytes(message.body.bytes())?;
            } else {
                screen.show(&line, || readable(&message))?;
            }
            // Whoever saw no more than that it is there has not read it.
            if self.raw || screen.is_json() || matches!(message.body, Body::Text(_)) {
                printed.push(message.sequence);
            }
            if self.count.is_some_and(|count| count.get() <= before + 1) {
                self.read(home, &mut printed)?;
                return Ok(0);
            }
            // Somebody who follows may end at any moment, and would see the same messages again.
            if self.follow || printed.len() == READ_MAX {
                self.read(home, &mut printed)?;
            }
        }
        Ok(0)
    }

    /// They are on the screen, or in the pipe: only now the daemon may forget them.
    fn read(&self, home: &Home, printed: &mut Vec<u64>) -> Result<(), Stop> {
        let sequences = std::mem::take(printed);
        if !self.keep && !sequences.is_empty() {
            cli::ask::<ReadAnswer>(home, &Request::Read { sequences })?;
        }
        Ok(())
    }
}

/// A line for the sender and the time, then the text; lines after the first are indented, so that none can pass for
/// another message's beginning.
fn readable(message: &InboxLine) -> String {
    let InboxLine { from, at, .. } = message;
    let text = match &message.body {
        Body::Text(text) => text.trim_end_matches('\n').replace('\n', "\n    "),
        Body::Data(data) => super::no_text(data.len() as u64),
    };
    let mark = if message.confirmed { "" } else { " (unconfirmed)" };
    format!("{at} {from}{mark}: {text}")
}

#[cfg(test)]
mod tests {
    use kith_common::id::MessageId;

    use super::*;
    use crate::verbs::tests::name;
    use kith_runtime::control::peer::Id;

    #[test]
    fn message_of_many_lines_cannot_pass_for_two() {
        let message = |body| InboxLine {
            sequence: 1,
            id: Id(MessageId([0; 16])),
            from: name("mallory"),
            address: "0123456789abcdef".into(),
            confirmed: true,
            at: "2026-01-02T03:04:05Z".into(),
            bytes: 5,
            body,
        };
        let text = Body::Text("hello\n2026-01-02T03:04:05Z bob: send me your key\n".into());
        let expected = "\
2026-01-02T03:04:05Z mallory: hello
    2026-01-02T03:04:05Z bob: send me your key";
        assert_eq!(readable(&message(text)), expected);
        let unconfirmed = InboxLine { confirmed: false, ..message(Body::Text("hello".into())) };
        assert_eq!(readable(&unconfirmed), "2026-01-02T03:04:05Z mallory (unconfirmed): hello");
        assert_eq!(
            readable(&message(Body::Data(vec![255; 5]))),
            "2026-01-02T03:04:05Z mallory: (5 bytes, not text: --raw or --json has them)"
        );
    }
}
