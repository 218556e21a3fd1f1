//! Messages to whoever has another key than the one that was relied on.

use super::messages::{asked, fates, here, receipt, tell, three_out, wishes};
use super::*;
use crate::output::End;
use crate::questions::Fate;
use crate::stack::called::Why;
use crate::stack::wishes::Wish;
use kith_common::testing::at_ms;

#[test]
fn receiver_that_has_answered_is_relied_on() {
    let mut messages = three_out();
    receipt(&mut messages, 1, 1, 200);
    let relied = Wish::Relied { name: peer_name(2), key: key(2) };
    assert!(std::iter::from_fn(|| messages.poll()).any(|wish| wish == relied));
}

#[test]
fn messages_wait_until_the_user_has_said_whose_the_name_is() {
    let refused_there = End::Closed { code: Status::AnotherKey.code().into() };
    let ends = [(false, Status::AnotherKey, Why::LookUp), (true, Status::NotAllowed, Why::NotTrusted)];
    for (is_there, status, why) in ends {
        let mut messages = three_out();
        wishes(&mut messages);
        if is_there {
            (1..=3).for_each(|n| messages.handle_fate(at_ms(1), n, Fate::Lost(refused_there.clone())));
        } else {
            messages.handle_undeliverable(at_ms(1), &key(2), false);
            tell(&mut messages, 1, Err(Status::AnotherKey));
        }
        let told = wishes(&mut messages);
        let is_told = |wish: &Wish| matches!(wish, Wish::Delayed { trouble, .. } if trouble.status == status && trouble.reason == why);
        assert!(told.iter().any(is_told), "{told:?}");
        assert_eq!(fates(&mut messages), [], "they are kept");
        assert_eq!(messages.handle_trusted(at_ms(2), &peer_name(2), Some(&key(2))), None);
        assert_eq!(wishes(&mut messages), [Wish::Resolve { name: peer_name(2), fresh: true }]);
        tell(&mut messages, 3, Ok(&here()));
        assert_eq!(asked(&mut messages, 3).len(), 3, "and go out at once then");
    }
}

#[test]
fn what_is_on_its_way_to_the_holder_of_another_key_is_taken_back() {
    let mut messages = three_out();
    wishes(&mut messages);
    assert_eq!(messages.handle_trusted(at_ms(1), &peer_name(2), Some(&key(3))), Some(key(2)));
    let told = wishes(&mut messages);
    let cancelled = told.iter().filter(|wish| matches!(wish, Wish::Cancel { .. })).count();
    assert!(cancelled == 3 && told.contains(&Wish::Resolve { name: peer_name(2), fresh: true }), "{told:?}");
}
