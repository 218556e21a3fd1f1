//! Seeded mistakes: what tests of the whole protocol are tested with.
//!
//! Each [`Mutant`] is one mistake that a programmer could make, at its own place in the cores. With the feature
//! `mutants` one of them can be made (by `set`), and whoever watches the protocol from outside should see it. Without the
//! feature [`is`] is false at compile time, and nothing of this is in the program.

use std::fmt;
use std::str::FromStr;

macro_rules! mutants {
    ($($mutant:ident $name:literal = $mistake:literal,)*) => {
        /// One mistake; [`Mutant::describe`] says which
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $(#[doc = $mistake] $mutant,)*
        }

        impl Mutant {
            /// Every mutant, from routing up to messages
            pub const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// Its name for command lines and reports, in kebab case
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }

            /// The mistake in a few words
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$mutant => $mistake,)* }
            }
        }
    };
}

mutants! {
    // Forwarding.
    ForwardToTried "forward-to-tried" = "a packet goes forward to a peer that it has been at",
    StaysOnWay "stays-on-way" = "a peer that gives a packet back at once stays on the packet's way",
    DestinationNotNoted "destination-not-noted" = "a peer that misses the destination does not note that in the packet",
    SecondFindingIgnored "second-finding-ignored" = "a packet whose destination two peers found gone searches on",
    DeadListIgnored "dead-list-ignored" = "a dead peer that is on a packet's list is noted again",
    StaleRanking "stale-ranking" = "ranked next hops outlive the tables that they were worked out from",
    DownLinkRanked "down-link-ranked" = "a link that is down is chosen like one that is up",
    BallOfCentreOnly "ball-of-centre-only" = "next hops are ranked by their distance on the ring alone",
    StrangerIsWitness "stranger-is-witness" = "a peer that never reached the destination finds it gone",
    UnseenNotTold "unseen-not-told" = "a peer does not tell of whom it cannot say whether they are there",
    PartingNotTold "parting-not-told" = "a rewire does not say whom the peer is parted from",
    TtlNotDecremented "ttl-not-decremented" = "a forwarded packet keeps its TTL",

    // Liveness of links.
    ProbeNeverSent "probe-never-sent" = "a probe is counted but not sent",
    HalfDeadStaysUp "half-dead-stays-up" = "each probe begins the time anew after which a silent link is down",
    IdleNeverProbed "idle-never-probed" = "an idle link is not asked whether its other end is there",
    SilenceTolerated "silence-tolerated" = "a silent link is down five times as late as it should",
    HomeAsHastyAsOthers "home-as-hasty-as-others" = "a home link that is silent for two seconds is down, as if it were a neighbour's",
    HeldUpBlamesOther "held-up-blames-other" = "a process that was itself held up blames the other end of a link for the silence",
    ProbeAnsweredLate "probe-answered-late" = "a probe is answered only when it is sent again",
    ReplyWantsAnswer "reply-wants-answer" = "a probe's reply is asked after like other frames, so idle links never rest",

    // Links: frames, hellos and last words.
    NonceRepeated "nonce-repeated" = "every hello of a process has the same nonce",
    HelloWaitsForEver "hello-waits-for-ever" = "a hello that does not come is waited for without an end",
    OtherPurposeAccepted "other-purpose-accepted" = "a dialler takes a hello for another purpose than its own",
    WrongKeyAccepted "wrong-key-accepted" = "whoever answers a dial is taken for whom was wanted",
    HelloAcceptedTwice "hello-accepted-twice" = "a second hello on a link is not minded",
    StrikesIgnored "strikes-ignored" = "frames that do not decode never end a link",
    ByeIgnored "bye-ignored" = "a link whose other end has said good-bye stays",
    ClassOutOfOrder "class-out-of-order" = "data is written before the control that waits with it",
    FarewellOvertakes "farewell-overtakes" = "the good-bye of a link is written before what waits",
    FarewellDropsRest "farewell-drops-rest" = "what waits when a link is closed is not written any more",

    LinkPlaceKept "link-place-kept" = "a link that came in keeps its place among the links for ever",
    TimersFirst "timers-first" = "a process that was held up judges by its timers before it reads what waits",
    HandshakesAtOnce "handshakes-at-once" = "a handshake is computed before what waits on links is read",
    OldestHandshakeFirst "oldest-handshake-first" = "of the handshakes that wait the oldest is computed first",
    NeverRests "never-rests" = "a process that is kept waiting for a processor makes handshakes all the same",
    RefusedDialsOn "refused-dials-on" = "a peer that is in another's table no more dials it every few seconds",
    RestsForEver "rests-for-ever" = "a process that is always kept waiting for a processor makes no handshake any more",
    LeftDiallerComputed "left-dialler-computed" = "a handshake is computed though its dialler has left",
    HandshakePlaceKept "handshake-place-kept" = "a connection keeps its place among those that have not said hello",

    // Neighbourhood.
    EpochUnchecked "epoch-unchecked" = "a rewire is applied whatever its epoch is",
    IncarnationIgnored "incarnation-ignored" = "the table of a log that was put back must have a larger index than those before",
    DropBeforeMake "drop-before-make" = "old links are closed before the new ones are up",
    OwnDialKept "own-dial-kept" = "of two dials that crossed each side keeps its own and closes the other's",
    DuplicatesKept "duplicates-kept" = "two links with one peer both stay",
    FormerNeighbourKept "former-neighbour-kept" = "the link to a peer that a rewire took out of the table stays",
    GuestStays "guest-stays" = "a guest stays though home is back and does not name it",
    BitNotSent "bit-not-sent" = "neighbours are not told that a link went up or down",
    TableNotSentOnOpen "table-not-sent-on-open" = "the table is not sent on a new link",
    NewLinkOverlooked "new-link-overlooked" = "a link that opens just when others are told a change gets no first table",
    GainsNotTold "gains-not-told" = "what a peer gains is told only with what it loses",
    DeltaNotPublished "delta-not-published" = "packets are forwarded by neighbours' tables as they were before their deltas",
    LinkNotPublished "link-not-published" = "packets go over the old link when another one with the same peer has replaced it",
    DialsUnbounded "dials-unbounded" = "any number of dials may be in flight",
    FlapNotHeld "flap-not-held" = "a link that was lost again and again carries as soon as it is up",
    BackOffNotReset "back-off-not-reset" = "a link that has lasted is held back for what it did long ago",
    NoRedial "no-redial" = "a neighbour that could not be dialled is never dialled again",
    CutOffBlamesOthers "cut-off-blames-others" = "a peer that is cut off itself reports its neighbours as unreachable",
    IsolationUnnoticed "isolation-unnoticed" = "a peer whose links are all down does not notice or report it",

    // Who is linked to whom.
    PredecessorForgotten "predecessor-forgotten" = "a peer's table lacks the peer before it on the ring",
    SecondNearestForgotten "second-nearest-forgotten" = "a peer chosen in place of an unreachable one is not told of who chose it",
    SplitForgotten "split-forgotten" = "of an interval whose inverse image has two pieces in a block only the first is found",
    CellBeginsAtMember "cell-begins-at-member" = "a member does not own the points before it",

    // Sessions.
    RenewsOldSession "renews-old-session" = "after a new login the session before it is renewed",
    SearchEnds "search-ends" = "after a setback no supernode is dialled again",
    BackoffNeverGrows "backoff-never-grows" = "the waits between dials to a supernode do not grow",
    NoHealing "no-healing" = "a peer without a home leaves the gaps in its table as they are",
    PartsForgotten "parts-forgotten" = "a peer without a home seeks nobody that its neighbours do not tell of",
    HealsBesideOnly "heals-beside-only" = "a peer without a home seeks those beside it on the ring and nobody else",
    StayForgotten "stay-forgotten" = "a peer that starts without a supernode does not come back by its last stay",
    GoneHeardAsHere "gone-heard-as-here" = "who was found gone counts as a member when neighbours are worked out",
    NoJitter "no-jitter" = "all peers wait for the same time before they dial",
    HomeLossIgnored "home-loss-ignored" = "the supernode does not notice that a home link has closed",
    LogoutForgotten "logout-forgotten" = "a peer that was logged out logs in again by itself",
    OwnLinkKeepsOut "own-link-keeps-out" = "a peer is refused for the link that it has given up itself",
    ResumeForgotten "resume-forgotten" = "a peer that comes back in time gets another session",

    // Directory.
    EpochNotRaised "epoch-not-raised" = "a table that has changed keeps its epoch",
    SuccessorNotTouched "successor-not-touched" = "the peer after one that joins or leaves is not told",
    SuspectStays "suspect-stays" = "a suspect stays in the ring",
    SuspectNeverCleared "suspect-never-cleared" = "a suspect that is heard again stays one until it logs in",
    LookUpFindsSuspect "look-up-finds-suspect" = "the look-up of a suspect says where it was",
    GoneIsNotFound "gone-is-not-found" = "the look-up of somebody who is logged out says that there is no such name",
    NameGivenAway "name-given-away" = "a name is given to a second key",
    SecondSession "second-session" = "a key that has a session gets a second one at another place",
    OldLocations "old-locations" = "a peer that logs in again is looked for where it was before",
    ClosedLetsAllIn "closed-lets-all-in" = "a network of invites takes whoever comes",
    InviteUsedTwice "invite-used-twice" = "newcomers do not use an invite up",
    InviteAfterItsTerm "invite-after-its-term" = "an invite lets newcomers in when its time is over",
    InviteForAnotherName "invite-for-another-name" = "an invite for one name is good for every other",
    PlacesUnbounded "places-unbounded" = "a key gets new places on the ring as often as it likes",
    NamesUnbounded "names-unbounded" = "a network of addresses gets new names as fast as it asks",
    LoginsUnbounded "logins-unbounded" = "a network of addresses logs in as often as it likes",
    InvitedUnbounded "invited-unbounded" = "newcomers come by one invite as fast as they like",
    UnusedNameKept "unused-name-kept" = "a name that was taken and never used is never free again",
    FormerHomeJudges "former-home-judges" = "a session that has moved is judged by the home that it had before, too",
    LateMoveMoves "late-move-moves" = "a session goes back to a home that its peer has left by now, as its move was late",
    LeaseTooShort "lease-too-short" = "a lease lasts one renewal less than it should",
    ComesBackAtOnce "comes-back-at-once" = "a peer that is suspected again and again is in the ring again as soon as it is heard",
    SuspicionsUnbounded "suspicions-unbounded" = "however many are lost at once, all are taken out of the ring",
    RewiresOneByOne "rewires-one-by-one" = "each change of a table is told at once, by a table of its own",
    LostIsForgotten "lost-is-forgotten" = "what a full disk kept out of the log is not proposed again",
    StopBlamesPeers "stop-blames-peers" = "a supernode that stood still judges everybody by what it has not read yet",
    RestoredWithoutLease "restored-without-lease" = "sessions found at a supernode's start have no end",
    SuspectsForgotten "suspects-forgotten" = "a directory read back from its snapshot has no suspects",
    PairIgnored "pair-ignored" = "two peers that cannot connect stay neighbours",
    LostIsParted "lost-is-parted" = "a peer that its home has lost, too, counts as one that somebody cannot reach",
    LastNeighbourParted "last-neighbour-parted" = "a peer is kept apart from the last one that it might connect to",
    LastIsNotMadeUp "last-is-not-made-up" = "a peer that loses the last one that it is not kept apart from has nobody to try",
    AbsentPairsIgnored "absent-pairs-ignored" = "tables are made as if all peers could connect",
    PairNeverExpires "pair-never-expires" = "two peers that could not connect once are never brought together again",
    PairTermNeverGrows "pair-term-never-grows" = "two peers that can never connect try it again every half a minute",

    // Several supernodes.
    SupernodesNotTold "supernodes-not-told" = "peers are not told when a supernode comes or goes",
    BackboneNotRedialled "backbone-not-redialled" = "a supernode that was lost is not dialled again",
    AnothersCertificate "anothers-certificate" = "whoever shows a supernode's certificate is taken for that supernode",
    OwnSightDecides "own-sight-decides" = "a home is gone when the leader itself has no link with it",
    HomeGoneEndsAtOnce "home-gone-ends-at-once" = "the sessions of a home that is gone end at once",
    NewLeaderGoesOn "new-leader-goes-on" = "a leader counts from when it saw a home gone as it led before",
    EverybodyJudgesHomes "everybody-judges-homes" = "every supernode ends the sessions of homes that it cannot see",
    GuestsAreJudged "guests-are-judged" = "a supernode judges sessions that are at home elsewhere",
    ReportsStayHere "reports-stay-here" = "what is reported of a peer is not told to its home",
    RelayEndsHere "relay-ends-here" = "a packet for a peer that is at home elsewhere is given back",
    RelayedToAndFro "relayed-to-and-fro" = "a packet that another supernode handed over is handed on to a third",
    ClaimNotAsked "claim-not-asked" = "a second login of a key gets the session without a word from its home",
    ClaimIgnored "claim-ignored" = "the word of a session's home, that its peer answers, does not count",
    NobodyScouts "nobody-scouts" = "a peer whose home is cut off asks no other supernode whether somebody leads",
    ScoutsMoveAnyway "scouts-move-anyway" = "a peer whose home is cut off moves to one that hears nobody lead either",
    CutOffKeepsPeers "cut-off-keeps-peers" = "a supernode that is cut off from who leads keeps its peers, and takes others in",
    EverybodyEndsPairs "everybody-ends-pairs" = "every supernode brings pairs together by its own count",
    MoveAwayBelieved "move-away-believed" = "a session ends here as the log says that it has moved away, though its peer is here",
    UnledLeasesEnd "unled-leases-end" = "sessions that nobody could move while nobody led end as somebody leads again",
    MoveForgotten "move-forgotten" = "a session that was taken up while nobody led never has its home moved",
    ResumptionIsCounted "resumption-is-counted" = "whoever goes on with its session is counted like a newcomer",
    ReadsFromHere "reads-from-here" = "a supernode answers look-ups by what it has heard, and says that it is sure",
    ReadNotAwaited "read-not-awaited" = "a look-up is answered before its supernode has heard what it must",
    ReadSharedTooLate "read-shared-too-late" = "whoever asks while the log is asked shares that answer",
    LogoutToldAtOnce "logout-told-at-once" = "a logout is confirmed before the log has it",
    StaleNotMarked "stale-not-marked" = "an answer that may be old is not marked",

    // Overload.
    LoginDeadlineIgnored "login-deadline-ignored" = "a login goes to the log though its peer has given it up by then",
    EstimateIgnored "estimate-ignored" = "a login is not put off before it has waited in vain",
    PutOffWithoutJitter "put-off-without-jitter" = "all logins that are put off are told to come again at once",
    NewcomersFirst "newcomers-first" = "who goes on with a session waits until all newcomers are in",
    LoginsKeepOthersWaiting "logins-keep-others-waiting" = "ends of sessions and operators wait until no login does",

    // Members who were removed.
    RemovalNotTold "removal-not-told" = "a supernode keeps to itself who was removed",
    RemovedHelloBelieved "removed-hello-believed" = "the grant of a removed peer is good for a link",
    RemovedLinkKept "removed-link-kept" = "the link of a peer that has just been removed stays",
    RemovalsNotAskedNearBy "removals-not-asked-near-by" = "a peer without a supernode asks no neighbour who was removed",

    // Pings and messages.
    NeverResends "never-resends" = "a ping that nobody replies to is not sent again",
    SameFirstHop "same-first-hop" = "a ping that is sent again goes by the same first hop",
    NeverRelays "never-relays" = "the supernode is not asked to relay what the mesh cannot deliver",
    FateTwice "fate-twice" = "the fate of a ping or a message is reported twice",
    CertaintyFeigned "certainty-feigned" = "a message that may have arrived ends as one that did not",
    OutboxUnbounded "outbox-unbounded" = "any number of pings may be under way",
    BindingUnchecked "binding-unchecked" = "whoever shows a grant is believed to have its name still",
    LastBindingForgotten "last-binding-forgotten" = "who was confirmed is unconfirmed while the directory is silent",
    OrderIgnored "order-ignored" = "a message is kept though the one before it has not come",
    PredecessorNotNamed "predecessor-not-named" = "a message does not say which one it is sent behind",
    MessagesNotSentAgain "messages-not-sent-again" = "messages whose connection is lost wait until their sender starts again",
    MessageDeadlineForgotten "message-deadline-forgotten" = "a message whose time is over waits on",
    StoredForgotten "stored-forgotten" = "what is in the out-box at a start is not sent",
    RefusedNotSentAgain "refused-not-sent-again" = "what an in-box had no room for is not sent again",
    FirstWayForgotten "first-way-forgotten" = "a receipt knows no way of what came together with its sender's grant",
    PinsIgnored "pins-ignored" = "a name that was relied on may have any key later",
    FirstNotPinned "first-not-pinned" = "whoever is relied on for the first time is pinned to its name by nobody",
    PinsForgotten "pins-forgotten" = "a peer that starts again has forgotten whose keys it has relied on",
    SilentPipesLost "silent-pipes-lost" = "a pipe in which nobody says anything for a minute is lost",
    LostPipesUntold "lost-pipes-untold" = "pipes whose connection is lost are not told of",
    HeardAsTheyCome "heard-as-they-come" = "messages of one connection are heard as they come",
    DuplicateKept "duplicate-kept" = "a message that was kept is kept again",
    BytesLost "bytes-lost" = "a message is kept without its bytes",
    SilenceIsNotFound "silence-is-not-found" = "a name that no neighbour knows counts as one that nobody has",
    OldAnswerIsFresh "old-answer-is-fresh" = "a remembered answer of any age is given as if it were new",
    StaleIsFresh "stale-is-fresh" = "what a supernode says that could not ask the others counts as what they all say",
    FloodPassesTwice "flood-passes-twice" = "a neighbour's question is passed on each time that it comes",

    // Connections, and calls over them.
    WayNeverChanged "way-never-changed" = "a connection keeps to a way from which nothing comes back",
    CopiesNotRelayed "copies-not-relayed" = "no supernode relays copies of what a connection has sent in vain",
    StrangersNotRelayed "strangers-not-relayed" = "whoever is dialled by way of a supernode answers by the mesh alone",
    ProbesWaitForWindow "probes-wait-for-window" = "a probe of another way waits until what was lost leaves the window",
    OwedNotSentAgain "owed-not-sent-again" = "what is owed waits for its own time when the way is changed",
    EarlyRefusalUntold "early-refusal-untold" = "whoever has started anew hears nothing of what was said early, and nobody says it again",
    CallEndsTwice "call-ends-twice" = "the end of a call is reported twice",
    CallDeadlineForgotten "call-deadline-forgotten" = "a call whose time is over waits on",
    CallNotAskedAgain "call-not-asked-again" = "a call whose connection is lost is not asked again",
    ResultsForgotten "results-forgotten" = "a call that was evaluated is evaluated again when it is repeated",
    RepeatEvaluated "repeat-evaluated" = "a call that is repeated while it is evaluated is evaluated once more",
    ResultLost "result-lost" = "a call ends well without its result",
    PongedTwice "ponged-twice" = "a ping that a connection brings is answered twice",
    PongTimedByLast "pong-timed-by-last" = "the time of a pong is counted from the last ping, which need not be its own",
    PingsWaitForAnswers "pings-wait-for-answers" = "the next ping of a series waits until the last one is answered",
    RemovedCallsEvaluated "removed-calls-evaluated" = "a removed peer keeps the connections that it has",
    NewPlaceIgnored "new-place-ignored" = "datagrams go to where the other end was when it was dialled",
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no mutant has
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no mistake has this name; `kith-sim mutants --list` names them")]
pub struct UnknownMutant;

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, UnknownMutant> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name).ok_or(UnknownMutant)
    }
}

/// Whether this mistake is to be made: never
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod active {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this mistake is to be made
    #[inline(always)]
    pub fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// From now on every core that runs on this thread makes this mistake, or none
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }
}

#[cfg(feature = "mutants")]
pub use active::{is, set};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `ForwardToTried` as `forward-to-tried`
    fn kebab(mutant: Mutant) -> String {
        let split = |c: char| if c.is_uppercase() { format!("-{}", c.to_ascii_lowercase()) } else { c.to_string() };
        format!("{mutant:?}").chars().map(split).collect::<String>().trim_start_matches('-').to_owned()
    }

    #[test]
    fn names_are_unique_in_kebab_case_and_lead_back() {
        let names: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        for mutant in Mutant::ALL.iter().copied() {
            assert_eq!(mutant.name(), kebab(mutant));
            assert_eq!(mutant.name().parse(), Ok(mutant));
            assert_eq!(mutant.to_string(), mutant.name());
        }
        assert_eq!("no-such-mutant".parse::<Mutant>(), Err(UnknownMutant));
    }

    #[test]
    fn descriptions_are_unique_and_short() {
        let mistakes: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.describe()).collect();
        assert_eq!(mistakes.len(), Mutant::ALL.len());
        assert!(mistakes.iter().all(|mistake| (20..=100).contains(&mistake.len())));
    }

    #[cfg(not(feature = "mutants"))]
    #[test]
    fn no_mistake_is_made_without_the_feature() {
        const { assert!(!is(Mutant::ForwardToTried)) }
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn one_mistake_is_made_on_the_thread_that_asked_for_it() {
        assert!(!Mutant::ALL.iter().any(|mutant| is(*mutant)));
        set(Some(Mutant::NoJitter));
        assert_eq!(Mutant::ALL.iter().filter(|mutant| is(**mutant)).collect::<Vec<_>>(), [&Mutant::NoJitter]);
        let elsewhere = std::thread::spawn(|| is(Mutant::NoJitter)).join();
        assert!(!elsewhere.unwrap());
        set(None);
        assert!(!is(Mutant::NoJitter));
    }
}
