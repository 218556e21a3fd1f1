//! `kith send NAME TEXT`

use std::io::Read;
use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::wire::content::MESSAGE_BYTES_MAX;
use kith_runtime::cli::{self, Answer, Failure, Screen, Stop, count, span, time};
use kith_runtime::control::client::ANSWER_WITHIN;
use kith_runtime::control::peer::{Body, Request, SendAnswer};
use kith_runtime::home::Home;

/// Deliver a message and show its way and time
///
/// Returns when the message is on the receiver's disk, or when it is sure that it is not. After 10 seconds, or as soon as its
/// receiver is found not to be here, it is enough that the message is in the out-box on this disk: from there it is delivered
/// until its time is over, across restarts of both.
#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    /// To whom
    name: Name,

    /// What to say; - reads standard input, at most 16 MiB; after -- it may begin with a hyphen
    #[arg(required = true, num_args = 1..)]
    text: Vec<String>,

    /// How long to keep it until it is delivered, e.g. 90, 15m, 12h or 7d (a month at most); 0: deliver it now or never
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = super::lasting)]
    ttl: Duration,

    /// How many seconds to wait for the receipt
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = super::seconds)]
    wait: Duration,

    /// Return once it is in the out-box
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl Send {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let bytes = match self.text.as_slice() {
            [text] if text == "-" => read(std::io::stdin())?,
            words => words.join(" ").into_bytes(),
        };
        if bytes.len() > MESSAGE_BYTES_MAX {
            let error = format!("the message is longer than {MESSAGE_BYTES_MAX} bytes");
            return Err(Failure::new(Status::TooLarge, error, None).into());
        }
        let wait = if self.no_wait { Duration::ZERO } else { self.wait };
        let (ttl_s, wait_ms) = (Some(self.ttl.as_secs()), Some(wait.as_millis() as u64));
        let request = Request::Send { name: self.name, body: Body::of(bytes).compact(), ttl_s, wait_ms };
        let answer = cli::ask_within::<SendAnswer>(home, &request, ANSWER_WITHIN + wait)?;
        answer.tell(screen, |sent| told(answer.status, sent, home), |_| undelivered(&answer, home))
    }
}

/// One byte more than is allowed, so that too much is noticed.
fn read(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::local(format!("cannot read standard input: {error}")))?;
    Ok(bytes)
}

fn told(status: Status, answer: &SendAnswer, home: &Home) -> String {
    match status {
        Status::Accepted => kept(answer, home),
        _ => delivered(answer),
    }
}

fn kept(answer: &SendAnswer, home: &Home) -> String {
    let SendAnswer { id, to, reason, left_s, .. } = answer;
    let why = reason.as_ref().map_or("no receipt by now".to_owned(), Clone::clone);
    let left = left_s.map(|left| format!(" for {}", span(left))).unwrap_or_default();
    let next = home.command(&format!("fate {:?}", id.0));
    format!(
        "in the out-box for {to}: {why}; it will be delivered when that is possible,{left} from now on; next: {next}"
    )
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
            left_s: None,
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
    fn message_that_waits_is_told_with_why_for_how_long_and_what_to_type() {
        let home = Home::resolve(kith_runtime::home::PEER, Some(std::path::Path::new("/srv/a"))).unwrap();
        let answer = SendAnswer {
            id: Id(MessageId([1; 16])),
            to: name("heidi"),
            hops: 0,
            path: vec![],
            relayed: false,
            elapsed_us: 900,
            attempts: 0,
            reason: Some("its owner has logged out".into()),
            left_s: Some(86_400),
        };
        assert_eq!(
            told(Status::Accepted, &answer, &home),
            "in the out-box for heidi: its owner has logged out; it will be delivered when that is possible, for 1 d 0 h from \
             now on; next: kith --home /srv/a fate 01010101010101010101010101010101"
        );
    }

    #[test]
    fn standard_input_over_the_bound_is_not_cut_silently() {
        assert_eq!(read(std::io::repeat(7)).unwrap().len(), MESSAGE_BYTES_MAX + 1);
    }
}
