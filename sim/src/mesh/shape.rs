//! Who can dial whom, where not everybody can.

use std::fmt;
use std::str::FromStr;

use super::faults::Effect;
use super::net::Cut;

/// The pairs of peers, numbered from 0, that have a way to each other; supernodes are reached by all
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each only the one before and the one after
    Line,
    /// A line whose ends can dial each other
    Ring,
    /// All only the first
    Star,
    /// Each only its parent and its two children
    Tree,
    /// Two halves, and the first peer, whom both can dial
    Cliques,
}

impl Shape {
    pub const ALL: &[Self] = &[Self::Line, Self::Ring, Self::Star, Self::Tree, Self::Cliques];

    /// Its name on the command line
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Ring => "ring",
            Self::Star => "star",
            Self::Tree => "tree",
            Self::Cliques => "cliques",
        }
    }

    fn connects(self, one: u32, other: u32, peers: u32) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        match self {
            Self::Line => high - low == 1,
            Self::Ring => high - low == 1 || low == 0 && high + 1 == peers,
            Self::Star => low == 0,
            Self::Tree => high > 0 && (high - 1) / 2 == low,
            Self::Cliques => low == 0 || low % 2 == high % 2,
        }
    }

    /// For each peer that cannot dial all others, the ways that stay cut for ever
    pub fn cuts(self, supernodes: u32, peers: u32) -> impl Iterator<Item = Cut> {
        let machines = move |is: &dyn Fn(u32) -> bool| {
            (0..supernodes + peers).map(|at| at.checked_sub(supernodes).is_some_and(is)).collect::<Vec<bool>>()
        };
        let cut = move |one: u32| Cut {
            from: machines(&|peer| peer == one),
            to: machines(&|peer| peer != one && !self.connects(one, peer, peers)),
            both: true,
            effect: Effect::OneWay,
            is_permanent: true,
        };
        (0..peers).map(cut).filter(|cut| cut.to.contains(&true))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|shape| shape.as_str() == text);
        let all = || Self::ALL.iter().map(|shape| shape.as_str()).collect::<Vec<_>>().join(", ");
        found.copied().ok_or_else(|| format!("no shape is called {text}; there are: {}", all()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_holds_together_by_fewer_pairs_than_there_are() {
        for (shape, pairs) in Shape::ALL.iter().zip([8, 9, 8, 8, 20]) {
            let all = (0..9).flat_map(|low| (low + 1..9).map(move |high| (low, high)));
            let connected: Vec<(u32, u32)> = all.filter(|(low, high)| shape.connects(*low, *high, 9)).collect();
            assert_eq!(connected.len(), pairs, "{shape}");
            assert!((1..9).all(|peer| connected.iter().any(|(_, high)| *high == peer)), "{shape}: one before each");
            assert_eq!(shape.as_str().parse(), Ok(*shape));
        }
    }
}
