//! How a lab is laid out, and who is told how far it has come.

use std::path::PathBuf;
use std::time::Duration;

use kith_common::lift::{DEGREE_MAX, DEGREE_MIN, is_degree};
use kith_runtime::stall;

use crate::error::LabError;
use crate::output;
use crate::state::PROCESSES_MAX;

/// The lab's lease: short, so that there is something to see
const LEASE: Duration = Duration::from_secs(10);

/// As many supernodes a lab has unless it is told otherwise: as few as go on when one is lost
pub(crate) const SUPERNODES_DEFAULT: usize = 3;

/// More would have no vote
const SUPERNODES_MAX: usize = 5;

/// How a lab is laid out
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything that the lab makes lies beneath it
    pub dir: PathBuf,
    /// The program that plays the roles
    pub binary: PathBuf,
    /// How many supernodes share the directory, one to five
    pub supernodes: usize,
    /// How many peers, at most 1,024 with the supernodes
    pub peers: usize,
    pub degree: u8,
    pub lease: Duration,
    /// What keys and salts are drawn from; one is drawn if none is given
    pub seed: Option<u64>,
    pub secret: Option<String>,
    /// Links of each supernode at most; none: as many as it has by default
    pub links_max: Option<usize>,
    /// Whether each node has a network of its own, so that it can be cut off from others
    pub netns: bool,
    /// Whether this process is in a network of the lab's own itself, and the bridge belongs there
    pub inside: bool,
    /// Each supernode's home is a disk of so many bytes, which can be filled; none: all share one with the lab
    ///
    /// The disks are gone with the namespace of mounts, which this process must have for itself.
    pub disk_bytes: Option<u64>,
    /// The library that tells supernodes a time of day that can be changed; none: they ask the system
    pub clock: Option<PathBuf>,
    /// Whether the lab ends with this process, however that one ends
    pub tied: bool,
}

impl Options {
    /// One supernode and eight peers of degree 4 beneath `dir`, played by `binary`, ended with this process
    pub fn new(dir: impl Into<PathBuf>, binary: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            binary: binary.into(),
            supernodes: 1,
            peers: 8,
            degree: 4,
            lease: LEASE,
            seed: None,
            secret: None,
            links_max: None,
            netns: false,
            inside: false,
            disk_bytes: None,
            clock: None,
            tied: true,
        }
    }

    /// Whether such a lab can be had; nothing is made
    ///
    /// # Errors
    /// [`LabError::Options`] says what cannot be had.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        let refuse = |text: String| Err(LabError::Options(text));
        if !(1..=SUPERNODES_MAX).contains(&self.supernodes) {
            return refuse(format!("a lab has one to {SUPERNODES_MAX} supernodes, not {}", self.supernodes));
        }
        if self.supernodes + self.peers > PROCESSES_MAX {
            return refuse(format!("a lab has at most {PROCESSES_MAX} processes"));
        }
        if !is_degree(self.degree) {
            return refuse(format!("the degree is even, {DEGREE_MIN} to {DEGREE_MAX}, not {}", self.degree));
        }
        Ok(())
    }
}

/// Where a lab tells how far it has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody
    Quiet,
    /// Standard error, a line at a time
    Lines,
}

impl Progress {
    pub fn say(self, text: &str) {
        stall::note(text);
        if self == Self::Lines {
            output::note(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_has_one_to_five_supernodes() {
        let is_had = |supernodes| Options { supernodes, ..Options::new("lab", "kith-lab") }.check().is_ok();
        assert!([1, 2, 3, 5].into_iter().all(is_had) && ![0, 6].into_iter().any(is_had));
    }

    #[test]
    fn degree_that_no_supernode_takes_is_refused_before_anything_is_made() {
        let check = |degree| Options { degree, ..Options::new("lab", "kith-lab") }.check().map_err(|e| e.to_string());
        for degree in [4, 16, 40] {
            assert_eq!(check(degree), Ok(()));
        }
        for degree in [0, 2, 5, 41, 42, 255] {
            let error = check(degree).unwrap_err();
            assert!(error.contains(&format!("the degree is even, 4 to 40, not {degree}")), "{error}");
        }
    }
}
