//! What must hold, said once more from outside the cores: each judges by rules of its own, from what can be seen. Only
//! [`choices`], [`healing`], [`delivery`] and [`hops`] ask the cores too, what a forwarder would decide.
//!
//! | oracle | what it says | when |
//! |---|---|---|
//! | [`isolation`] | who is logged in has a live neighbour, or knows and tells that it has none | each step |
//! | [`stale_links`] | a link whose other end is gone is noticed in time | each step |
//! | [`component`] | in a whole network live peers are connected | each step |
//! | [`degree`] | a table has 64 places at most, and all tables no more links than the degree allows | each step, at the end |
//! | [`epochs`] | epochs only grow | each event |
//! | [`make_before_break`] | an old link stays until each new one is up or has failed | each event |
//! | [`forwarding`] | no packet goes forward to who had it, nor beyond its hops; its way is true | each event |
//! | [`holders`] | a place has one peer, a session one holder, a name one owner | each step, each log entry |
//! | [`fates`] | each send has one fate, in time, and it is true; what is stored outlives its process | each event, each step |
//! | [`order`] | messages of one sender to one receiver are kept in their order | each event |
//! | [`receipts`] | the way that a receipt names is one of links that were there | each event |
//! | [`pins`] | whoever has relied on a name hears nobody else under it, until its user has said so | each event |
//! | [`evaluations`] | a call is evaluated once by one process, however often it is asked | each event |
//! | [`pipes`] | what is read from a pipe is what was written at its other end, to the end; a pipe lasts no longer than its connection | each event, each step |
//! | [`contents`] | what arrives is what was sent, and a result is its call's | each event |
//! | [`pings`] | a series of pings is answered by whom it pings, once, no sooner than can be; it adds up and ends | each event, each step, at the end |
//! | [`sayings`] | what may get lost is heard as it was said, and once; a wanted connection is there in time, or why not | each event, each step |
//! | [`bindings`] | what an in-box has as confirmed came from a session that there is, or was a lease ago | each event, each step |
//! | [`departures`] | whoever has logged out stays out until it is wanted back | each event, each step |
//! | [`bounds`] | queues, tables and caches stay within their bounds | each step |
//! | [`storms`] | no machine sends more frames a second than healthy ones ever do | each event |
//! | [`rewires`] | a peer is not sent a table for each of many changes | each event |
//! | [`choices`] | forwarders choose by the rules, by what their peer knows | each event, each step |
//! | [`crossing`] | two peers keep one link, the same on both sides | each event, each step |
//! | [`link_order`] | a link writes the lower class first, and its good-bye behind all that was queued | each event |
//! | [`link_ends`] | a good-bye, a second hello or too many bad frames end a link at once | each event |
//! | [`probing`] | silent links are probed, and no others; probes are answered; nobody is given up unasked | each event, each step |
//! | [`openings`] | a link opens with whom and for what was wanted, by fresh hellos, and soon or not at all | each event, each step |
//! | [`outages`] | without a supernode, or a quorum, the living reach each other; without one they are linked as if there were one | each event, each step, at the end |
//! | [`places`] | links and handshakes are counted as they are, and kept within their limits | each step |
//! | [`crowds`] | however many are lost at once, few are suspected at a time | each command |
//! | [`flaps`] | a link that comes and goes is held back, for as long as it has earned and no longer | each step |
//! | [`greetings`] | every link that a peer accepts is told its table | each step |
//! | [`guests`] | who is no neighbour does not stay while there is a supernode | each step |
//! | [`conflicts`] | nobody is kept out of its session by its own older link | each event |
//! | [`moves`] | a session has one home, where its peer's link is; who loses a home soon has another | each step |
//! | [`scouts`] | nobody gives up its home for a supernode that is no better | each event |
//! | [`judgement`] | whoever is well keeps its session, whatever befalls supernodes | each log entry |
//! | [`reads`] | an answer that is not marked is not older than what was known when it was asked for | each event |
//! | [`proposals`] | a supernode proposes what is its business, and nothing that is another's | each event |
//! | [`takeovers`] | a session goes from the home that it has to one that wants it from there, and lasts until it is over | each event |
//! | [`relays`] | what a supernode cannot hand over goes to the destination's home | each event |
//! | [`lists`] | peers know who the supernodes are | each step |
//! | [`quorums`] | without a quorum no answer is sure, and soon after its return all are served | each event, each step |
//! | [`acknowledged`] | what a supernode says that it has done is in the log | each event |
//! | [`comebacks`] | soon after supernodes are back everybody is where the directory says | each step |
//! | [`homes`] | a supernode knows who has a link with it, and lets who comes back go on | each log entry, each step |
//! | [`redials`] | a neighbour that cannot be reached is dialled again | each step |
//! | [`resends`] | a ping that nobody replies to is sent again, by another way | each event |
//! | [`questions`] | a question goes over each link once | each event |
//! | [`answers`] | nobody who can ask is told, or sends by, what was true long ago | each event |
//! | [`dials`] | supernodes that do not answer are not hammered | each event |
//! | [`returns`] | who is suspected again and again comes back later each time | each log entry |
//! | [`leases`] | a session lasts one lease from its renewal, no less and no more | each log entry, each step |
//! | [`look_ups`] | a supernode answers what its directory says | each event |
//! | [`pairs`] | two peers are kept apart if they could not connect, and not for ever | each log entry, each step |
//! | [`blame`] | who was away gives others their time before it says that they cannot be reached | each event |
//! | [`removals`] | who was removed for good has no link, and gets nothing through, with whoever can know | each event, each step |
//! | [`restarts`] | a supernode that starts knows what it knew | each log entry |
//! | [`tables`] | at the end all tables are what the definition says, and all links are up | at the end |
//! | [`healing`] | soon after each fault packets have a way past it, how soon by its kind | each step |
//! | [`delivery`] | at the end everybody reaches everybody | at the end |
//! | [`hops`] | at the end ways in a large mesh are nearly as short as they can be | at the end |

pub(crate) mod acknowledged;
pub(crate) mod answers;
pub(crate) mod bindings;
pub(crate) mod blame;
pub(crate) mod bounds;
pub(crate) mod choices;
pub(crate) mod comebacks;
pub(crate) mod component;
pub(crate) mod conflicts;
pub(crate) mod contents;
pub(crate) mod crossing;
pub(crate) mod crowds;
pub(crate) mod degree;
pub(crate) mod delivery;
pub(crate) mod departures;
pub(crate) mod dials;
pub(crate) mod epochs;
pub(crate) mod evaluations;
pub(crate) mod fates;
mod fine;
pub(crate) mod flaps;
pub(crate) mod forwarding;
pub(crate) mod greetings;
pub(crate) mod guests;
pub(crate) mod healing;
pub(crate) mod holders;
pub(crate) mod homes;
pub(crate) mod hops;
pub(crate) mod isolation;
pub(crate) mod judgement;
pub(crate) mod leases;
pub(crate) mod link_ends;
pub(crate) mod link_order;
pub(crate) mod lists;
pub(crate) mod look_ups;
pub(crate) mod make_before_break;
pub(crate) mod moves;
pub(crate) mod openings;
pub(crate) mod order;
pub(crate) mod outages;
pub(crate) mod pairs;
mod patience;
mod per_node;
pub(crate) mod permits;
pub(crate) mod pings;
pub(crate) mod pins;
pub(crate) mod pipes;
pub(crate) mod probing;
pub(crate) mod proposals;
pub(crate) mod questions;
pub(crate) mod quorums;
pub(crate) mod reads;
pub(crate) mod receipts;
pub(crate) mod redials;
mod register;
pub(crate) mod relays;
pub(crate) mod removals;
pub(crate) mod resends;
pub(crate) mod restarts;
pub(crate) mod returns;
pub(crate) mod rewires;
pub(crate) mod sayings;
pub(crate) mod scouts;
mod sights;
pub(crate) mod stale_links;
pub(crate) mod storms;
pub(crate) mod tables;
pub(crate) mod takeovers;
mod truth;
mod under_way;

use crate::mesh::config::MeshConfig;
use crate::mesh::node::NodeId;
use crate::mesh::oracle::Oracle;

/// What one oracle alone says of a run with this mistake
#[cfg(all(test, feature = "mutants"))]
fn judged(
    config: &MeshConfig,
    oracle: impl Oracle + 'static,
    mutant: Option<kith_common::mutant::Mutant>,
) -> Option<String> {
    kith_common::mutant::set(mutant);
    let report = crate::mesh::run(config, vec![Box::new(oracle)]);
    kith_common::mutant::set(None);
    report.violation.map(|violation| violation.what)
}

/// All oracles, for a run like this
pub(crate) fn all(config: &MeshConfig) -> Vec<Box<dyn Oracle>> {
    let all: Vec<Box<dyn Oracle>> = vec![
        Box::new(epochs::Epochs::default()),
        Box::new(forwarding::Forwarding::default()),
        Box::new(make_before_break::MakeBeforeBreak::default()),
        Box::new(fates::Fates::new(config)),
        Box::new(order::Order::default()),
        Box::new(receipts::Receipts::default()),
        Box::new(pipes::Pipes::default()),
        Box::new(contents::Contents::default()),
        Box::new(evaluations::Evaluations::default()),
        Box::new(pins::Pins::default()),
        Box::new(pings::Pings::new(config)),
        Box::new(sayings::Sayings::default()),
        Box::new(bindings::Bindings::default()),
        Box::new(departures::Departures::new(config)),
        Box::new(holders::Holders::default()),
        Box::new(stale_links::StaleLinks::default()),
        Box::new(isolation::Isolation::default()),
        Box::new(component::Component::default()),
        Box::new(degree::Degree),
        Box::new(bounds::Bounds::default()),
        Box::new(storms::Storms::new(config)),
        Box::new(rewires::Rewires::default()),
        Box::new(choices::Choices::default()),
        Box::new(link_order::LinkOrder::default()),
        Box::new(link_ends::LinkEnds::default()),
        Box::new(probing::Probing::new(config)),
        Box::new(openings::Openings::default()),
        Box::new(outages::Outages::new(config)),
        Box::new(quorums::Quorums::new(config)),
        Box::new(acknowledged::Acknowledged::new(config)),
        Box::new(comebacks::Comebacks::default()),
        Box::new(permits::Permits),
        Box::new(crossing::Crossing::default()),
        Box::new(redials::Redials::default()),
        Box::new(flaps::Flaps::default()),
        Box::new(crowds::Crowds::new(config)),
        Box::new(guests::Guests::default()),
        Box::new(greetings::Greetings::default()),
        Box::new(resends::Resends::default()),
        Box::new(questions::Questions::default()),
        Box::new(answers::Answers::default()),
        Box::new(dials::Dials::new(config)),
        Box::new(pairs::Pairs::new(config)),
        Box::new(blame::Blame::default()),
        Box::new(removals::Removals::default()),
        Box::new(restarts::Restarts::default()),
        Box::new(judgement::Judgement::new(config)),
        Box::new(moves::Moves::default()),
        Box::new(scouts::Scouts::default()),
        Box::new(reads::Reads::new(config)),
        Box::new(lists::Lists::default()),
        Box::new(proposals::Proposals::new(config)),
        Box::new(takeovers::Takeovers::new(config)),
        Box::new(relays::Relays::new(config)),
        Box::new(tables::Tables),
        Box::new(healing::Healing::default()),
        Box::new(delivery::Delivery),
        Box::new(hops::Hops),
    ];
    all.into_iter().chain(config.supernodes().flat_map(|supernode| of_supernode(supernode, config))).collect()
}

/// Those that judge one supernode
fn of_supernode(supernode: NodeId, config: &MeshConfig) -> [Box<dyn Oracle>; 5] {
    [
        Box::new(conflicts::Conflicts::of(supernode)),
        Box::new(homes::Homes::of(supernode, config)),
        Box::new(leases::Leases::of(supernode, config)),
        Box::new(look_ups::LookUps::of(supernode)),
        Box::new(returns::Returns::of(supernode)),
    ]
}
