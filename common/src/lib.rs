//! The overlay's protocol and its cores, without I/O.
//!
//! A *core* is a deterministic state machine. Time and chance come in as arguments; it never waits and never reads a
//! clock. All of them are driven in the same way:
//!
//! 1. hand an input to a `handle_*(now, …)` method,
//! 2. drain `poll_output()` until it returns `None`, carrying each output out,
//! 3. sleep until `next_timeout()` (early is harmless, late is only slow), then call `handle_timeout(now)`.
//!
//! From the bottom up: [`time`], [`id`], [`status`], [`hex`], [`crypto`] and [`invite`] are the vocabulary; [`wire`] is the
//! protocol; [`ring`] and [`lift`] say who links to whom; [`routing`] forwards packets and looks after links; [`session`]
//! logs peers in; [`removed`] says who was put out for good; [`directory`] is what supernodes agree on; [`names`] finds out
//! where a name is; [`mail`] gives every ping a fate, and says what an in-box keeps. [`peer`] and [`supernode`] are whole
//! nodes made of them, and [`link`] has the words that such nodes share with their shells.

pub mod crypto;
pub mod directory;
#[doc(hidden)]
pub mod fuzzing;
pub mod healing;
pub mod hex;
pub mod id;
pub mod invite;
pub mod lift;
pub mod link;
pub mod mail;
pub mod mutant;
pub mod names;
pub mod peer;
pub mod rate;
pub mod removed;
pub mod ring;
pub mod routing;
pub mod session;
pub mod status;
pub mod supernode;
#[doc(hidden)]
pub mod testing;
pub mod time;
pub mod wire;
