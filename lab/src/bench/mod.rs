//! `kith-lab bench`: what the mesh costs, and what its supernodes carry.

pub(crate) mod chain;
pub(crate) mod directory;
pub(crate) mod heal;
pub(crate) mod home;
pub(crate) mod idle;
pub(crate) mod light;
pub(crate) mod messages;
pub(crate) mod opening;
pub(crate) mod relays;
pub(crate) mod scale;
pub(crate) mod stream;
pub(crate) mod tunnel;

/// The middle value; the mean of the two middle ones
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { (at(half.saturating_sub(1)) + at(half)) / 2.0 } else { at(half) }
}

/// An error as the process of a bench tells it
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
