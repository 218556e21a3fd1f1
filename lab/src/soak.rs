//! `kith-lab soak`: a mesh broken again and again. With `--kills`, every choice of two peers killed at once, over several
//! seeds; `messages` and `disasters` break one that is in use, and judge what became of each message.

mod books;
mod disasters;
mod judge;
mod load;
mod messages;
mod run;

use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::mesh::Lab;
use crate::options::{Options, Progress};
use crate::output;
use crate::role::Role;
use crate::{threads, verify};

pub(crate) use self::books::BYTES_MAX;
pub(crate) use self::disasters::{DisastersOptions, run as disasters};
pub(crate) use self::messages::{MessagesOptions, run as messages};
pub(crate) use self::run::Load;

/// By then every pair of survivors delivers, and nobody shows a dead link
pub const HEALED_LIMIT: Duration = Duration::from_secs(3);
/// From the return of the dead until everybody holds their links again
const SETTLED_LIMIT: Duration = Duration::from_secs(30);

/// How a soak is run
#[derive(Clone, Debug)]
pub(crate) struct SoakOptions {
    /// The mesh; a new one for each seed
    pub lab: Options,
    pub seed: u64,
    /// How many seeds, counted up from the first
    pub seeds: u64,
}

/// What came of one choice of victims
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The time from the kill to the last pair's first delivery
    pub delivered: Result<Duration, String>,
    /// The time from the kill to the last dead link's end
    pub healed: Result<Duration, String>,
}

impl Outcome {
    /// Whether both came in time
    pub fn held(&self) -> bool {
        self.delivered.is_ok() && self.healed.is_ok()
    }

    /// One line for people
    pub fn text(&self) -> String {
        let part = |result: &Result<Duration, String>| match result {
            Ok(took) => format!("{} ms", took.as_millis()),
            Err(reason) => format!("FAILED: {reason}"),
        };
        format!("all pairs deliver after {}, no dead link after {}", part(&self.delivered), part(&self.healed))
    }
}

/// Kills `victims` at once, and sees what the survivors make of it; the victims are left dead
///
/// # Errors
/// The lab cannot be read, or a victim does not run.
pub fn kill_at_once(lab: &Lab, victims: &[&str]) -> Result<Outcome, LabError> {
    let start = Instant::now();
    // One thread each: `kill` waits for the process to be gone, and they have to go together.
    threads::each(victims, |victim| lab.kill(victim)).into_iter().collect::<Result<(), LabError>>()?;
    let survivors: Vec<String> = lab.running(Role::Peer)?.into_iter().map(|peer| peer.name).collect();
    let delivered = verify::pairs_deliver(lab, &survivors, start, HEALED_LIMIT);
    let healed = verify::no_dead_links(lab, start, HEALED_LIMIT);
    Ok(Outcome { delivered, healed })
}

/// Starts `victims` again and waits until everybody holds their links
///
/// # Errors
/// A victim does not start, or the mesh does not settle.
pub fn bring_back(lab: &Lab, victims: &[&str]) -> Result<(), LabError> {
    for victim in victims {
        lab.start_and_wait(victim)?;
    }
    lab.settle("everybody to hold their links", SETTLED_LIMIT).map(|_| ())
}

/// Every choice of two of `names`
pub fn choices(names: &[String]) -> Vec<[&str; 2]> {
    let with_later = |(i, a)| names.iter().skip(i + 1).map(move |b: &String| [String::as_str(a), b.as_str()]);
    names.iter().enumerate().flat_map(with_later).collect()
}

/// Every choice of two peers, over every seed; how many did not hold
///
/// # Errors
/// A mesh did not come up or did not settle again.
pub(crate) fn kills(options: &SoakOptions) -> Result<usize, LabError> {
    let mut failed = 0;
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        let lab = Lab::up(Options { seed: Some(seed), ..options.lab.clone() }, Progress::Lines)?;
        let names: Vec<String> = lab.running(Role::Peer)?.into_iter().map(|peer| peer.name).collect();
        let choices = choices(&names);
        for (number, victims) in choices.iter().enumerate() {
            let outcome = kill_at_once(&lab, victims)?;
            output::line(&format!(
                "seed {seed}, {:>2} of {}, {}: {}",
                number + 1,
                choices.len(),
                victims.join(" and "),
                outcome.text()
            ));
            failed += usize::from(!outcome.held());
            bring_back(&lab, victims)?;
        }
        lab.down()?;
    }
    output::line(&format!("{failed} choices did not hold"));
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_of_two_among_eight_are_28_and_differ() {
        let names: Vec<String> = (0..8).map(crate::names::peer).collect();
        let choices = choices(&names);
        assert_eq!(choices.len(), 28);
        let distinct: std::collections::BTreeSet<_> = choices.iter().collect();
        assert_eq!(distinct.len(), 28);
        assert!(choices.iter().all(|[a, b]| a < b));
    }
}
