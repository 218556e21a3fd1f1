//! What to make of many numbers.

use serde::Serialize;

/// Of a normal distribution, 95 % is within so many standard deviations
const Z95: f64 = 1.959_964;

/// A mean and how far the truth may be from it
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Mean {
    pub mean: f64,
    /// The truth is within this of it with 95 % probability
    pub bound95: f64,
}

/// A share and where the truth may be
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Share {
    /// The share, 0 to 1
    pub share: f64,
    /// The truth is between these with 95 % probability (Wilson's interval, which holds near 0 and 1 too)
    pub bounds95: [f64; 2],
}

impl Share {
    /// `part` of `whole`; of nothing, all
    pub(crate) fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self { share: 1.0, bounds95: [0.0, 1.0] };
        }
        let (count, share) = (whole as f64, part as f64 / whole as f64);
        let middle = share + Z95 * Z95 / (2.0 * count);
        let half = Z95 * (share * (1.0 - share) / count + Z95 * Z95 / (4.0 * count * count)).sqrt();
        let scale = 1.0 + Z95 * Z95 / count;
        let bounds95 = [(middle - half) / scale, (middle + half) / scale].map(|bound| bound.clamp(0.0, 1.0));
        Self { share, bounds95 }
    }
}

/// How often each small number came
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Histogram(Vec<u64>);

impl Histogram {
    pub(crate) fn add(&mut self, value: usize) {
        if self.0.len() <= value {
            self.0.resize(value + 1, 0);
        }
        self.0[value] += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So many of at most `value` came
    pub(crate) fn count_to(&self, value: usize) -> u64 {
        self.0.iter().take(value + 1).sum()
    }

    /// The mean; 0 if none came
    pub(crate) fn mean(&self) -> Mean {
        let count = self.count() as f64;
        if count < 1.0 {
            return Mean { mean: 0.0, bound95: 0.0 };
        }
        let moment = |f: &dyn Fn(f64) -> f64| {
            self.0.iter().enumerate().map(|(value, came)| f(value as f64) * *came as f64).sum::<f64>()
        };
        let mean = moment(&|value| value) / count;
        let variance = moment(&|value| (value - mean).powi(2)) / (count - 1.0).max(1.0);
        Mean { mean, bound95: Z95 * (variance / count).sqrt() }
    }

    /// The least value that is at least as large as this share of those that came
    pub(crate) fn quantile(&self, share: f64) -> usize {
        let wanted = (share * self.count() as f64).ceil() as u64;
        let mut seen = 0;
        let reaches = |came: &u64| {
            seen += came;
            seen >= wanted
        };
        self.0.iter().position(reaches).unwrap_or(0)
    }

    /// The largest that came
    pub(crate) fn max(&self) -> usize {
        self.0.len().saturating_sub(1)
    }
}

/// The middle one; 0 of none
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[usize]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    #[test]
    fn histogram_tells_mean_quantiles_and_largest() {
        let hops = histogram(&[1, 2, 2, 3, 9, 1, 2, 2, 3, 5]);
        assert_eq!(hops.mean().mean, 3.0);
        // Standard deviation √(52/9) over √10.
        assert!((hops.mean().bound95 - 1.96 * (52.0f64 / 90.0).sqrt()).abs() < 0.001);
        assert_eq!([0.5, 0.9, 0.99, 1.0].map(|share| hops.quantile(share)), [2, 5, 9, 9]);
        assert_eq!((hops.max(), hops.count(), hops.count_to(2)), (9, 10, 6));
        assert_eq!((Histogram::default().mean().mean, Histogram::default().quantile(0.5)), (0.0, 0));
    }

    #[test]
    fn share_has_bounds_around_it_that_hold_at_the_ends_too() {
        let half = Share::of(50, 100);
        assert!((half.bounds95[0] - 0.404).abs() < 0.001 && (half.bounds95[1] - 0.596).abs() < 0.001);
        let all = Share::of(100, 100);
        assert!(all.share == 1.0 && (all.bounds95[0] - 0.963).abs() < 0.001 && all.bounds95[1] == 1.0);
        assert_eq!(Share::of(0, 0).share, 1.0);
    }

    #[test]
    fn median_is_the_middle_one() {
        assert_eq!((median(&mut [3.0, 1.0, 2.0]), median(&mut [])), (2.0, 0.0));
    }
}
