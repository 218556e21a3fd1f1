//! `kith send NAME TEXT`

use std::io::Read;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::wire::content::DATA_BYTES_MAX;
use kith_runtime::cli::{self, Answer, Failure, Screen, Stop, count, time};
use kith_runtime::control::peer::{Body, Request, SendAnswer};
use kith_runtime::home::Home;

/// Deliver a message and show its way and time
///
/// Returns when the message is on the receiver's disk, when it is sure that it is not, or after 10 seconds: then it may or
/// may not be.
#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    /// To whom
    name: Name,

    /// What to say; - reads standard input, at most 56 KiB; after -- it may begin with a hyphen
    #[arg(required = true, num_args = 1..)]
    text: Vec<String>,
}

impl Send {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let bytes = match self.text.as_slice() {
            [text] if text == "-" => read(std::io::stdin())?,
            words => words.join(" ").into_bytes(),
        };
        if bytes.len() > DATA_BYTES_MAX {
            let error = format!("the message is longer than {DATA_BYTES_MAX} bytes");
            return Err(Failure::new(Status::TooLarge, error, None).into());
        }
        let request = Request::Send { name: self.name, body: Body::of(bytes).compact() };
        let answer = cli::ask::<SendAnswer>(home, &request)?;
        answer.tell(screen, delivered, |_| undelivered(&answer, home))
    }
}

/// One byte more than is allowed, so that too much is noticed.
fn read(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(DATA_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::local(format!("cannot read standard input: {error}")))?;
    Ok(bytes)
}

fn delivered(answer: &SendAnswer) -> String {
    let SendAnswer { to, hops, path, elapsed_us, attempts, .. } = answer;
    let again = if *attempts > 1 { format!(", {attempts} attempts") } else { String::new() };
    let relayed = if answer.relayed { " through a supernode" } else { "" };
    let way =
        if path.is_empty() { String::new() } else { format!(" in {} ({})", count(*hops, "hop"), super::arrows(path)) };
    format!("delivered to {to}{way}{relayed}, {}{again}", time(*elapsed_us))
}

fn undelivered(answer: &Answer<SendAnswer>, home: &Home) -> Failure {
    let SendAnswer { to, elapsed_us, attempts, reason, .. } = &answer.answer;
    let why = super::why(answer.status, reason.as_deref());
    let tried = format!("{}, {}", count(*attempts, "attempt"), time(*elapsed_us));
    let hint = super::next(home, answer.status, to);
    // Without an answer nobody can be sure; every other end is one.
    let what = if answer.status == Status::TimedOut { "no receipt from" } else { "not delivered to" };
    Failure::new(answer.status, format!("{what} {to}: {why} ({tried})"), hint)
}

#[cfg(test)]
mod tests {
    use kith_common::id::MessageId;

    use super::*;
    use crate::verbs::tests::name;
    use kith_runtime::control::peer::Id;

    #[test]
    fn delivery_is_told_with_its_way_and_time() {
        let path = ["alice", "carol", "frank", "heidi"].map(str::to_owned).to_vec();
        let answer = SendAnswer {
            id: Id(MessageId([0; 16])),
            to: name("heidi"),
            hops: 3,
            path,
            relayed: false,
            elapsed_us: 2_140,
            attempts: 1,
            reason: None,
        };
        assert_eq!(delivered(&answer), "delivered to heidi in 3 hops (alice → carol → frank → heidi), 2.1 ms");
        let again = SendAnswer { attempts: 2, relayed: true, elapsed_us: 512_000, ..answer.clone() };
        assert_eq!(
            delivered(&again),
            "delivered to heidi in 3 hops (alice → carol → frank → heidi) through a supernode, 512.0 ms, 2 attempts"
        );
        let own = SendAnswer { hops: 0, path: vec![], elapsed_us: 90, ..answer };
        assert_eq!(delivered(&own), "delivered to heidi, 0.09 ms");
    }

    #[test]
    fn standard_input_over_the_bound_is_not_cut_silently() {
        assert_eq!(read(std::io::repeat(7)).unwrap().len(), DATA_BYTES_MAX + 1);
    }
}
