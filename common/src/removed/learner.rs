//! A peer's half: it asks, believes what a supernode says or has signed, and tells neighbours.

use std::time::Duration;

use super::{REMOVED_MAX, RemovedKeys, led};
use crate::crypto::Verifier;
use crate::id::{Key, NetworkId};
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::rate::Bucket;
use crate::time::Instant;
use crate::wire::grant::GrantError;
use crate::wire::removed::{AskRemoved, Removed, SignedMark};

/// How often a peer that has no supernode asks a neighbour, each in turn: a removal goes a hop farther in that time, and
/// an idle link is spared no more than a probe by a longer one
pub const ASK_EVERY: Duration = Duration::from_secs(5);
/// Answers that neighbours get at once, one of each link that a peer may have; beyond, silence: they ask somebody else
pub const ANSWERS_BURST: u32 = 64;
/// One more answer every so often: the longest are 32 KiB, so this is what all neighbours together can make a peer send
pub const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// Whom to ask
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Supernode,
    /// The neighbour on this link
    Neighbour(LinkId),
}

/// What an answer told
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Keys that were not known to be removed
    pub new: Vec<Key>,
    /// Whether whoever answered is to be asked for more
    pub is_to_go_on: bool,
}

/// An answer that changes nothing, and why
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Nobody who may has signed it
    #[error("its mark: {0}")]
    Unsigned(#[from] GrantError),
    /// A neighbour said it, while there is a supernode that knows better
    #[error("the supernode knows better")]
    Needless,
    /// It does not follow what is known here
    #[error("it does not follow what is known here")]
    Elsewhere,
    /// A neighbour's keys that do not lead to the mark that is signed
    #[error("its keys do not lead to its mark")]
    Astray,
    /// A key twice, or more keys than there can be
    #[error("it has a key twice, or too many")]
    Impossible,
}

/// What one peer knows of removals, and how it comes to know more
#[derive(Debug)]
pub struct Learner {
    known: RemovedKeys,
    /// A supernode's word for the end of what is known; none before the first, and amid several pages
    end: Option<SignedMark>,
    is_home_up: bool,
    /// When to ask next: a neighbour while there is no supernode, or the supernode again as it has not answered
    ask_at: Option<Instant>,
    /// Whose turn it is
    turn: usize,
    answers: Bucket,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            known: RemovedKeys::default(),
            end: None,
            is_home_up: false,
            ask_at: None,
            turn: 0,
            answers: Bucket::new(ANSWERS_BURST, ANSWER_INTERVAL),
        }
    }
}

impl Learner {
    /// What is known
    pub const fn known(&self) -> &RemovedKeys {
        &self.known
    }

    /// What to ask
    pub fn question(&self) -> AskRemoved {
        AskRemoved { mark: self.known.mark() }
    }

    /// The link to the supernode came, which is to be asked by whoever says so, or went: then neighbours are
    pub fn handle_home(&mut self, now: Instant, is_up: bool) {
        self.is_home_up = is_up;
        self.ask_at = (is_up || !mutant::is(Mutant::RemovalsNotAskedNearBy)).then(|| now + ASK_EVERY);
    }

    /// The session is over: there is nobody to ask
    pub fn handle_logout(&mut self) {
        self.ask_at = None;
    }

    /// An answer, or what the supernode says unasked
    ///
    /// The supernode (`is_home`) is believed whatever it says: if its list is another one, that one counts. A neighbour is
    /// believed if its keys lead to a mark that is signed, so it cannot help who lacks more than one page.
    ///
    /// # Errors
    /// [`Ignored`]; what is known stays, but after an impossible list of the supernode's, of which a part may count.
    pub fn handle_removed(
        &mut self,
        now: Instant,
        is_home: bool,
        told: &Removed,
        network: &NetworkId,
        verifier: &impl Verifier,
    ) -> Result<Learnt, Ignored> {
        if self.is_home_up && !is_home {
            return Err(Ignored::Needless);
        }
        if is_home {
            self.ask_at = Some(now + ASK_EVERY);
        }
        if self.end.as_ref() == Some(&told.end) && told.keys.is_empty() && told.from == self.known.mark() {
            self.ask_at = self.ask_at.filter(|_| !is_home);
            return Ok(Learnt::default());
        }
        let end = told.end.verify(network, verifier)?;
        let led = led(&told.from, &told.keys);
        if !is_home && told.from != self.known.mark() {
            return Err(Ignored::Elsewhere);
        }
        if !is_home && led != end {
            return Err(Ignored::Astray);
        }
        if !self.known.was_at(&told.from) {
            // What was said unasked is ahead of what was asked for; the next answer leads there.
            return Ok(Learnt { new: Vec::new(), is_to_go_on: true });
        }
        if led.count as usize > REMOVED_MAX {
            return Err(Ignored::Impossible);
        }
        let new: Vec<Key> = told.keys.iter().filter(|key| !self.known.contains(key)).copied().collect();
        self.end = None;
        self.known.truncate(told.from.count as usize);
        for key in &told.keys {
            if !self.known.push(*key) {
                return Err(Ignored::Impossible);
            }
        }
        let is_whole = led == end;
        self.end = is_whole.then(|| told.end.clone());
        self.ask_at = self.ask_at.filter(|_| !(is_home && is_whole));
        Ok(Learnt { new, is_to_go_on: !is_whole && !told.keys.is_empty() })
    }

    /// What a neighbour that asks is told; nothing, if nothing is known for sure, or if it knows what is not known here
    pub fn answer(&mut self, now: Instant, question: &AskRemoved) -> Option<Removed> {
        let end = self.end.as_ref().filter(|_| self.known.was_at(&question.mark))?;
        self.answers.take(now).ok()?;
        let (from, keys) = self.known.page_after(&question.mark);
        Some(Removed { from, keys, end: end.clone() })
    }

    /// Whom to ask now: the supernode, or the neighbour on one of these links
    pub fn handle_timeout(&mut self, now: Instant, links: &[LinkId]) -> Option<Whom> {
        self.ask_at.filter(|at| *at <= now)?;
        self.ask_at = Some(now + ASK_EVERY);
        if self.is_home_up {
            return Some(Whom::Supernode);
        }
        self.turn = self.turn.wrapping_add(1);
        links.get(self.turn.checked_rem(links.len())?).copied().map(Whom::Neighbour)
    }

    /// When to call [`Self::handle_timeout`]
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.ask_at
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, keys};
    use super::*;
    use crate::testing::{at_ms, certificate_of, ed, network_of};
    use crate::wire::removed::{EndMark, KEYS_PER_PAGE, Mark};

    const NETWORK: u8 = 1;
    const SUPERNODE: u8 = 2;

    fn signed_by(list: &RemovedKeys, network: u8, signer: u8) -> SignedMark {
        let end = EndMark { network: network_of(network), mark: list.mark() };
        SignedMark::sign(&end, &ed(signer), certificate_of(network, SUPERNODE)).unwrap()
    }

    /// What somebody with this list answers to this mark
    fn page(list: &RemovedKeys, mark: &Mark) -> Removed {
        let (from, keys) = list.page_after(mark);
        Removed { from, keys, end: signed_by(list, NETWORK, SUPERNODE) }
    }

    fn hear(learner: &mut Learner, is_home: bool, told: &Removed) -> Result<(usize, bool), Ignored> {
        let learnt = learner.handle_removed(at_ms(0), is_home, told, &network_of(NETWORK), &ed(9))?;
        Ok((learnt.new.len(), learnt.is_to_go_on))
    }

    /// Asks until there is no more
    fn learn(learner: &mut Learner, list: &RemovedKeys) -> usize {
        let pages = std::iter::from_fn(|| {
            let told = page(list, &learner.question().mark);
            hear(learner, true, &told).unwrap().1.then_some(())
        });
        pages.count() + 1
    }

    #[test]
    fn long_list_is_learnt_page_by_page() {
        let list = keys(0..3 * KEYS_PER_PAGE as u32 + 1);
        let mut learner = Learner::default();
        assert_eq!(learn(&mut learner, &list), 4);
        assert_eq!(learner.known(), &list);
        assert_eq!(learn(&mut learner, &list), 1);
    }

    #[test]
    fn what_is_said_unasked_counts_where_it_follows_and_else_more_is_asked_for() {
        let (short, long) = (keys(0..5), keys(0..7));
        let mut learner = Learner::default();
        let last = page(&long, &keys(0..6).mark());
        assert_eq!(hear(&mut learner, true, &last), Ok((0, true)));
        learn(&mut learner, &short);
        assert_eq!(hear(&mut learner, true, &page(&long, &short.mark())), Ok((2, false)));
        assert_eq!(hear(&mut learner, true, &last), Ok((0, false)), "once more");
        assert_eq!(learner.known(), &long);
    }

    #[test]
    fn list_that_was_put_back_replaces_what_is_known() {
        let mut learner = Learner::default();
        learn(&mut learner, &keys(0..9));
        let mut other = keys(0..3);
        assert!(other.push(key(50)));
        learn(&mut learner, &other);
        assert_eq!(learner.known(), &other);
        assert!(!learner.known().contains(&key(8)));
    }

    #[test]
    fn neighbour_is_believed_if_its_keys_lead_to_what_is_signed() {
        let (short, long) = (keys(0..5), keys(0..7));
        let mut learner = Learner::default();
        learn(&mut learner, &short);
        let good = page(&long, &short.mark());
        learner.handle_home(at_ms(0), true);
        assert_eq!(hear(&mut learner, false, &good), Err(Ignored::Needless));
        learner.handle_home(at_ms(0), false);
        let forged = Removed { keys: short.page_after(&Mark::default()).1, ..good.clone() };
        assert_eq!(hear(&mut learner, false, &forged), Err(Ignored::Astray));
        let unsigned = Removed { end: signed_by(&long, NETWORK, 7), ..good.clone() };
        assert_eq!(hear(&mut learner, false, &unsigned), Err(Ignored::Unsigned(GrantError::Signature)));
        let foreign = Removed { end: signed_by(&long, 5, SUPERNODE), ..good.clone() };
        assert_eq!(hear(&mut learner, false, &foreign), Err(Ignored::Unsigned(GrantError::OtherNetwork)));
        assert_eq!(hear(&mut learner, false, &page(&long, &Mark::default())), Err(Ignored::Elsewhere));
        assert_eq!(hear(&mut learner, false, &page(&keys(0..3), &short.mark())), Err(Ignored::Elsewhere), "shorter");
        assert_eq!(hear(&mut learner, false, &good), Ok((2, false)));
        assert_eq!(learner.known(), &long);
    }

    #[test]
    fn neighbours_are_told_what_is_signed_and_not_too_often() {
        let list = keys(0..5);
        let mut learner = Learner::default();
        let question = AskRemoved::default();
        assert_eq!(learner.answer(at_ms(0), &question), None, "it knows nothing for sure");
        learn(&mut learner, &list);
        assert_eq!(learner.answer(at_ms(0), &question), Some(page(&list, &Mark::default())));
        assert_eq!(learner.answer(at_ms(0), &AskRemoved { mark: keys(0..6).mark() }), None);
        let answers = (0..2 * ANSWERS_BURST).filter(|_| learner.answer(at_ms(0), &question).is_some());
        assert_eq!(answers.count() as u32 + 1, ANSWERS_BURST);
        assert!(learner.answer(at_ms(0) + ANSWER_INTERVAL, &question).is_some());
    }

    #[test]
    fn neighbours_are_asked_in_turn_while_there_is_no_supernode() {
        let mut learner = Learner::default();
        let links = [LinkId(1), LinkId(2)];
        assert_eq!(learner.next_timeout(), None);
        learner.handle_home(at_ms(0), false);
        let asked: Vec<Option<Whom>> = (0..4).map(|n| learner.handle_timeout(at_ms(2_500 * n), &links)).collect();
        assert_eq!(asked, [None, None, Some(Whom::Neighbour(LinkId(2))), None]);
        assert_eq!(learner.handle_timeout(at_ms(10_000), &links), Some(Whom::Neighbour(LinkId(1))));
        assert_eq!(learner.handle_timeout(at_ms(15_000), &[]), None);
        learner.handle_logout();
        assert_eq!(learner.next_timeout(), None);
    }

    #[test]
    fn supernode_that_does_not_answer_is_asked_again_until_it_has() {
        let mut learner = Learner::default();
        learner.handle_home(at_ms(0), true);
        assert_eq!(learner.handle_timeout(at_ms(5_000), &[LinkId(1)]), Some(Whom::Supernode));
        let long = keys(0..KEYS_PER_PAGE as u32 + 1);
        hear(&mut learner, true, &page(&long, &Mark::default())).unwrap();
        assert_eq!(learner.next_timeout(), Some(at_ms(5_000)), "one page is missing");
        learn(&mut learner, &long);
        assert_eq!(learner.next_timeout(), None);
    }

    #[test]
    fn impossible_lists_end_somewhere() {
        let list = keys(0..2);
        let mut learner = Learner::default();
        learn(&mut learner, &list);
        let twice = Removed { keys: crate::wire::bounded::Bounded::truncated([key(1)]), ..page(&list, &list.mark()) };
        assert_eq!(hear(&mut learner, true, &twice), Err(Ignored::Impossible));
        assert_eq!(learner.known(), &list);
    }
}
