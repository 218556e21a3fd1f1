//! Whether the other end of a link still answers.
//!
//! One `Liveness` a link. Whoever is silent after it was sent something is asked with probes, every
//! [`LivenessConfig::probe_every`]; after [`LivenessConfig::down_after`] without a byte the link is down. An idle link is
//! asked now and then. Any byte received is an answer, so a busy link in both directions costs no probe at all.
//!
//! ```text
//! frame sent ──0.4 s──► probe ──0.4 s──► probe ──0.4 s──► probe ──0.4 s──► probe ──0.4 s──► down
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::mutant::{self, Mutant};
use crate::time::{HELD_UP_MIN, Instant};
use crate::wire::link::Probe;

/// When to ask, and when to give up
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// From the first unanswered frame to the first probe, and from one probe to the next (0.4 s: four of them fit
    /// below `down_after`, so a lost segment and its retransmission do not end a link)
    pub probe_every: Duration,
    /// From the first unanswered frame to the link's end (2 s: a second below what is promised to users)
    pub down_after: Duration,
    /// How long a link may be silent before it is probed, ± 20 % so that the probes of many links spread (10 s)
    pub idle_after: Duration,
    /// A timeout handled later than this after it was due shows that this process was held up, not the peer (0.5 s)
    pub late_after: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            probe_every: Duration::from_millis(400),
            down_after: Duration::from_secs(2),
            idle_after: Duration::from_secs(10),
            late_after: HELD_UP_MIN,
        }
    }
}

/// Probes that fit into the silence after which a link is down, that after the last one included
const PROBES_PER_SILENCE: u32 = 5;

impl LivenessConfig {
    /// A link that may be silent for `silence`, but not for less than others may: it is asked as often in that time, so
    /// that whoever is slow has no more to answer
    pub(crate) fn patient(silence: Duration) -> Self {
        let base = Self::default();
        let down_after = silence.max(base.down_after);
        Self { probe_every: down_after / PROBES_PER_SILENCE, down_after, ..base }
    }
}

/// Probes whose replies are still of use; older ones are forgotten, so a reply to them gives no round trip
pub(super) const PROBES_MAX: usize = 8;

/// What is to be done
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this on the link
    SendProbe(Probe),
    /// The link is down: close it. Nothing follows
    Down {
        /// Since the first frame that nothing answered
        unanswered: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everything sent was followed by bytes from the other side
    Quiet {
        probe_at: Instant,
    },
    /// Something was sent, and nothing came since
    Asking {
        since: Instant,
        probe_at: Instant,
    },
    Down,
}

/// Liveness of one link
#[derive(Debug)]
pub(super) struct Liveness {
    config: LivenessConfig,
    rng: ChaCha8Rng,
    state: State,
    sequence: u32,
    probes: VecDeque<(u32, Instant)>,
    rtt: Option<Duration>,
    outputs: VecDeque<Output>,
}

impl Liveness {
    /// A link that opened at `now`; `seed` spreads the idle probes
    pub(super) fn new(config: LivenessConfig, now: Instant, seed: u64) -> Self {
        let mut liveness = Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            state: State::Down,
            sequence: 0,
            probes: VecDeque::new(),
            rtt: None,
            outputs: VecDeque::new(),
        };
        liveness.state = State::Quiet { probe_at: liveness.idle_probe_at(now) };
        liveness
    }

    /// The link may be silent for so long from now on, see [`LivenessConfig::patient`]
    pub(super) fn set_patience(&mut self, silence: Duration) {
        let LivenessConfig { probe_every, down_after, .. } = LivenessConfig::patient(silence);
        self.config = LivenessConfig { probe_every, down_after, ..self.config.clone() };
    }

    /// Bytes came, whichever
    ///
    /// After [`Output::Down`] nothing changes any more.
    pub(super) fn on_received(&mut self, now: Instant) {
        if self.state != State::Down {
            self.state = State::Quiet { probe_at: self.idle_probe_at(now) };
        }
    }

    /// A frame was sent, any but a probe (counted already) or a probe's reply
    ///
    /// Replies must not count: each would be answered by a probe of ours, and two idle peers would never be quiet.
    pub(super) fn on_sent(&mut self, now: Instant) {
        // Of several frames without an answer the first counts: later ones must not put off the end.
        if let State::Quiet { .. } = self.state {
            self.state = State::Asking { since: now, probe_at: now + self.config.probe_every };
        }
    }

    /// A probe was answered (its bytes count by [`on_received`](Self::on_received), which comes as well)
    ///
    /// A sequence that was never sent, or too long ago, is ignored.
    pub(super) fn handle_probe_reply(&mut self, now: Instant, sequence: u32) {
        let Some(at) = self.probes.iter().position(|probe| probe.0 == sequence) else { return };
        // Those before it were lost or will come late: neither is a measure.
        let answered = self.probes.drain(..=at).next_back();
        if let Some((_, sent)) = answered {
            self.on_round_trip(now - sent);
        }
    }

    /// Time has passed
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due = self.next_timeout().filter(|due| *due <= now);
        let Some(due) = due else { return };
        // This node itself was held up, and the answers may lie unread in its socket: they get their time again.
        let is_late = now - due > self.config.late_after && !mutant::is(Mutant::HeldUpBlamesOther);
        let is_late = is_late || mutant::is(Mutant::HalfDeadStaysUp);
        match self.state {
            State::Asking { since, .. } if !is_late && now - since >= self.down_after() => {
                self.state = State::Down;
                self.outputs.push_back(Output::Down { unanswered: now - since });
            }
            State::Asking { since, .. } => self.probe(now, if is_late { now } else { since }),
            State::Quiet { .. } => self.probe(now, now),
            State::Down => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` once the link is down
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Quiet { probe_at } => Some(probe_at),
            State::Asking { since, probe_at } => Some(probe_at.min(since + self.down_after())),
            State::Down => None,
        }
    }

    /// What is to be done next; drain after every input
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether nothing is owed
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Quiet { .. })
    }

    /// Since when an answer is owed, once the first was missed: a probe's time has passed without a byte
    pub(super) fn silent_since(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Asking { since, .. } if now - since >= self.config.probe_every => Some(since),
            State::Asking { .. } | State::Quiet { .. } | State::Down => None,
        }
    }

    /// The smoothed round trip, once a probe was answered
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn probe(&mut self, now: Instant, since: Instant) {
        self.state = State::Asking { since, probe_at: now + self.config.probe_every };
        self.sequence = self.sequence.wrapping_add(1);
        // Whoever answers none is down long before so many; whoever is merely slow gives no measure by such an old one.
        if self.probes.len() == PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back((self.sequence, now));
        if !mutant::is(Mutant::ProbeNeverSent) {
            self.outputs.push_back(Output::SendProbe(Probe { sequence: self.sequence }));
        }
    }

    fn down_after(&self) -> Duration {
        self.config.down_after * if mutant::is(Mutant::SilenceTolerated) { 5 } else { 1 }
    }

    /// TCP's weight of one eighth (RFC 6298): one slow reply does not hide what is usual.
    fn on_round_trip(&mut self, sample: Duration) {
        self.rtt = Some(self.rtt.map_or(sample, |rtt| rtt - rtt / 8 + sample / 8));
    }

    fn idle_probe_at(&mut self, now: Instant) -> Instant {
        let idle = self.config.idle_after * if mutant::is(Mutant::IdleNeverProbed) { 10_000 } else { 1 };
        // Spread, or the links that a rewire opened together would be probed together for ever.
        let percent = 80 + self.rng.next_u32() % 41;
        now + idle / 100 * percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn link() -> Liveness {
        Liveness::new(LivenessConfig::default(), ms(0), 7)
    }

    fn drain(link: &mut Liveness) -> Vec<Output> {
        std::iter::from_fn(|| link.poll_output()).collect()
    }

    fn probe(sequence: u32) -> Output {
        Output::SendProbe(Probe { sequence })
    }

    /// Handles every timeout when it is due, up to `end`; the outputs with the milliseconds at which they came
    fn run(link: &mut Liveness, end: Instant) -> Vec<(u64, Output)> {
        let mut seen = Vec::new();
        while let Some(due) = link.next_timeout().filter(|due| *due <= end) {
            link.handle_timeout(due);
            seen.extend(drain(link).into_iter().map(|output| (due.as_micros() / 1_000, output)));
        }
        seen
    }

    #[test]
    fn link_is_silent_from_the_first_answer_that_it_missed() {
        let mut link = link();
        link.on_sent(ms(100));
        assert_eq!(link.silent_since(ms(499)), None);
        assert_eq!(link.silent_since(ms(500)), Some(ms(100)));
        link.handle_timeout(ms(500));
        assert_eq!(link.silent_since(ms(900)), Some(ms(100)), "a probe is no answer");
        link.on_received(ms(901));
        assert_eq!(link.silent_since(ms(5_000)), None);
    }

    #[test]
    fn silent_peer_is_probed_every_400_ms_and_down_after_two_seconds() {
        let mut link = link();
        link.on_sent(ms(100));
        link.on_sent(ms(350));
        let down = Output::Down { unanswered: Duration::from_secs(2) };
        let expected = vec![(500, probe(1)), (900, probe(2)), (1_300, probe(3)), (1_700, probe(4)), (2_100, down)];
        assert_eq!(run(&mut link, ms(60_000)), expected);
        assert_eq!(link.next_timeout(), None);
    }

    #[test]
    fn patient_link_is_asked_as_often_in_a_longer_time_and_no_link_is_hastier_than_others() {
        let mut link = link();
        link.set_patience(Duration::from_secs(10));
        link.on_sent(ms(0));
        let seen = run(&mut link, ms(60_000));
        let down = Output::Down { unanswered: Duration::from_secs(10) };
        assert_eq!(seen, [(2_000, probe(1)), (4_000, probe(2)), (6_000, probe(3)), (8_000, probe(4)), (10_000, down)]);
        assert_eq!(LivenessConfig::patient(Duration::from_millis(333)), LivenessConfig::default());
    }

    #[test]
    fn any_byte_received_is_an_answer() {
        let mut link = link();
        link.on_sent(ms(0));
        assert_eq!(run(&mut link, ms(1_900)).len(), 4);
        link.on_received(ms(1_900));
        assert!(run(&mut link, ms(9_800)).is_empty());
        link.on_sent(ms(9_800));
        assert_eq!(run(&mut link, ms(10_200)), [(10_200, probe(5))]);
    }

    #[test]
    fn idle_link_is_probed_every_ten_seconds_give_or_take_a_fifth() {
        let mut gaps = Vec::new();
        for seed in 0..50 {
            let mut link = Liveness::new(LivenessConfig::default(), ms(0), seed);
            let due = link.next_timeout().unwrap();
            link.handle_timeout(due);
            assert_eq!(drain(&mut link), [probe(1)]);
            gaps.push(due - ms(0));
        }
        assert!(gaps.iter().all(|gap| (8_000..=12_000).contains(&gap.as_millis())));
        assert!(gaps.iter().max().unwrap().as_millis() - gaps.iter().min().unwrap().as_millis() > 2_000);
    }

    #[test]
    fn silence_of_an_idle_link_is_found_after_its_probe() {
        let mut link = link();
        let first = link.next_timeout().unwrap();
        let seen = run(&mut link, ms(60_000));
        let (at, down) = seen.last().unwrap();
        assert_eq!(*down, Output::Down { unanswered: Duration::from_secs(2) });
        assert_eq!(*at, (first + Duration::from_secs(2)).as_micros() / 1_000);
    }

    #[test]
    fn late_timeout_starts_over_instead_of_ending_the_link() {
        let mut link = link();
        link.on_sent(ms(0));
        link.handle_timeout(ms(400));
        link.handle_timeout(ms(20_000));
        assert_eq!(drain(&mut link), [probe(1), probe(2)]);
        assert_eq!(run(&mut link, ms(60_000)).last().unwrap().0, 22_000);
    }

    #[test]
    fn early_timeout_changes_nothing() {
        let mut link = link();
        link.on_sent(ms(0));
        link.handle_timeout(ms(399));
        assert_eq!(drain(&mut link), []);
        assert_eq!(link.next_timeout(), Some(ms(400)));
    }

    #[test]
    fn link_that_is_down_stays_down() {
        let mut link = link();
        link.on_sent(ms(0));
        run(&mut link, ms(5_000));
        link.on_received(ms(5_000));
        link.on_sent(ms(5_001));
        link.handle_timeout(ms(90_000));
        assert_eq!((drain(&mut link), link.next_timeout()), (vec![], None));
    }

    #[test]
    fn round_trip_is_measured_by_replies_and_smoothed() {
        let mut link = link();
        link.on_sent(ms(0));
        link.handle_timeout(ms(400));
        link.handle_probe_reply(ms(408), 1);
        assert_eq!(link.rtt(), Some(Duration::from_millis(8)));
        link.handle_probe_reply(ms(500), 1);
        link.handle_probe_reply(ms(500), 77);
        assert_eq!(link.rtt(), Some(Duration::from_millis(8)));
        link.handle_timeout(ms(800));
        link.handle_probe_reply(ms(880), 2);
        assert_eq!(link.rtt(), Some(Duration::from_millis(17)));
    }

    #[test]
    fn forgotten_probe_gives_no_round_trip() {
        let config = LivenessConfig { down_after: Duration::from_secs(3_600), ..LivenessConfig::default() };
        let mut link = Liveness::new(config, ms(0), 7);
        link.on_sent(ms(0));
        assert_eq!(run(&mut link, ms(400 * (PROBES_MAX as u64 + 1))).len(), PROBES_MAX + 1);
        link.handle_probe_reply(ms(9_000), 1);
        assert_eq!(link.rtt(), None);
        assert_eq!(link.probes.len(), PROBES_MAX);
    }

    proptest! {
        #[test]
        fn link_is_down_only_after_two_seconds_without_a_byte(
            steps in prop::collection::vec((0u8..4, 0u64..700), 1..300),
            seed: u64,
        ) {
            let mut link = Liveness::new(LivenessConfig::default(), ms(0), seed);
            let (mut now, mut received) = (ms(0), ms(0));
            for (kind, step) in steps {
                now = now + Duration::from_millis(step);
                match kind {
                    0 => { link.on_received(now); received = now; }
                    1 => link.on_sent(now),
                    2 => link.handle_probe_reply(now, step as u32),
                    _ => link.handle_timeout(now),
                }
                for output in drain(&mut link) {
                    if let Output::Down { unanswered } = output {
                        prop_assert!(unanswered >= Duration::from_secs(2));
                        prop_assert!(now - received >= unanswered);
                    }
                }
                prop_assert!(link.probes.len() <= PROBES_MAX);
            }
        }
    }
}
