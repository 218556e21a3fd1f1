//! By which way packets go when ways fall silent, come back, or lead nowhere.

use super::*;

/// What bob hears of what alice says every 50 ms while the ways that she and he have taken swallow everything: the longest
/// time without anything
fn longest_gap(seed: u64, silent: impl Fn(&Net) -> Vec<(usize, u32)>) -> (Duration, u64) {
    let mut net = Net::of(2, seed);
    let (id, other) = net.connected();
    let (mut heard, mut longest) = (net.now, Duration::ZERO);
    for second in 0..60 {
        if second == 20 {
            net.silent = silent(&net).into_iter().collect();
        }
        let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, b"here").unwrap();
        net.endpoints[ALICE].finish(net.now, id, stream).unwrap();
        let mut streams: Vec<StreamId> = Vec::new();
        let until = net.now + Duration::from_millis(50);
        while net.now < until {
            net.run_until(until - net.now, |net| {
                let opened = net.told[BOB].drain(..).filter_map(|(_, output)| match output {
                    Output::Opened { stream, .. } => Some(stream),
                    _ => None,
                });
                streams.extend(opened);
                !streams.is_empty()
            });
            for stream in streams.drain(..) {
                while !matches!(
                    net.endpoints[BOB].read(net.now, other, stream, 64),
                    Ok(Read::End | Read::Nothing) | Err(_)
                ) {}
                longest = longest.max(net.now - heard);
                heard = net.now;
            }
        }
    }
    assert!(net.now - heard < Duration::from_secs(1), "seed {seed}: nothing came at the end");
    (longest, net.relayed)
}

#[test]
fn way_that_falls_silent_is_left_within_a_few_round_trips() {
    for seed in 0..20 {
        let all_but_one = |open: u32| (0..WAYS).filter(move |way| *way != open);
        let (gap, _) = longest_gap(seed, |_| all_but_one(seed as u32 % WAYS).map(|way| (ALICE, way)).collect());
        assert!(gap < Duration::from_secs(1), "seed {seed}: {gap:?} with one way of four left");
        let (gap, relayed) = longest_gap(seed, |_| (0..WAYS).flat_map(|way| [(ALICE, way), (BOB, way)]).collect());
        assert!(gap < Duration::from_secs(1) && relayed > 0, "seed {seed}: {gap:?}, {relayed} relayed");
    }
}

#[test]
fn what_the_mesh_says_changes_the_way_at_once_and_an_old_ways_end_does_not() {
    let mut net = Net::of(2, 7);
    let (id, _) = net.connected();
    net.run(Duration::from_secs(1));
    let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
    net.endpoints[ALICE].write(net.now, id, stream, b"hello").unwrap();
    let label_of = |output: &Output| match output {
        Output::Send(datagram) => Some(datagram.label),
        _ => None,
    };
    let label = next_output(&mut net.endpoints[ALICE], net.now).as_ref().and_then(label_of).unwrap();
    net.endpoints[ALICE].handle_undeliverable(net.now, label.wrapping_add(1));
    assert_eq!(next_output(&mut net.endpoints[ALICE], net.now), None, "that is not its way");
    net.endpoints[ALICE].handle_undeliverable(net.now, label);
    assert_eq!(
        next_output(&mut net.endpoints[ALICE], net.now),
        Some(Output::WayChanged { connection: id, changes: 1 })
    );
    let again = next_output(&mut net.endpoints[ALICE], net.now).as_ref().and_then(label_of).unwrap();
    assert_ne!(again, label, "what is owed goes by another way");
}

#[test]
fn end_whose_other_end_takes_another_way_does_so_too_and_once() {
    let mut net = Net::of(2, 8);
    let (id, _) = net.connected();
    net.run(Duration::from_secs(1));
    let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
    net.endpoints[ALICE].write(net.now, id, stream, b"hello").unwrap();
    let Some(Output::Send(datagram)) = next_output(&mut net.endpoints[ALICE], net.now) else { panic!() };
    net.endpoints[ALICE].handle_undeliverable(net.now, datagram.label);
    net.told.iter_mut().for_each(Vec::clear);
    net.run(Duration::from_secs(5));
    let is_change = |(_, output): &&(Instant, Output)| matches!(output, Output::WayChanged { .. });
    assert_eq!([ALICE, BOB].map(|who| net.told[who].iter().filter(is_change).count()), [1, 1]);
}

/// The longest time for which bob has heard nothing that alice says every 20 ms, while all ways are silent that `silent` are
/// from the fifth second on; he says nothing himself, and ways that come back after 40 s carry on
fn longest_silence_of_a_listener(seed: u64, silent: &[(usize, u32)]) -> Duration {
    let mut net = Net::of(2, seed);
    let (id, other) = net.connected();
    let (mut heard, mut longest) = (net.now, Duration::ZERO);
    for step in 0..3_000 {
        if step == 250 {
            net.silent = silent.iter().copied().collect();
        }
        net.endpoints[ALICE].say(net.now, id, Bytes::from_static(b"on and on")).unwrap();
        net.run(Duration::from_millis(20));
        assert_eq!(net.end_of(ALICE, id), None, "seed {seed}: it stands");
        while net.endpoints[BOB].take_said(other).is_some() {
            longest = longest.max(net.now - heard);
            heard = net.now;
        }
    }
    longest.max(net.now - heard)
}

#[test]
fn who_only_listens_leaves_a_silent_way_as_well() {
    for seed in 0..5 {
        let three_of_four: Vec<_> = (0..WAYS).filter(|way| *way != seed as u32 % WAYS).map(|way| (BOB, way)).collect();
        let silence = longest_silence_of_a_listener(seed, &three_of_four);
        assert!(silence < Duration::from_secs(1), "seed {seed}: {silence:?}");
    }
}

#[test]
fn traffic_both_ways_does_not_hide_that_one_direction_is_dead() {
    for seed in 0..5 {
        let mut net = Net::of(2, seed);
        let (id, other) = net.connected();
        net.run(Duration::from_secs(1));
        net.silent = (0..WAYS).filter(|way| *way != seed as u32 % WAYS).map(|way| (ALICE, way)).collect();
        let began = net.now;
        let mut heard = None;
        for _ in 0..150 {
            net.endpoints[ALICE].say(net.now, id, Bytes::from_static(b"there")).unwrap();
            net.endpoints[BOB].say(net.now, other, Bytes::from_static(b"and back")).unwrap();
            net.run(Duration::from_millis(20));
            if heard.is_none() && net.endpoints[BOB].take_said(other).is_some() {
                heard = Some(net.now - began);
            }
        }
        assert!(heard.is_some_and(|after| after < Duration::from_secs(1)), "seed {seed}: {heard:?}");
    }
}

/// How long alice, who asks something every 50 ms, has no answer once the ways that both take by then swallow everything
fn answers_gap(seed: u64) -> Duration {
    let mut net = Net::of(2, seed);
    let (id, other) = net.connected();
    let (mut last, mut longest) = (net.now, Duration::ZERO);
    let mut asked = Vec::new();
    for round in 0..60 {
        if round == 20 {
            // The last labels that either has taken.
            net.silent = net.taken.iter().map(|(who, way)| (*who, *way)).collect();
        }
        let stream = net.endpoints[ALICE].open(id, Direction::Both).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, b"are you there?").unwrap();
        net.endpoints[ALICE].finish(net.now, id, stream).unwrap();
        asked.push(stream);
        let until = net.now + Duration::from_millis(50);
        while net.now < until {
            net.run(Duration::from_millis(1));
            let opened: Vec<StreamId> = net.told[BOB]
                .drain(..)
                .filter_map(|(_, output)| match output {
                    Output::Opened { stream, .. } => Some(stream),
                    _ => None,
                })
                .collect();
            for stream in opened {
                net.endpoints[BOB].write(net.now, other, stream, b"yes").unwrap();
                net.endpoints[BOB].finish(net.now, other, stream).unwrap();
            }
            let now = net.now;
            let alice = &mut net.endpoints[ALICE];
            let answered: Vec<bool> =
                asked.iter().map(|stream| matches!(alice.read(now, id, *stream, 64), Ok(Read::Bytes(_)))).collect();
            if answered.contains(&true) {
                longest = longest.max(now - last);
                last = now;
                let mut answered = answered.into_iter();
                asked.retain(|_| !answered.next().unwrap());
            }
        }
    }
    assert!(net.now - last < Duration::from_millis(100), "seed {seed}: nothing came at the end");
    longest
}

#[test]
fn both_directions_that_fall_silent_cost_what_one_does() {
    for seed in 0..20 {
        let gap = answers_gap(seed);
        assert!(gap <= Duration::from_millis(50 + 250), "seed {seed}: {gap:?}");
    }
}

#[test]
fn every_way_is_tried_with_something_new_though_what_was_lost_fills_the_window() {
    for seed in 0..10 {
        let mut net = Net::of(2, seed);
        let (id, _) = net.connected();
        net.run(Duration::from_secs(1));
        // What supernodes relay, too.
        net.weather.lost = 1_000;
        let stream = net.endpoints[ALICE].open(id, Direction::One).unwrap().unwrap();
        net.endpoints[ALICE].write(net.now, id, stream, &vec![7; 200_000]).unwrap();
        // By then QUIC's own probes are ten seconds apart.
        net.run(Duration::from_secs(20));
        net.record = Some(Vec::new());
        net.run(Duration::from_secs(5));
        let sent: BTreeSet<Vec<u8>> = net.record.take().unwrap().into_iter().map(|(_, _, bytes)| bytes).collect();
        // What is owed is sent again as it is, and of that the other end may have acknowledged all in vain.
        assert!(sent.len() >= 8, "seed {seed}: {} different datagrams", sent.len());
    }
}

#[test]
fn word_that_nothing_arrives_makes_nobody_send_without_end() {
    let mut net = Net::of(2, 8);
    let (id, _) = net.connected();
    net.run(Duration::from_secs(1));
    net.silent = (0..WAYS).map(|way| (ALICE, way)).collect();
    let mut sent = 0;
    net.endpoints[ALICE].say(net.now, id, Bytes::from_static(b"hello")).unwrap();
    for _ in 0..1_000 {
        let outputs: Vec<_> = std::iter::from_fn(|| next_output(&mut net.endpoints[ALICE], net.now)).collect();
        for output in outputs {
            if let Output::Send(datagram) = output {
                sent += 1;
                net.endpoints[ALICE].handle_undeliverable(net.now, datagram.label);
            }
        }
        net.now = net.now + Duration::from_millis(1);
        net.endpoints[ALICE].handle_timeout(net.now);
    }
    assert!(sent < 60, "{sent} packets in a second, each of which came back");
}

#[test]
fn first_packet_in_somebody_elses_name_costs_that_no_more_than_quic_allows() {
    let mut net = Net::of(2, 9);
    net.record = Some(Vec::new());
    net.connected();
    let (_, arrival, first) = net.record.take().unwrap().swap_remove(0);
    for is_relayed in [false, true] {
        let mut bob = endpoint(BOB, 10);
        bob.handle_datagram(net.now, &Arrival { is_relayed, ..arrival }, &first);
        let mut bytes = 0;
        while let Some(at) = bob.next_timeout() {
            for output in std::iter::from_fn(|| next_output(&mut bob, at)) {
                let Output::Send(datagram) = output else { continue };
                assert_eq!(datagram.is_relayed, is_relayed, "a supernode has checked whose address it is");
                bytes += datagram.bytes.len();
            }
            bob.handle_timeout(at);
        }
        // Whoever a supernode vouches for is sent it again a few times.
        let most = if is_relayed { 20 } else { 3 };
        assert!(bob.is_empty() && bytes <= most * first.len(), "{bytes} bytes for {}", first.len());
    }
}
