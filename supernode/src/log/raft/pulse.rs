//! Who leads as far as this supernode can tell, when it stands for election, and who votes.
//!
//! openraft draws one election timeout for the whole life of a process, so that two survivors of three can vote for
//! themselves for ever. So its own elections are off: each voter has a window of its own, by its rank among those that are
//! left, and draws anew in it. Before it stands, it asks the others whom they hear: whoever was cut off or stood still would
//! otherwise come back with a higher term and depose a leader whom everybody else hears.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use tokio::time::Instant;

/// How often it is looked at
pub(super) const BEAT: Duration = Duration::from_millis(50);

/// A leader says something so often
pub(super) const HEARTBEAT: Duration = Duration::from_millis(250);

/// Whoever leads and was not heard for so long is not believed to lead: three heartbeats may be lost. For as long voters
/// give nobody else their vote.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// What a leader has said before its link was lost may be noted so much later. It must not make it a leader again: who then
/// says that it hears it keeps the first in rank from standing, until another one's window has come.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The time that each voter has for itself to stand in: its question, the votes, and their way to the disk
const WINDOW: Duration = Duration::from_millis(300);

/// Windows grow so often to twice their length, while nobody is elected
const GROWTH_MAX: u32 = 3;

/// More voters than ever have a rank of their own
const RANK_MAX: u32 = 2 * VOTERS_MAX as u32;

/// So long whoever has no vote misses the leader before it asks whether it is a supernode any more
const ASKING: Duration = Duration::from_secs(3);

/// Voters at most: five go on after two of them are lost, and more make each command dearer
pub(super) const VOTERS_MAX: usize = 5;

/// What is known at a beat
pub(super) struct View<'a> {
    pub(super) me: u64,
    /// Whoever leads in the newest term, by what openraft has seen
    pub(super) leader: Option<u64>,
    /// If this supernode leads: how long ago a majority has said so
    pub(super) acknowledged: Option<Duration>,
    /// Everybody who votes, in the order of ids
    pub(super) voters: &'a BTreeSet<u64>,
}

/// What a beat comes to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Who leads, as far as can be known
    pub(super) leader: Option<u64>,
    /// Whether to ask the others whom they hear, and then, whoever votes, to stand
    pub(super) asks: bool,
}

pub(super) struct Pulse {
    rng: ChaCha20Rng,
    /// When the leader was heard last
    heard: Instant,
    /// When it was heard, or this supernode has asked
    waiting: Instant,
    /// How long after `waiting` it asks; drawn anew for each try
    delay: Option<Duration>,
    /// How often it has asked since it heard a leader
    tries: u32,
    /// When the link to the leader was last lost
    lost_at: Option<Instant>,
    last_beat: Instant,
}

impl Pulse {
    pub(super) fn new(now: Instant, rng: ChaCha20Rng) -> Self {
        Self { rng, heard: now, waiting: now, delay: None, tries: 0, lost_at: None, last_beat: now }
    }

    /// The leader was heard at `at`
    pub(super) fn hear(&mut self, at: Instant) {
        let is_of_before = self.lost_at.is_some_and(|lost| at <= lost + LAST_WORDS);
        if at > self.heard && !is_of_before {
            (self.heard, self.waiting) = (at, at);
            self.delay = None;
            self.tries = 0;
        }
    }

    /// The link to the leader is gone: nobody is known to lead until it, or another one, is heard. When to stand for election
    /// does not change, as the others give nobody their votes before that.
    pub(super) fn lose_leader(&mut self, now: Instant) {
        self.lost_at = Some(now);
        self.heard = self.heard.min(now.checked_sub(SILENCE).unwrap_or(self.heard));
    }

    /// Looks at it; every [`BEAT`]
    pub(super) fn beat(&mut self, now: Instant, view: &View<'_>) -> Verdict {
        let late = now.saturating_duration_since(self.last_beat);
        self.last_beat = now;
        if late > SILENCE / 2 {
            // This process was not run: the leader's words may be waiting here.
            self.hear(now);
        }
        if view.leader == Some(view.me) {
            self.hear(now);
            let is_heard = view.acknowledged.is_some_and(|ago| ago < SILENCE) || view.voters.len() == 1;
            return Verdict { leader: is_heard.then_some(view.me), asks: false };
        }
        let leader = view.leader.filter(|_| now.saturating_duration_since(self.heard) < SILENCE);
        let is_due = leader.is_none() && now.saturating_duration_since(self.waiting) >= self.delay(view);
        Verdict { leader, asks: is_due }
    }

    /// It has asked, and perhaps stood: the next try waits, in windows that grow, as a slow machine needs more time for one
    pub(super) fn handle_asked(&mut self, now: Instant) {
        self.waiting = now;
        self.delay = None;
        self.tries += 1;
    }

    fn delay(&mut self, view: &View<'_>) -> Duration {
        if view.voters.len() == 1 && view.voters.contains(&view.me) {
            return Duration::ZERO;
        }
        if let Some(delay) = self.delay {
            return delay;
        }
        let delay = if view.voters.contains(&view.me) {
            let others = view.voters.iter().filter(|voter| Some(**voter) != view.leader);
            let rank = u32::try_from(others.take_while(|voter| **voter < view.me).count()).unwrap_or(u32::MAX);
            let window = WINDOW * (1 << self.tries.min(GROWTH_MAX));
            // Whoever has heard a leader gives it its silence; whoever has asked already has done so.
            let silence = if self.tries == 0 { SILENCE } else { WINDOW };
            silence + window * rank.min(RANK_MAX) + self.draw()
        } else {
            ASKING
        };
        self.delay = Some(delay);
        delay
    }

    /// Half a window at most, so that windows do not meet
    fn draw(&mut self) -> Duration {
        WINDOW.mul_f64(f64::from(self.rng.next_u32() >> 8) / f64::from(1 << 24) / 2.0)
    }
}

/// Who shall vote: an odd number of those that have kept up, and [`VOTERS_MAX`] at most
///
/// Whoever votes goes on doing so, dead or alive: an overload or a nap must not take a vote away. `leaving` may not vote any
/// more. The leader stays if it can, and who has been here longest comes next.
pub(super) fn voters_wanted(
    leader: u64,
    voters: &BTreeSet<u64>,
    caught_up: &BTreeSet<u64>,
    leaving: Option<u64>,
) -> BTreeSet<u64> {
    let mut candidates: Vec<u64> = voters.iter().copied().filter(|voter| Some(*voter) != leaving).collect();
    candidates.sort_by_key(|voter| (*voter != leader, *voter));
    candidates.extend(caught_up.iter().copied().filter(|id| !voters.contains(id) && Some(*id) != leaving));
    let most = candidates.len().min(VOTERS_MAX);
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    candidates.truncate(odd);
    candidates.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn pulse(now: Instant, seed: u64) -> Pulse {
        Pulse::new(now, ChaCha20Rng::seed_from_u64(seed))
    }

    /// When a supernode stands that has heard nothing since the beginning, in milliseconds
    fn stands_at(me: u64, leader: Option<u64>, voters: &[u64], seed: u64) -> Option<u128> {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, seed), ids(voters));
        let view = View { me, leader, acknowledged: None, voters: &voters };
        let mut beats = (0..200).map(|beat| begin + BEAT * beat);
        beats.find(|now| pulse.beat(*now, &view).asks).map(|now| (now - begin).as_millis())
    }

    #[test]
    fn windows_of_survivors_do_not_meet_whatever_is_drawn() {
        for seed in 0..200 {
            let first = stands_at(2, Some(1), &[1, 2, 3], seed).unwrap();
            let second = stands_at(3, Some(1), &[1, 2, 3], seed + 1_000).unwrap();
            assert!((1_000..=1_150).contains(&first), "{first}");
            assert!((1_300..=1_500).contains(&second), "{second}");
        }
    }

    #[test]
    fn window_is_by_rank_among_those_who_are_left_and_not_by_serial() {
        let at = stands_at(92, Some(17), &[17, 92, 93], 1).unwrap();
        assert!((1_000..=1_150).contains(&at), "{at}");
    }

    #[test]
    fn learner_asks_whether_it_is_one_and_whoever_is_alone_stands_at_once() {
        assert_eq!(stands_at(4, Some(1), &[1, 2, 3], 1), Some(3_000));
        assert_eq!(stands_at(4, None, &[4], 1), Some(0));
    }

    #[test]
    fn last_words_of_a_leader_whose_link_is_lost_do_not_make_it_one_again() {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, 1), ids(&[1, 2, 3]));
        let view = View { me: 3, leader: Some(1), acknowledged: None, voters: &voters };
        let at = |millis| begin + Duration::from_millis(millis);
        pulse.hear(at(490));
        pulse.lose_leader(at(500));
        for heard in [495, 510, 600] {
            pulse.hear(at(heard));
            assert_eq!(pulse.beat(at(heard.max(500)), &view).leader, None, "{heard}");
        }
        pulse.hear(at(750));
        assert_eq!(pulse.beat(at(750), &view).leader, Some(1), "it has a link again");
    }

    #[test]
    fn leader_that_is_heard_is_left_alone() {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, 1), ids(&[1, 2, 3]));
        let view = View { me: 2, leader: Some(1), acknowledged: None, voters: &voters };
        for beat in 0..200 {
            let now = begin + BEAT * beat;
            if beat % 5 == 0 {
                pulse.hear(now);
            }
            assert_eq!(pulse.beat(now, &view), Verdict { leader: Some(1), asks: false });
        }
    }

    #[test]
    fn leader_whose_link_is_gone_is_not_believed_to_lead_and_has_its_silence_all_the_same() {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, 1), ids(&[1, 2, 3]));
        let view = View { me: 2, leader: Some(1), acknowledged: None, voters: &voters };
        let mut beats = (1..200).map(|beat| begin + BEAT * beat);
        beats.by_ref().take(30).for_each(|now| {
            pulse.hear(now);
            assert_eq!(pulse.beat(now, &view).leader, Some(1));
        });
        let lost = begin + BEAT * 30;
        pulse.lose_leader(lost);
        assert_eq!(pulse.beat(lost, &view), Verdict { leader: None, asks: false });
        let asks = beats.find(|now| pulse.beat(*now, &view).asks).unwrap();
        assert!(asks - lost >= SILENCE, "{:?}", asks - lost);
    }

    #[test]
    fn process_that_was_not_run_hears_the_others_first() {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, 1), ids(&[1, 2, 3]));
        let view = View { me: 2, leader: Some(1), acknowledged: None, voters: &voters };
        pulse.beat(begin, &view);
        let later = begin + Duration::from_secs(8);
        assert_eq!(pulse.beat(later, &view), Verdict { leader: Some(1), asks: false });
    }

    #[test]
    fn leader_whom_no_majority_acknowledges_does_not_believe_that_it_leads() {
        let begin = Instant::now();
        let (mut pulse, voters) = (pulse(begin, 1), ids(&[1, 2, 3]));
        let view = |ms| View { me: 1, leader: Some(1), acknowledged: Some(Duration::from_millis(ms)), voters: &voters };
        assert_eq!(pulse.beat(begin, &view(900)).leader, Some(1));
        assert_eq!(pulse.beat(begin, &view(1_100)), Verdict { leader: None, asks: false });
    }

    #[test]
    fn those_who_stood_at_once_in_vain_do_not_do_so_again() {
        let voters = ids(&[1, 2, 3]);
        for seed in 0..100 {
            let begin = Instant::now();
            let second = |me: u64| {
                let mut pulse = pulse(begin, seed + me * 1_000);
                let view = View { me, leader: None, acknowledged: None, voters: &voters };
                // Both at the same moment, as a machine that does nothing for a while brings it about.
                pulse.beat(begin, &view);
                pulse.handle_asked(begin);
                let mut beats = (1..200).map(|beat| begin + BEAT * beat);
                let at = beats.find(|now| pulse.beat(*now, &view).asks).unwrap();
                (at - begin).as_millis()
            };
            let (two, three) = (second(2), second(3));
            assert!(three >= two + 400, "{two} and {three}");
        }
    }

    #[test]
    fn voters_are_odd_in_number_and_stay() {
        let wanted = |leader, voters: &[u64], caught_up: &[u64], leaving| {
            voters_wanted(leader, &ids(voters), &ids(caught_up), leaving).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(wanted(1, &[1], &[], None), [1]);
        assert_eq!(wanted(1, &[1], &[1, 2], None), [1], "two decide no better than one");
        assert_eq!(wanted(1, &[1], &[1, 2, 3], None), [1, 2, 3]);
        assert_eq!(wanted(3, &[1, 2, 3], &[2, 3], None), [1, 2, 3], "one that is down keeps its vote");
        assert_eq!(wanted(3, &[1, 2, 3], &[1, 2, 3, 4], None), [1, 2, 3]);
        assert_eq!(wanted(3, &[1, 2, 3], &[1, 2, 3, 4], Some(1)), [2, 3, 4], "a replacement takes the place");
        assert_eq!(wanted(3, &[1, 2, 3], &[1, 2, 3, 4, 5], None), [1, 2, 3, 4, 5]);
        assert_eq!(wanted(3, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6, 7], None), [1, 2, 3, 4, 5]);
        assert_eq!(wanted(3, &[1, 2, 3], &[1, 2, 3], Some(2)), [3], "without one, the leader alone");
        assert_eq!(wanted(3, &[1, 2, 3], &[1, 2, 3], Some(3)), [1]);
    }
}
