//! What both chains did, side by side.

use serde::Serialize;
use serde_json::json;

use super::super::median;
use super::Lap;
use super::stage::Faults;

/// What one chain did at one size: medians of its turns
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub messages_per_s: f64,
    /// Megabytes (10⁶) of payload per second
    pub megabytes_per_s: f64,
    /// Processor time of all five processes for a message, in nanoseconds: what other programs take does not count
    pub cpu_ns_per_message: f64,
    /// Of that, what one forwarder takes
    pub forwarder_ns_per_message: f64,
    /// Half of the round trips took no longer, in microseconds
    pub rtt_p50_us: f64,
    /// 99 of 100 round trips took no longer, in microseconds
    pub rtt_p99_us: f64,
}

/// Both chains at one size
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Bytes of a message
    pub bytes: usize,
    /// The relays that copy
    pub bare: Figures,
    /// Kith's links and decisions
    pub kith: Figures,
    /// Kith's over bare: the median of the rounds' own ratios, so that a busy moment spoils one round only
    pub messages_ratio: f64,
    /// The same of the processor time, the other way round: bare over Kith's
    pub cpu_ratio: f64,
    /// The same of what one forwarder takes
    pub forwarder_ratio: f64,
    /// The same of the median round trips
    pub rtt_p50_ratio: f64,
    /// The same of the slow round trips
    pub rtt_p99_ratio: f64,
    /// Messages that Kith's chain was given while it sent as fast as it could
    pub sent: u64,
    /// Those that did not arrive
    pub lost: u64,
}

impl Row {
    pub(super) fn of(bytes: usize, laps: &[(Lap, Lap)]) -> Self {
        let of = |pick: &dyn Fn(&(Lap, Lap)) -> f64| median(laps.iter().map(pick).collect());
        let figures = |pick: fn(&(Lap, Lap)) -> &Lap| {
            let of = |figure: fn(&Lap) -> f64| median(laps.iter().map(|lap| figure(pick(lap))).collect());
            let rate = of(|lap| lap.rate);
            Figures {
                messages_per_s: rate,
                megabytes_per_s: rate * bytes as f64 / 1e6,
                cpu_ns_per_message: of(|lap| lap.cpu_ns),
                forwarder_ns_per_message: of(|lap| lap.forwarder_ns),
                rtt_p50_us: of(|lap| lap.p50_us),
                rtt_p99_us: of(|lap| lap.p99_us),
            }
        };
        Self {
            bytes,
            bare: figures(|lap| &lap.0),
            kith: figures(|lap| &lap.1),
            messages_ratio: of(&|lap| over(lap.1.rate, lap.0.rate)),
            cpu_ratio: of(&|lap| over(lap.0.cpu_ns, lap.1.cpu_ns)),
            forwarder_ratio: of(&|lap| over(lap.0.forwarder_ns, lap.1.forwarder_ns)),
            rtt_p50_ratio: of(&|lap| over(lap.1.p50_us, lap.0.p50_us)),
            rtt_p99_ratio: of(&|lap| over(lap.1.p99_us, lap.0.p99_us)),
            sent: laps.iter().map(|lap| lap.1.sent).sum(),
            lost: laps.iter().map(|lap| lap.1.lost).sum(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// A row for each size
    pub rows: Vec<Row>,
    /// How often each chain took its turn at each size
    pub rounds: usize,
    /// Packets that the forwarders of Kith's chain passed on, those of round trips and acknowledgements included
    pub forwarded: u64,
    /// Packets that anybody in Kith's chain dropped, gave back, or got out of their order
    pub dropped: u64,
    /// Processors of the machine
    pub processors: usize,
    /// Whether the program was built without optimisation: then the figures mean nothing
    pub debug: bool,
}

impl Report {
    pub(super) fn new(rows: Vec<Row>, rounds: usize, faults: Faults) -> Self {
        let Faults { forwarded, dropped } = faults;
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        Self { rows, rounds, forwarded, dropped, processors, debug: cfg!(debug_assertions) }
    }

    /// Whether every message arrived
    pub(crate) fn is_whole(&self) -> bool {
        self.dropped == 0 && self.rows.iter().all(|row| row.lost == 0)
    }

    /// One object, with the keys of this type
    pub(crate) fn json(&self) -> String {
        json!(self).to_string()
    }

    /// For people
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "through three forwarders, medians of {} rounds on {} processors\n{:<8} {:<5} {:>11} {:>8} {:>6} {:>11} {:>6} \
             {:>11} {:>6} {:>9} {:>6} {:>9} {:>6}",
            self.rounds,
            self.processors,
            "payload",
            "chain",
            "messages/s",
            "MB/s",
            "ratio",
            "CPU each",
            "ratio",
            "a forwarder",
            "ratio",
            "p50",
            "ratio",
            "p99",
            "ratio"
        );
        for row in &self.rows {
            text.push_str(&line(&size(row.bytes), "bare", &row.bare, None));
            text.push_str(&line("", "kith", &row.kith, Some(row)));
        }
        let (sent, lost): (u64, u64) =
            self.rows.iter().fold((0, 0), |(sent, lost), row| (sent + row.sent, lost + row.lost));
        text.push_str(&format!(
            "\nkith: {} messages sent, {} lost; {} packets forwarded, {} dropped",
            grouped(sent as f64),
            grouped(lost as f64),
            grouped(self.forwarded as f64),
            grouped(self.dropped as f64)
        ));
        if self.debug {
            text.push_str("\n(a debug build: cargo run --release --bin kith-lab -- bench chain)");
        }
        text
    }
}

fn line(size: &str, chain: &str, figures: &Figures, ratios: Option<&Row>) -> String {
    let ratio = |pick: fn(&Row) -> f64| ratios.map(|row| format!("{:.2}", pick(row))).unwrap_or_default();
    let Figures {
        messages_per_s,
        megabytes_per_s,
        cpu_ns_per_message,
        forwarder_ns_per_message,
        rtt_p50_us,
        rtt_p99_us,
    } = figures;
    format!(
        "\n{size:<8} {chain:<5} {:>11} {megabytes_per_s:>8.1} {:>6} {:>8} ns {:>6} {:>8} ns {:>6} {rtt_p50_us:>6.0} µs {:>6} \
         {rtt_p99_us:>6.0} µs {:>6}",
        grouped(*messages_per_s),
        ratio(|row| row.messages_ratio),
        grouped(*cpu_ns_per_message),
        ratio(|row| row.cpu_ratio),
        grouped(*forwarder_ns_per_message),
        ratio(|row| row.forwarder_ratio),
        ratio(|row| row.rtt_p50_ratio),
        ratio(|row| row.rtt_p99_ratio)
    )
}

/// One round, for whoever waits
pub(super) fn progress(bytes: usize, round: usize, rounds: usize, bare: &Lap, kith: &Lap) -> String {
    format!(
        "{}, round {round} of {rounds}: bare {} messages/s and {:.0} µs, kith {} and {:.0} µs",
        size(bytes),
        grouped(bare.rate),
        bare.p50_us,
        grouped(kith.rate),
        kith.p50_us
    )
}

fn size(bytes: usize) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

/// A number with its thousands apart
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<String> =
        digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(",")
}

fn over(value: f64, base: f64) -> f64 {
    if base > 0.0 { value / base } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lap(rate: f64, p50_us: f64) -> Lap {
        Lap { rate, cpu_ns: 1e9 / rate, forwarder_ns: 2e8 / rate, p50_us, p99_us: 2.0 * p50_us, sent: 10, lost: 0 }
    }

    #[test]
    fn ratio_is_the_median_of_the_rounds_own() {
        // The machine was busy in the last round, which both chains felt.
        let laps = [
            (lap(1000.0, 10.0), lap(500.0, 20.0)),
            (lap(1000.0, 10.0), lap(400.0, 15.0)),
            (lap(100.0, 99.0), lap(60.0, 99.0)),
        ];
        let row = Row::of(1024, &laps);
        assert_eq!((row.messages_ratio, row.rtt_p50_ratio, row.rtt_p99_ratio), (0.5, 1.5, 1.5));
        assert_eq!((row.bare.messages_per_s, row.kith.messages_per_s), (1000.0, 400.0));
        assert_eq!((row.bare.megabytes_per_s, row.sent), (1.024, 30));
    }

    #[test]
    fn loss_or_a_drop_spoils_the_report() {
        let row = Row::of(64, &[(lap(1.0, 1.0), Lap { lost: 1, ..lap(1.0, 1.0) })]);
        let whole = Report::new(Vec::new(), 1, Faults::default());
        assert!(whole.is_whole());
        assert!(!Report { rows: vec![row], ..whole.clone() }.is_whole());
        assert!(!Report { dropped: 1, ..whole }.is_whole());
    }

    #[test]
    fn table_has_a_line_for_each_chain_and_size() {
        let rows = [64, 16 * 1024].map(|bytes| Row::of(bytes, &[(lap(4_812_345.0, 90.0), lap(2e6, 120.0))]));
        let table = Report::new(rows.to_vec(), 3, Faults { forwarded: 60, dropped: 0 }).table();
        assert!(table.contains("4,812,345") && table.contains("16 KiB") && table.contains("64 B"), "{table}");
        assert_eq!(table.lines().filter(|line| line.contains("kith  ")).count(), 2, "{table}");
        assert!(table.contains("20 messages sent, 0 lost; 60 packets forwarded, 0 dropped"), "{table}");
    }
}
