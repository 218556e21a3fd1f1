//! How fast the log is, as far as was measured: how much it is given in one go, and how long a command waits for it.
//!
//! What a command takes is measured by groups: from when the log was given one until it has said what became of all of it.
//! Only a group behind which others waited shows what the log can do; a smaller one shows that it can do no less.
//!
//! Logins share the log with ends, which follow from logins: whoever waits now will be overtaken by some that nobody knows of
//! yet. So it is measured, too, how many commands the log has taken for each login.

use std::time::Duration;

use super::queue::ENDS_PER_LOGIN;
use crate::time::Instant;

/// Commands that the log is given in one go: applying so many takes some milliseconds, and between two groups whatever
/// else has come is handled
pub const GROUP_MAX: usize = 256;
/// … as long as nobody knows how fast the log is: on a healthy disk the next group is a whole one, and on a slow one nobody
/// has waited for long in vain
pub const GROUP_FIRST: usize = 32;
/// … however slow it is: most of what a group costs is often the same for a few commands as for many
pub const GROUP_MIN: usize = 16;
/// How long the log shall be busy with a group: what has come meanwhile, the end of a session or an operator's command, is
/// in the next one
pub const GROUP_TIME: Duration = Duration::from_secs(1);

/// A new measurement that shows a faster log counts for one in so many: one lucky write says little
const FASTER_WEIGHT: u32 = 4;
/// One that shows a slower log counts for one in so many: what is let in by an old measurement waits in vain
const SLOWER_WEIGHT: u32 = 2;

/// How many others were in a group for each login counts for one in so many: groups differ
const OTHERS_WEIGHT: u32 = 4;
/// Others for each login at most, in thousandths: as many as the queue takes before it
const OTHERS_MAX: u32 = 1_000 * ENDS_PER_LOGIN as u32;

/// The group that the log has
#[derive(Clone, Copy, Debug)]
struct Group {
    began: Instant,
    commands: u32,
    logins: u32,
    /// Whether others waited behind it
    is_full: bool,
}

/// A moving estimate of what a command takes
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// None until the first group behind which others waited
    cost: Option<Duration>,
    /// Commands for each login, itself among them, in thousandths and less one
    others: u32,
    /// None also for a group by which nothing can be measured
    group: Option<Group>,
}

impl Pace {
    /// How many commands the log is to be given in one go
    pub(super) fn size(&self) -> usize {
        let Some(cost) = self.cost else { return GROUP_FIRST };
        let fit = GROUP_TIME.as_micros() / cost.as_micros().max(1);
        usize::try_from(fit).unwrap_or(GROUP_MAX).clamp(GROUP_MIN, GROUP_MAX)
    }

    /// The log is given so many, of which some are logins; `is_full`: others wait behind them
    pub(super) fn begin(&mut self, now: Instant, commands: usize, logins: usize, is_full: bool) {
        let [commands, logins] = [commands, logins].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.group = Some(Group { began: now, commands: commands.max(1), logins, is_full });
    }

    /// The log has said what became of all of them
    pub(super) fn end(&mut self, now: Instant) {
        let Some(group) = self.group.take() else { return };
        let others =
            (group.commands - group.logins.min(group.commands)).saturating_mul(1_000).checked_div(group.logins);
        if let Some(others) = others.filter(|_| group.is_full) {
            self.others = (self.others * (OTHERS_WEIGHT - 1) + others.min(OTHERS_MAX)) / OTHERS_WEIGHT;
        }
        let sample = (now - group.began) / group.commands;
        let Some(cost) = self.cost else {
            self.cost = group.is_full.then_some(sample);
            return;
        };
        if group.is_full || sample < cost {
            let weight = if sample < cost { FASTER_WEIGHT } else { SLOWER_WEIGHT };
            self.cost = Some((cost * (weight - 1) + sample) / weight);
        }
    }

    /// The group that the log has says nothing of how fast that is: it was lost, or this process stood still
    pub(super) fn spoil(&mut self) {
        self.group = None;
    }

    /// What a command takes; one that the log is slower with than with all before shows that, too. None: nobody knows
    pub(super) fn cost(&self, now: Instant) -> Option<Duration> {
        let so_far = self.group.filter(|group| group.is_full).map(|group| (now - group.began) / group.commands);
        match (self.cost, so_far) {
            (Some(cost), Some(so_far)) => Some(cost.max(so_far)),
            (Some(cost), None) => Some(cost),
            // It may be as fast as can be, and have only begun.
            (None, so_far) => so_far.filter(|so_far| *so_far >= GROUP_TIME / GROUP_FIRST as u32),
        }
    }

    /// How long the log will be busy with the next group, of so many commands that wait
    pub(super) fn group_time(&self, now: Instant, waiting: usize) -> Duration {
        let commands = waiting.min(self.size());
        self.cost(now).unwrap_or_default().saturating_mul(u32::try_from(commands).unwrap_or(u32::MAX))
    }

    /// How many others the log will take before so many logins, as it did lately
    pub(super) fn others_before(&self, logins: usize) -> usize {
        logins.saturating_mul(self.others as usize) / 1_000
    }

    /// How long it is until a command is committed that so many are before, besides those that the log has
    pub(super) fn wait(&self, now: Instant, ahead: usize) -> Duration {
        let cost = self.cost(now).unwrap_or_default();
        let under_way = self
            .group
            .map_or(Duration::ZERO, |group| cost.saturating_mul(group.commands).saturating_sub(now - group.began));
        let ahead_time = cost.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        under_way + ahead_time + self.group_time(now, ahead.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at_ms;

    /// Groups as large as they may be, of a log that takes so long for each command, and how large the next one is
    fn run(pace: &mut Pace, now: &mut Instant, micros: u64, groups: usize) -> usize {
        for _ in 0..groups {
            let size = pace.size();
            pace.begin(*now, size, size, true);
            *now = *now + Duration::from_micros(micros * size as u64);
            pace.end(*now);
        }
        pace.size()
    }

    #[test]
    fn fast_log_is_given_whole_groups_at_once_and_a_slow_one_a_second_of_work() {
        let (mut pace, mut now) = (Pace::default(), Instant::ZERO);
        assert_eq!(pace.size(), GROUP_FIRST);
        assert_eq!(run(&mut pace, &mut now, 100, 1), GROUP_MAX);
        let slow = run(&mut pace, &mut now, 31_250, 8);
        assert!((32..=36).contains(&slow), "{slow}");
        assert_eq!(run(&mut pace, &mut now, 500_000, 8), GROUP_MIN);
        assert_eq!(run(&mut pace, &mut now, 100, 40), GROUP_MAX);
    }

    #[test]
    fn log_that_takes_as_long_for_one_command_as_for_many_is_given_many() {
        let (mut pace, mut now) = (Pace::default(), Instant::ZERO);
        for _ in 0..20 {
            pace.begin(now, pace.size(), pace.size(), true);
            now = now + Duration::from_millis(200);
            pace.end(now);
        }
        assert_eq!(pace.size(), GROUP_MAX);
    }

    #[test]
    fn group_behind_which_nobody_waits_does_not_make_the_log_slower_but_may_make_it_faster() {
        let (mut pace, mut now) = (Pace::default(), Instant::ZERO);
        pace.begin(now, 1, 1, false);
        pace.end(at_ms(900));
        assert_eq!(pace.cost(at_ms(900)), None, "nobody knows yet");
        run(&mut pace, &mut now, 10_000, 1);
        let cost = pace.cost(now);
        for (ms, is_slower) in [(50, false), (2, true)] {
            pace.begin(now, 1, 1, false);
            pace.end(now + Duration::from_millis(ms));
            assert_eq!(pace.cost(now) < cost, is_slower);
        }
    }

    #[test]
    fn wait_is_for_what_the_log_has_and_for_all_before_and_grows_while_the_log_is_late() {
        let (mut pace, mut now) = (Pace::default(), Instant::ZERO);
        run(&mut pace, &mut now, 10_000, 1);
        assert_eq!(pace.wait(now, 0), Duration::from_millis(10));
        assert_eq!(pace.wait(now, 200), Duration::from_millis(2_000 + 1_000));
        pace.begin(now, 100, 50, true);
        let later = now + Duration::from_millis(400);
        assert_eq!(pace.wait(later, 0), Duration::from_millis(600 + 10));
        let late = now + Duration::from_secs(4);
        assert_eq!(pace.wait(late, 99), Duration::from_millis(99 * 40 + 100 * 40));
    }

    #[test]
    fn ends_that_go_before_logins_are_expected_to_do_so_again() {
        let (mut pace, now) = (Pace::default(), Instant::ZERO);
        assert_eq!(pace.others_before(100), 0);
        for _ in 0..20 {
            pace.begin(now, 30, 15, true);
            pace.end(now);
        }
        assert!((97..=100).contains(&pace.others_before(100)));
        for (logins, is_full) in [(0, true), (1, false)] {
            pace.begin(now, 30, logins, is_full);
            pace.end(now);
        }
        assert!((97..=100).contains(&pace.others_before(100)), "that says nothing of logins");
        for _ in 0..40 {
            pace.begin(now, 30, 1, true);
            pace.end(now);
        }
        assert!(pace.others_before(100) <= 100 * ENDS_PER_LOGIN, "no more than the queue takes before them");
    }

    #[test]
    fn group_that_was_lost_is_no_measurement() {
        let (mut pace, now) = (Pace::default(), Instant::ZERO);
        pace.begin(now, 32, 32, true);
        pace.spoil();
        pace.end(at_ms(9_000));
        assert_eq!((pace.cost(at_ms(9_000)), pace.wait(at_ms(9_000), 1_000)), (None, Duration::ZERO));
    }

    #[test]
    fn first_group_that_takes_too_long_is_noticed_before_it_ends() {
        let (mut pace, now) = (Pace::default(), Instant::ZERO);
        pace.begin(now, 32, 32, true);
        assert_eq!(pace.cost(at_ms(900)), None);
        assert_eq!(pace.cost(at_ms(3_200)), Some(Duration::from_millis(100)));
    }
}
