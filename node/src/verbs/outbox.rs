//! `kith outbox`

use kith_common::id::MessageId;
use kith_runtime::cli::{self, Failure, Screen, Stop, count, escaped, size, span, table};
use kith_runtime::control::peer::{FateAnswer, Id, OutboxAnswer, Request, WaitingMessage};
use kith_runtime::home::Home;

/// Show the messages that are not delivered yet, or send one of them no more
#[derive(Debug, clap::Args)]
pub(crate) struct Outbox {
    /// Send this message no more; it may have arrived
    #[arg(long, value_name = "ID")]
    take_back: Option<MessageId>,
}

impl Outbox {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        if let Some(id) = self.take_back {
            let answer = cli::ask::<FateAnswer>(home, &Request::TakeBack { id: Id(id) })?;
            let told = |taken: &FateAnswer| format!("the message to {} is sent no more", taken.to);
            return answer.tell(screen, told, |_| Failure::new(answer.status, "not taken back", None));
        }
        let answer = cli::ask::<OutboxAnswer>(home, &Request::Outbox)?;
        answer.tell(screen, readable, |_| Failure::new(answer.status, "no list of what waits", None))
    }
}

fn readable(answer: &OutboxAnswer) -> String {
    let OutboxAnswer { messages, bytes, bytes_max, waiting } = answer;
    if waiting.is_empty() {
        return "nothing waits: every message has its fate".to_owned();
    }
    let head = ["id", "to", "bytes", "age", "left", "tries", "why it is not there yet"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(waiting.iter().map(row)).collect();
    let shown = waiting.len() as u64;
    let more = if *messages > shown { format!(", of which the oldest {shown} are shown") } else { String::new() };
    let total = format!("{}{more}, {} of {}", count(*messages, "message"), size(*bytes), size(*bytes_max));
    format!("{}{total}", table(&rows))
}

fn row(message: &WaitingMessage) -> [String; 7] {
    let WaitingMessage { id, to, bytes, age_s, left_s, attempts, reason } = message;
    let why = reason.as_deref().map_or_else(|| "no receipt by now".to_owned(), escaped);
    [format!("{:?}", id.0), to.to_string(), bytes.to_string(), span(*age_s), span(*left_s), attempts.to_string(), why]
}
