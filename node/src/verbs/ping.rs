//! `kith ping NAME`

use std::time::Duration;

use kith_common::id::Name;
use kith_common::status::Status;
use kith_runtime::cli::{self, Answer, Failure, Screen, Stop, count, time};
use kith_runtime::control::Done;
use kith_runtime::control::client;
use kith_runtime::control::peer::{EndPingsAnswer, Id, PingAnswer, PingEcho, PingLine, PingsAnswer, Request, Series};
use kith_runtime::home::Home;
use kith_transport::stack::{INTERVAL_MAX, INTERVAL_MIN, TIMEOUT_MAX};
use kith_transport::{PING_BYTES_MAX, PING_BYTES_MIN};

/// Ask a peer whether it is there, and measure the way there and back
///
/// With no more than a name it asks once, and shows the way. With any of the flags below it makes a connection and pings as
/// ping(8) does: at each interval, whether or not the last ping was answered, until Ctrl-C unless --count says how often. Exits
/// with 0 if any ping was answered, else with the status that says why none was.
#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    /// Whom to ask
    name: Name,

    /// How many times
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,

    /// From one ping to the next, from 0.01 on [default: 1]
    #[arg(long, short, value_name = "SECONDS", value_parser = interval)]
    interval: Option<Duration>,

    /// Bytes of each ping, and of its answer, 9 to 5900 [default: 64]
    #[arg(long, short, value_name = "BYTES", value_parser = size())]
    size: Option<u64>,

    /// How long the connection may take, and an answer, up to 60 [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = timeout)]
    timeout: Option<Duration>,
}

fn size() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(PING_BYTES_MIN as u64..=PING_BYTES_MAX as u64)
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = super::seconds(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    Err(format!("not from {} to {} seconds", INTERVAL_MIN.as_secs_f64(), INTERVAL_MAX.as_secs()))
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = super::seconds(text)?;
    if timeout <= TIMEOUT_MAX { Ok(timeout) } else { Err(format!("more than {} seconds", TIMEOUT_MAX.as_secs())) }
}

impl Ping {
    pub(crate) fn run(self, home: &Home, screen: &mut Screen) -> Result<u8, Stop> {
        let millis = |time: Duration| time.as_millis() as u64;
        let series = Series {
            count: self.count.map(u64::from),
            interval_ms: self.interval.map(millis),
            size: self.size,
            timeout_ms: self.timeout.map(millis),
        };
        let (is_one, request) = (series == Series::default(), Request::Ping { name: self.name, series });
        if is_one {
            let answer = cli::ask::<PingAnswer>(home, &request)?;
            return answer.tell(screen, answered, |_| unanswered(&answer, home));
        }
        follow(home, screen, &request)
    }
}

/// Shows what becomes of a series, line by line
fn follow(home: &Home, screen: &mut Screen, request: &Request) -> Result<u8, Stop> {
    for line in client::open(home, request, None)? {
        let line = line?;
        if line.status.is_some() {
            let Done { status, answer, .. } = line.done::<PingsAnswer>()?;
            if screen.is_json() {
                screen.show(&line, String::new)?;
                return Ok(status.exit_code());
            }
            if answer.sent > 0 {
                screen.text(&summary(&answer))?;
            }
            return if status.is_success() { Ok(0) } else { Err(in_vain(status, &answer, home).into()) };
        }
        match line.parse::<PingLine>()? {
            PingLine::Begun { series } => end_at_interrupt(home, series),
            PingLine::Answer(answer) => screen.show(&line, || echoed(&answer))?,
            PingLine::Trouble { status, reason } => screen.show(&line, || trouble(status, &reason))?,
        }
    }
    Ok(0)
}

/// Whoever has seen enough still wants the summary: the daemon, which counts, is asked to end the series
fn end_at_interrupt(home: &Home, series: Id) {
    let home = home.clone();
    let end = move || {
        let asked = client::ask(&home, &Request::EndPings { series }, client::ANSWER_WITHIN);
        // Whatever has kept it from being ended ends what is read of it as well.
        let _ = asked.and_then(|line| line.done::<EndPingsAnswer>());
    };
    if let Err(reason) = cli::on_interrupt(end) {
        tracing::debug!(event = "no_interrupt", %reason);
    }
}

fn echoed(answer: &PingEcho) -> String {
    let PingEcho { name, seq, bytes, rtt_us, duplicate, reordered, late } = answer;
    let marks = [(duplicate, " (DUP!)"), (reordered, " (out of order)"), (late, " (late)")];
    let marks: String = marks.iter().filter(|(is, _)| **is).map(|(_, mark)| *mark).collect();
    format!("{} from {name}: seq={seq} time={}{marks}", count(*bytes, "byte"), time(*rtt_us))
}

fn trouble(status: u16, reason: &str) -> String {
    let status = Status::from_code(status).map_or_else(|| status.to_string(), |status| status.to_string());
    format!("pings are lost: {status}: {reason}; trying on")
}

/// As ping(8) writes it, in milliseconds
fn summary(answer: &PingsAnswer) -> String {
    let PingsAnswer { name, sent, received, lost, duplicates, reordered, .. } = answer;
    let share = if *sent == 0 { 0.0 } else { 100.0 * *lost as f64 / *sent as f64 };
    let counts = format!(
        "--- {name} ping statistics ---\n{} sent, {received} received, {share:.1}% lost, {}, {reordered} out of order",
        count(*sent, "ping"),
        count(*duplicates, "duplicate"),
    );
    let times = [answer.rtt_min_us, answer.rtt_avg_us, answer.rtt_max_us, answer.rtt_mdev_us];
    let [Some(min), Some(avg), Some(max), Some(mdev)] = times.map(|time| time.map(millis)) else { return counts };
    let jitter = answer.jitter_us.map(|jitter| format!(", jitter {} ms", millis(jitter))).unwrap_or_default();
    format!("{counts}\nrtt min/avg/max/mdev = {min}/{avg}/{max}/{mdev} ms{jitter}")
}

fn millis(micros: u64) -> String {
    format!("{:.3}", micros as f64 / 1000.0)
}

fn in_vain(status: Status, answer: &PingsAnswer, home: &Home) -> Failure {
    let PingsAnswer { name, reason, .. } = answer;
    let error = format!("no answer from {name}: {}", super::why(status, reason.as_deref()));
    Failure::new(status, error, super::next(home, status, name))
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
    fn answer_of_a_series_says_what_is_odd_about_it() {
        let answer = PingEcho {
            name: name("bob"),
            seq: 3,
            bytes: 64,
            rtt_us: 412,
            duplicate: false,
            reordered: false,
            late: false,
        };
        assert_eq!(echoed(&answer), "64 bytes from bob: seq=3 time=0.41 ms");
        let twice = PingEcho { duplicate: true, ..answer.clone() };
        assert_eq!(echoed(&twice), "64 bytes from bob: seq=3 time=0.41 ms (DUP!)");
        let late = PingEcho { reordered: true, late: true, rtt_us: 11_000_000, ..answer };
        assert_eq!(echoed(&late), "64 bytes from bob: seq=3 time=11.0 s (out of order) (late)");
        let told = trouble(410, "its owner has logged out");
        assert_eq!(told, "pings are lost: 410 not here: its owner has logged out; trying on");
    }

    #[test]
    fn summary_is_as_ping_writes_it() {
        let answer = PingsAnswer {
            name: name("bob"),
            sent: 7,
            received: 5,
            lost: 2,
            duplicates: 1,
            reordered: 2,
            rtt_min_us: Some(410),
            rtt_avg_us: Some(500),
            rtt_max_us: Some(12_620),
            rtt_mdev_us: Some(50),
            jitter_us: Some(41),
            reason: None,
        };
        let expected = "\
--- bob ping statistics ---
7 pings sent, 5 received, 28.6% lost, 1 duplicate, 2 out of order
rtt min/avg/max/mdev = 0.410/0.500/12.620/0.050 ms, jitter 0.041 ms";
        assert_eq!(summary(&answer), expected);
        let (none, times) = (PingsAnswer { received: 0, lost: 7, ..answer }, None);
        let none = PingsAnswer { rtt_min_us: times, rtt_avg_us: times, rtt_max_us: times, rtt_mdev_us: times, ..none };
        assert!(summary(&none).ends_with("7 pings sent, 0 received, 100.0% lost, 1 duplicate, 2 out of order"));
    }

    #[test]
    fn interval_and_timeout_have_their_bounds() {
        assert_eq!(interval("0.01"), Ok(Duration::from_millis(10)));
        assert_eq!(interval("0.001"), Err("not from 0.01 to 3600 seconds".into()));
        assert_eq!((timeout("60"), timeout("61")), (Ok(Duration::from_secs(60)), Err("more than 60 seconds".into())));
    }
}
