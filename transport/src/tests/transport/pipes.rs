use super::*;

impl Mesh {
    fn ask_for_pipe(&mut self, body: &[u8]) -> u64 {
        let question = Question { kind: Kind::Pipe, id: MessageId([9; 16]), body: body.to_vec() };
        let until = self.now + Duration::from_secs(20);
        self.peers[ALICE].ask(self.now, (key_of(BOB), address_of(BOB)), question, until).unwrap()
    }

    /// Alice's end and bob's
    fn piped(&mut self) -> (PipeId, PipeId) {
        let ticket = self.ask_for_pipe(b"yes");
        self.run(Duration::from_secs(5));
        let Some(Fate::Opened(pipe)) = self.fate(ALICE, ticket) else { panic!("{:?}", self.done) };
        (*pipe, self.taken[0].1)
    }

    fn read(&mut self, who: usize, pipe: PipeId, into: &mut Vec<u8>) -> Result<bool, StreamError> {
        loop {
            match self.peers[who].read_pipe(self.now, pipe, 10_000)? {
                Read::Bytes(bytes) => into.extend_from_slice(&bytes),
                Read::Nothing => return Ok(false),
                Read::End => return Ok(true),
            }
        }
    }

    fn has_heard(&self, who: usize, pipe: PipeId, wanted: &PipeNews) -> bool {
        self.news.iter().any(|(of, id, news)| (*of, *id) == (who, pipe) && news == wanted)
    }
}

#[test]
fn pipe_carries_what_is_written_at_either_end_and_each_end_closes_its_half() {
    for seed in 0..5 {
        let mut mesh = Mesh::of(seed);
        mesh.lost = 100;
        let (alice, bob) = mesh.piped();
        let (there, back) = (some_bytes(3_000_000), some_bytes(700_000));
        let (mut sent, mut answered, mut read, mut heard) = (0, 0, Vec::new(), Vec::new());
        let (mut is_read, mut is_heard) = (false, false);
        for _ in 0..20_000 {
            if sent < there.len() {
                sent += mesh.peers[ALICE].write_pipe(mesh.now, alice, &there[sent..]).unwrap();
                if sent == there.len() {
                    mesh.peers[ALICE].finish_pipe(mesh.now, alice).unwrap();
                }
            }
            is_read = is_read || mesh.read(BOB, bob, &mut read).unwrap();
            // Bob goes on after alice has said all.
            if is_read && answered < back.len() {
                answered += mesh.peers[BOB].write_pipe(mesh.now, bob, &back[answered..]).unwrap();
                if answered == back.len() {
                    mesh.peers[BOB].finish_pipe(mesh.now, bob).unwrap();
                }
            }
            is_heard = is_heard || mesh.read(ALICE, alice, &mut heard).unwrap();
            if is_heard {
                break;
            }
            mesh.run(Duration::from_millis(5));
        }
        assert!(is_heard && read == there && heard == back, "seed {seed}: {} {}", read.len(), heard.len());
        mesh.run(Duration::from_secs(2));
        assert!(mesh.has_heard(ALICE, alice, &PipeNews::Arrived) && mesh.has_heard(BOB, bob, &PipeNews::Arrived));
        assert_eq!((mesh.peers[ALICE].pipes(), mesh.peers[BOB].pipes()), (0, 0), "seed {seed}: both are over");
    }
}

#[test]
fn pipe_that_nobody_takes_says_why_and_leaves_nothing() {
    let mut mesh = Mesh::of(1);
    for _ in 0..crate::settings::STREAMS_MAX + 1 {
        let ticket = mesh.ask_for_pipe(b"no");
        mesh.run(Duration::from_millis(50));
        let fate = Fate::Answered { status: 403, body: b"nobody listens".to_vec() };
        assert_eq!(mesh.fate(ALICE, ticket), Some(&fate), "no stream is left open, as there are only so many");
    }
    assert_eq!((mesh.peers[ALICE].pipes(), mesh.peers[BOB].pipes()), (0, 0));
}

#[test]
fn what_one_end_gives_up_the_other_end_hears() {
    let mut mesh = Mesh::of(1);
    let (alice, bob) = mesh.piped();
    mesh.peers[ALICE].write_pipe(mesh.now, alice, b"hello").unwrap();
    mesh.peers[ALICE].reset_pipe(mesh.now, alice, 410);
    mesh.peers[ALICE].stop_pipe(mesh.now, alice, 411);
    mesh.run(Duration::from_secs(1));
    assert_eq!(mesh.read(BOB, bob, &mut Vec::new()), Err(StreamError::GivenUp(410)));
    assert!(mesh.has_heard(BOB, bob, &PipeNews::Stopped { code: 411 }));
    assert!(mesh.peers[BOB].write_pipe(mesh.now, bob, b"more").is_err());
    assert_eq!((mesh.peers[ALICE].pipes(), mesh.peers[BOB].pipes()), (0, 0));
}

#[test]
fn lost_connection_is_told_of_each_pipe() {
    let mut mesh = Mesh::of(1);
    let (alice, bob) = mesh.piped();
    mesh.peers[ALICE].close(mesh.now, &key_of(BOB), 410);
    mesh.run(Duration::from_secs(1));
    assert!(mesh.has_heard(ALICE, alice, &PipeNews::Lost(End::ClosedHere { code: 410 })));
    assert!(mesh.has_heard(BOB, bob, &PipeNews::Lost(End::Closed { code: 410 })));
    assert!(mesh.peers[ALICE].read_pipe(mesh.now, alice, 1).is_err());
    assert_eq!((mesh.peers[ALICE].pipes(), mesh.peers[BOB].pipes()), (0, 0));
}

#[test]
fn pipe_in_which_nobody_says_anything_lasts_and_one_whose_other_end_is_gone_does_not() {
    let mut mesh = Mesh::of(1);
    let (alice, bob) = mesh.piped();
    mesh.run(Duration::from_secs(600));
    mesh.peers[ALICE].write_pipe(mesh.now, alice, b"after all").unwrap();
    mesh.run(Duration::from_secs(1));
    let mut read = Vec::new();
    assert_eq!((mesh.read(BOB, bob, &mut read), read.as_slice()), (Ok(false), b"after all".as_slice()));
    mesh.lost = 1_000;
    mesh.run(Duration::from_secs(90));
    assert!(
        mesh.has_heard(ALICE, alice, &PipeNews::Lost(End::Silent))
            && mesh.has_heard(BOB, bob, &PipeNews::Lost(End::Silent))
    );
    assert_eq!(mesh.peers[ALICE].connections(), 0);
    mesh.run(Duration::from_secs(90));
    assert_eq!(mesh.peers[ALICE].next_timeout(), None, "nothing is looked at any more");
}

#[test]
fn pipes_that_nobody_reads_hold_up_neither_questions_nor_each_other() {
    let mut mesh = Mesh::of(1);
    let mut pipes = vec![mesh.piped()];
    for number in 1..4 {
        mesh.ask_for_pipe(b"yes");
        mesh.run(Duration::from_millis(200));
        let Some((_, _, Fate::Opened(pipe))) = mesh.done.last() else { panic!("{:?}", mesh.done) };
        pipes.push((*pipe, mesh.taken[number].1));
    }
    for (alice, _) in &pipes[1..] {
        for _ in 0..400 {
            mesh.peers[ALICE].write_pipe(mesh.now, *alice, &[7; 10_000]).unwrap();
            mesh.run(Duration::from_millis(1));
        }
    }
    let ticket = mesh.ask(ALICE, BOB, 1);
    mesh.run(Duration::from_secs(2));
    assert_eq!(mesh.fate(ALICE, ticket), Some(&Fate::Answered { status: 200, body: vec![1] }));
    let (alice, bob) = pipes[0];
    mesh.peers[ALICE].write_pipe(mesh.now, alice, b"read").unwrap();
    mesh.run(Duration::from_secs(1));
    let mut read = Vec::new();
    assert_eq!((mesh.read(BOB, bob, &mut read), read.as_slice()), (Ok(false), b"read".as_slice()));
}
