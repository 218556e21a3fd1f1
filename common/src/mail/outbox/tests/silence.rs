//! What nobody replies to, and nobody gives back: somebody on the way may drop it.

use super::*;

#[test]
fn silence_to_two_transmissions_is_looked_up_anew_and_relayed() {
    let mut one = One::sent();
    assert_eq!(one.wakes_at(500), ["transmit 2 to a not 1"]);
    one.via(2, 2);
    assert_eq!(one.wakes_at(1_500), ["resolve heidi anew"]);
    assert_eq!(one.found(true, Ok(HERE)), ["relay 3 to a"]);
    assert_eq!(one.wakes_at(3_500), ["resolve heidi anew"]);
    assert_eq!(one.found(true, Ok(THERE)), ["transmit 4 to b not "], "it is elsewhere now");
    assert_eq!(one.wakes_at(7_500), ["resolve heidi anew"]);
    assert_eq!(one.found(true, Ok(THERE)), ["relay 5 to b"]);
    assert_eq!(one.wakes_at(10_000), ["408 no reply in time after 5"]);
}

#[test]
fn silence_that_nobody_can_relay_goes_on_by_the_mesh() {
    let mut one = One::sent();
    one.wakes_at(500);
    one.via(2, 2);
    one.wakes_at(1_500);
    assert_eq!(one.found(true, Err(Status::Unavailable)), ["transmit 3 to a not 1,2"]);
    one.via(3, 3);
    one.wakes_at(3_500);
    assert_eq!(one.found(true, Ok(HERE)), ["relay 4 to a"]);
    let no_home = one.undeliverable(4, Status::Unavailable, Cause::NoSession);
    assert_eq!(no_home, ["transmit 5 to a not 1,2,3"], "the receiver has no home link at present");
    one.via(5, 1);
    one.wakes_at(7_500);
    assert_eq!(one.found(true, Ok(HERE)), ["relay 6 to a"]);
    assert_eq!(one.unsent(6), ["transmit 7 to a not 1,2,3"], "the supernode has just gone away");
    assert_eq!(one.wakes_at(10_000), ["408 no reply in time after 7"]);
}

#[test]
fn mesh_has_its_turn_while_the_supernode_is_silent_too() {
    let mut one = One::sent();
    one.wakes_at(500);
    assert_eq!(one.wakes_at(1_500), ["resolve heidi anew"]);
    assert_eq!(one.wakes_at(3_500), ["transmit 3 to a not 1"]);
}
