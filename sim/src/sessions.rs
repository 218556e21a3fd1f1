//! How long people stay: most for minutes, few for long.
//!
//! Sessions have Weibull's distribution with shape ½ and a mean of one hour, as measured of file-sharing peers (Stutzbach
//! and Rejaie, "Understanding Churn in Peer-to-Peer Networks", 2006, found shapes from 0.34 to 0.59): half of them end
//! within 15 minutes, one in seventeen lasts for longer than four hours. Whoever leaves is replaced at once, so that the
//! ring keeps its size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::chance::Chance;
use crate::members::Members;

/// Hours of a day
pub const DAY: f64 = 24.0;

/// Weibull's scale for a mean of one hour at shape ½
const SCALE_HOURS: f64 = 0.5;
/// Events are in the order of whole microseconds: a last bit that differs between machines decides nothing
const MICROS_PER_HOUR: f64 = 3.6e9;

/// So many hours pass, in which sessions end and others begin; how many ended
///
/// Everybody there has just come.
pub fn pass(members: &mut Members, hours: f64, chance: &mut Chance) -> u64 {
    let end = micros(hours);
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> =
        (0..members.ring().len()).map(|at| Reverse((session(chance), at))).collect();
    let mut ended = 0;
    while let Some(Reverse((now, at))) = ends.pop().filter(|Reverse((now, _))| *now < end) {
        members.replace_at(at);
        ends.push(Reverse((now + session(chance), at)));
        ended += 1;
    }
    ended
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
    use crate::members::{History, Ids};

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
    fn day_keeps_the_number_of_members_and_replaces_nearly_all() {
        let mut members = Members::new(300, Ids::Given, History::Joins, 1);
        let before = members.clone();
        let ended = pass(&mut members, DAY, &mut Chance::new(1, Draws::Sessions));
        // A session an hour each, and more in the beginning, when all have just come.
        assert!((24 * 300..32 * 300).contains(&ended), "{ended}");
        let stayed = before.ring().iter().filter(|peer| members.ring().contains(*peer)).count();
        assert!(members.ring().len() == 300 && stayed < 10, "{stayed} stayed");
        assert!((0..300).all(|at| members.at(at).is_some_and(|peer| members.ring().contains(peer))));
    }

    #[test]
    fn without_time_nothing_happens() {
        let mut members = Members::new(50, Ids::Given, History::Joins, 1);
        assert_eq!(pass(&mut members, 0.0, &mut Chance::new(1, Draws::Sessions)), 0);
    }
}
