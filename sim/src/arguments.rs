//! Numbers as people write them on the command line, each within its bounds, and what several verbs take.

use clap::Args;

/// A mistake that all cores of a run make, in a build that has mistakes
#[derive(Args, Clone, Debug)]
pub(crate) struct Mistake {
    /// Make this mistake in all cores; `kith-sim mutants --list` names them
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<kith_common::mutant::Mutant>,
}

impl Mistake {
    /// On this thread from now on, if one is asked for
    pub(crate) fn make(&self) {
        #[cfg(feature = "mutants")]
        kith_common::mutant::set(self.mutant);
    }
}

/// A count that people write: 40, 1k, 100k, 1M
///
/// # Errors
/// A text for people: it is none, or over 16,000,000.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let count = digits.parse::<usize>().ok().and_then(|count| count.checked_mul(scale));
    count.filter(|count| *count <= 16_000_000).ok_or_else(|| "a number up to 16M, such as 500, 10k or 1M".into())
}

/// A count of what is measured: none would show nothing
///
/// # Errors
/// A text for people: as [`count`], or none.
pub(crate) fn some(text: &str) -> Result<usize, String> {
    count(text).and_then(|count| if count < 1 { Err("at least 1".into()) } else { Ok(count) })
}

/// A seed; a million more can follow it
///
/// # Errors
/// A text for people: it is none, or too large.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let seed = text.parse::<u64>().ok().filter(|seed| *seed <= u64::MAX - SEEDS_MAX);
    seed.ok_or_else(|| "a whole number, below 2^64 by a million".into())
}

/// Seeds at most: days of work
pub(crate) const SEEDS_MAX: u64 = 1_000_000;

/// Minutes of simulated time: 0 to a week; faults are planned for all of it
///
/// # Errors
/// A text for people: it is none, or out of bounds.
pub(crate) fn minutes(text: &str) -> Result<f64, String> {
    between(text, 0.0, 10_080.0)
}

/// Seconds: a tenth to a day
///
/// # Errors
/// A text for people: it is none, or out of bounds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.1, 86_400.0)
}

/// How many times as much as there is room for: a hundredth to a hundred
///
/// # Errors
/// A text for people: it is none, or out of bounds.
pub(crate) fn times(text: &str) -> Result<f64, String> {
    between(text, 0.01, 100.0)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("a number from {least} to {most}"))
}

/// How many peers, at least two: packets go from one to another
///
/// # Errors
/// A text for people: as [`count`], or too few.
pub(crate) fn peers(text: &str) -> Result<usize, String> {
    count(text).and_then(|count| if count < 2 { Err("at least 2 peers".into()) } else { Ok(count) })
}

/// How many supernodes a mesh has: 1 to 5, as more that vote would only make it slower
///
/// # Errors
/// A text for people: it is another number.
pub(crate) fn supernodes(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=5).contains(number));
    number.ok_or_else(|| "a number of supernodes from 1 to 5".into())
}

/// A share that people write: 30% or 0.3, less than all
///
/// # Errors
/// A text for people: it is none, or out of bounds.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    let share = number.ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "at least 0 % and below 100 %, such as 30% or 0.3".into())
}

/// A degree that a network can have
///
/// # Errors
/// A text for people: it is none.
pub(crate) fn degree(text: &str) -> Result<u8, String> {
    let degree = text.parse().ok().filter(|degree| kith_common::lift::is_degree(*degree));
    degree.ok_or_else(|| "an even number from 4 to 40".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shares_and_degrees_are_read_as_people_write_them() {
        assert_eq!(["7", "1k", "100k", "1M"].map(count), [Ok(7), Ok(1_000), Ok(100_000), Ok(1_000_000)]);
        assert!(["", "k", "1m", "-1", "17M", "99999999999999999999k"].iter().all(|text| count(text).is_err()));
        assert!(peers("1").is_err() && peers("2").is_ok());
        assert!(some("0").is_err() && some("1").is_ok());
        assert!(seed("18446744073709551615").is_err() && seed("1k").is_err() && seed("7") == Ok(7));
        assert!(["nan", "inf", "-3", "1e9"].iter().all(|text| minutes(text).is_err()) && minutes("0") == Ok(0.0));
        assert!(["nan", "0", "-1"].iter().all(|text| seconds(text).is_err()) && seconds("2.5") == Ok(2.5));
        assert_eq!(["30%", "0.5", "0"].map(share), [Ok(0.3), Ok(0.5), Ok(0.0)]);
        assert!(["100%", "1", "-1%", "x", "NaN"].iter().all(|text| share(text).is_err()));
        assert!(supernodes("1") == Ok(1) && supernodes("5") == Ok(5));
        assert!(supernodes("0").is_err() && supernodes("6").is_err());
        assert!(degree("16").is_ok() && degree("15").is_err() && degree("42").is_err());
    }
}
