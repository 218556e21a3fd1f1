//! What a series of pings has come to, in ping(8)'s numbers.

use std::time::Duration;

/// Counts and times of a series; times are those of first answers alone, duplicates left out
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pings that were due, those among them that nobody could carry
    pub sent: u64,
    /// … of which so many were answered, however late
    pub received: u64,
    /// Answers to what had been answered
    pub duplicates: u64,
    /// Answers that a later ping's answer had overtaken
    pub reordered: u64,
    /// The least and the most time from a ping to its answer
    pub least: Option<Duration>,
    pub most: Option<Duration>,
    /// Of all times, in microseconds
    sum: u64,
    squares: u128,
    last: Option<Duration>,
    /// In sixteenths of a microsecond
    jitter: u64,
}

impl Tally {
    /// A ping was answered, for the first time
    pub(super) fn note(&mut self, time: Duration) {
        let micros = micros(time);
        self.received += 1;
        self.sum = self.sum.saturating_add(micros);
        self.squares = self.squares.saturating_add(u128::from(micros).pow(2));
        self.least = Some(self.least.map_or(time, |least| least.min(time)));
        self.most = Some(self.most.map_or(time, |most| most.max(time)));
        if let Some(last) = self.last.replace(time) {
            // As RFC 3550 writes it, in its appendix A.8: the rounding is its own.
            let by_now = self.jitter - (self.jitter.saturating_add(8) >> 4);
            self.jitter = by_now.saturating_add(last.abs_diff(time).as_micros() as u64);
        }
    }

    /// Pings that were not answered by now
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// The mean time from a ping to its answer
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.received).map(Duration::from_micros)
    }

    /// How far times are from their mean: the root of the mean square, as ping(8)'s `mdev`
    pub fn deviation(&self) -> Option<Duration> {
        let received = u128::from(self.received);
        let (mean, squares) = (u128::from(self.sum).checked_div(received)?, self.squares.checked_div(received)?);
        let root = squares.saturating_sub(mean.pow(2)).isqrt();
        Some(Duration::from_micros(u64::try_from(root).unwrap_or(u64::MAX)))
    }

    /// RFC 3550's interarrival jitter (6.4.1): the running mean of how much successive times differ, each of which moves it by a
    /// sixteenth. A packet's transit is there one way; here it is there and back, as clocks of two peers cannot be compared.
    /// `None` before the second answer.
    pub fn jitter(&self) -> Option<Duration> {
        (self.received > 1).then(|| Duration::from_micros(self.jitter >> 4))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> Tally {
        let mut tally = Tally { sent: times.len() as u64 + 1, ..Tally::default() };
        times.iter().for_each(|time| tally.note(Duration::from_micros(*time)));
        tally
    }

    fn micros_of(time: Option<Duration>) -> u64 {
        time.unwrap().as_micros() as u64
    }

    #[test]
    fn tally_of_nothing_has_no_times() {
        let tally = of(&[]);
        assert_eq!((tally.sent, tally.received, tally.lost()), (1, 0, 1));
        let times = [tally.least, tally.most, tally.mean(), tally.deviation(), tally.jitter()];
        assert_eq!(times, [None; 5]);
        assert_eq!(of(&[5]).jitter(), None, "one answer differs from nothing");
    }

    #[test]
    fn times_are_those_that_ping_would_say() {
        let tally = of(&[1_000, 2_000, 6_000]);
        assert_eq!((tally.received, tally.lost()), (3, 1));
        let times = [tally.least, tally.mean(), tally.most].map(micros_of);
        assert_eq!(times, [1_000, 3_000, 6_000]);
        // The root of (1 + 4 + 36) / 3 − 9 square milliseconds.
        assert_eq!(micros_of(tally.deviation()), 2_160);
        assert_eq!(micros_of(of(&[4_000; 9]).deviation()), 0);
    }

    #[test]
    fn jitter_is_the_running_mean_of_rfc_3550() {
        assert_eq!(micros_of(of(&[700; 50]).jitter()), 0, "of what is always the same");
        // 1,600 and then 3,200 microseconds more: 100, and 100 + (3,200 - 100) / 16.
        assert_eq!(micros_of(of(&[1_000, 2_600]).jitter()), 100);
        assert_eq!(micros_of(of(&[1_000, 2_600, 5_800]).jitter()), 293);
        // To and fro for long it comes to how far that is.
        let times: Vec<u64> = (0..400).map(|n| if n % 2 == 0 { 1_000 } else { 2_000 }).collect();
        assert!((990..=1_000).contains(&micros_of(of(&times).jitter())));
    }

    #[test]
    fn longest_times_there_are_do_not_overflow() {
        let tally = of(&[u64::MAX, u64::MAX, 0]);
        assert!(tally.mean().is_some() && tally.deviation().is_some() && tally.jitter().is_some());
    }
}
