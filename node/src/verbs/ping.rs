//! `kith ping NAME`

use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Answer, Failure, Screen, Stop, count, time};
use kith_runtime::control::peer::{PingAnswer, Request};
use kith_runtime::home::Home;
use serde::Serialize;

/// Between two pings, as in ping(8)
const EVERY: Duration = Duration::from_secs(1);

/// Ask a peer whether it is there, and measure the way there and back
///
/// Exits with 0 if one ping was answered, else with the last one's status.
#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    /// Whom to ask
    name: Name,

    /// How many times, one second apart
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// After more than one ping
#[derive(Debug, Default, Serialize)]
struct Summary {
    done: bool,
    status: u16,
    sent: u64,
    answered: u64,
    rtt_min_us: Option<u64>,
    rtt_mean_us: Option<u64>,
    rtt_max_us: Option<u64>,
}

impl Ping {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let request = Request::Ping { name: self.name.clone() };
        if self.count == 1 {
            let answer = cli::ask::<PingAnswer>(home, &request)?;
            return answer.tell(screen, answered, |_| unanswered(&answer, home));
        }
        let (mut status, mut times) = (Status::TimedOut, Vec::new());
        for index in 0..self.count {
            if index > 0 {
                std::thread::sleep(EVERY);
            }
            let answer = cli::ask::<PingAnswer>(home, &request)?;
            let is_answer = answer.status.is_success();
            screen.show(&answer.line, || match is_answer {
                true => answered(&answer.answer),
                false => unanswered(&answer, home).error,
            })?;
            times.extend(answer.answer.rtt_us.filter(|_| is_answer));
            if is_answer || times.is_empty() {
                status = answer.status;
            }
        }
        let summary = summary(status, u64::from(self.count), &times);
        if screen.is_json() {
            screen.object(&summary)?
        } else {
            screen.text(&summary.readable())?
        }
        Ok(status.exit_code())
    }
}

fn summary(status: Status, sent: u64, times: &[u64]) -> Summary {
    let answered = times.len() as u64;
    Summary {
        done: true,
        status: status.code(),
        sent,
        answered,
        rtt_min_us: times.iter().min().copied(),
        rtt_mean_us: times.iter().sum::<u64>().checked_div(answered),
        rtt_max_us: times.iter().max().copied(),
    }
}

impl Summary {
    fn readable(&self) -> String {
        let Self { sent, answered, .. } = self;
        let times = match (self.rtt_min_us, self.rtt_mean_us, self.rtt_max_us) {
            (Some(min), Some(mean), Some(max)) => {
                format!("; least {}, mean {}, most {}", time(min), time(mean), time(max))
            }
            _ => String::new(),
        };
        format!("{answered} of {sent} answered{times}")
    }
}

fn answered(answer: &PingAnswer) -> String {
    let PingAnswer { name, hops, path, .. } = answer;
    let way = if path.is_empty() {
        String::new()
    } else {
        format!(" over {} ({})", count(*hops, "hop"), super::arrows(path))
    };
    format!("{name} answered in {}{way}", time(answer.rtt_us.unwrap_or_default()))
}

fn unanswered(answer: &Answer<PingAnswer>, home: &Home) -> Failure {
    let PingAnswer { name, reason, .. } = &answer.answer;
    let error = format!("no answer from {name}: {}", super::why(answer.status, reason.as_deref()));
    Failure::new(answer.status, error, super::next(home, answer.status, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::tests::name;

    #[test]
    fn ping_is_told_with_its_time_and_way() {
        let path = ["alice", "heidi"].map(str::to_owned).to_vec();
        let answer = PingAnswer { name: name("heidi"), hops: 1, path, rtt_us: Some(412), reason: None };
        assert_eq!(answered(&answer), "heidi answered in 0.41 ms over 1 hop (alice → heidi)");
    }

    #[test]
    fn summary_has_the_least_mean_and_most_of_what_was_answered() {
        let text = summary(Status::Delivered, 4, &[1_000, 2_000, 6_000]).readable();
        assert_eq!(text, "3 of 4 answered; least 1.0 ms, mean 3.0 ms, most 6.0 ms");
        assert_eq!(summary(Status::TimedOut, 2, &[]).readable(), "0 of 2 answered");
    }
}
