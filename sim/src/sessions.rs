//! How long people stay: most for minutes, few for long.
//!
//! Sessions have Weibull's distribution with shape ½ and a mean of one hour, as measured of file-sharing peers (Stutzbach
//! and Rejaie, "Understanding Churn in Peer-to-Peer Networks", 2006, found shapes from 0.34 to 0.59): half of them end
//! within 15 minutes, one in seventeen lasts for longer than four hours. Whoever leaves is replaced at once, so that the
//! ring keeps its size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::chance::Chance;

/// Hours of a day
pub(crate) const DAY: f64 = 24.0;

/// Weibull's scale for a mean of one hour at shape ½
const SCALE_HOURS: f64 = 0.5;
/// Events are in the order of whole microseconds: a last bit that differs between machines decides nothing
const MICROS_PER_HOUR: f64 = 3.6e9;

/// The members whose sessions end within so many hours, one after the other; each is replaced as soon as it leaves
///
/// All `peers` have just come.
pub(crate) fn ends(peers: usize, hours: f64, chance: &mut Chance) -> impl Iterator<Item = usize> {
    let end = micros(hours);
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = (0..peers).map(|at| Reverse((session(chance), at))).collect();
    std::iter::from_fn(move || {
        let Reverse((now, at)) = ends.pop().filter(|Reverse((now, _))| *now < end)?;
        ends.push(Reverse((now + session(chance), at)));
        Some(at)
    })
}

/// How long one session lasts, in microseconds
fn session(chance: &mut Chance) -> u64 {
    // The inverse of the distribution function: scale · (−ln u)^(1 / shape).
    micros(SCALE_HOURS * chance.exponential().powi(2))
}

fn micros(hours: f64) -> u64 {
    (hours * MICROS_PER_HOUR) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;

    #[test]
    fn sessions_have_the_mean_and_the_tail_that_they_should() {
        let mut chance = Chance::new(1, Draws::Sessions);
        let sessions: Vec<u64> = (0..100_000).map(|_| session(&mut chance)).collect();
        let mean = sessions.iter().sum::<u64>() as f64 / 1e5 / MICROS_PER_HOUR;
        assert!((mean - 1.0).abs() < 0.03, "{mean} h");
        let share = |hours| sessions.iter().filter(|session| **session > micros(hours)).count() as f64 / 1e5;
        // exp(−√(t / 0.5 h))
        assert!((share(0.25) - 0.493).abs() < 0.01 && (share(4.0) - 0.059).abs() < 0.005);
    }

    #[test]
    fn without_time_nothing_happens() {
        assert_eq!(ends(50, 0.0, &mut Chance::new(1, Draws::Sessions)).count(), 0);
    }
}
