//! Series of pings: asked for, told line by line, and over.
//!
//! A task for each passes on what is told, as fast as its asker reads. The loop never waits for it: what an asker is too slow
//! for is left out, and counted in the end all the same.

use std::time::Duration;

use kith_common::id::{MessageId, Name};
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_runtime::control::peer::{EndPingsAnswer, Id, PingEcho, PingLine, PingsAnswer, Series};
use kith_runtime::control::server::Reply;
use kith_runtime::sync;
use kith_transport::stack::{CALL_TIMEOUT, NotPinged, Pinged, Plan, Pong, SERIES_MAX, Tally};
use tokio::sync::{mpsc, oneshot};

use super::Driver;

/// As ping(8) has it
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// As ping(8) has it: 56 bytes, and eight of ICMP
const SIZE_DEFAULT: usize = 64;
/// Lines that wait for one asker: answers of ten seconds, at a hundred a second
const LINES_MAX: usize = 1_024;

/// Somebody who waits for what becomes of a series
#[derive(Debug)]
pub(super) struct Pinger {
    name: Name,
    lines: mpsc::Sender<PingLine>,
    end: oneshot::Sender<(Status, PingsAnswer)>,
}

impl Driver {
    pub(super) fn ask_pings(&mut self, now: Instant, name: Name, series: Series, reply: Reply) {
        self.make_room(self.waiting.pingers() >= SERIES_MAX);
        match self.stack.ping(now, name.clone(), plan(series)) {
            Ok(id) => {
                let ((lines, read), (end, ended)) = (mpsc::channel(LINES_MAX), oneshot::channel());
                let pinger = Pinger { name, lines, end };
                pinger.tell(PingLine::Begun { series: Id(id) });
                self.waiting.for_pings(id, pinger);
                sync::spawn(pass_on(reply, read, ended));
            }
            Err(NotPinged::NotLoggedIn) => self.refuse_to_send(now, reply),
            Err(error) => reply.refuse(error.status(), error.to_string(), None),
        }
    }

    pub(super) fn end_pings(&mut self, now: Instant, id: MessageId, reply: Reply) {
        if self.stack.end_pings(now, &id) {
            reply.finish(Status::Delivered, &EndPingsAnswer { series: Id(id) });
        } else {
            reply.refuse(Status::NotFound, format!("no series of pings has the id {id}"), None);
        }
    }

    /// Something has become of a series; who asked for it may have hung up
    pub(super) fn on_pinged(&mut self, pinged: Pinged) {
        match pinged {
            Pinged::Answered(pong) => {
                if let Some(pinger) = self.waiting.pinger(&pong.series) {
                    pinger.tell(PingLine::Answer(echo(pinger.name.clone(), &pong)));
                }
            }
            Pinged::Troubled { series, status, reason } => {
                if let Some(pinger) = self.waiting.pinger(&series) {
                    pinger.tell(PingLine::Trouble { status: status.code(), reason });
                }
            }
            Pinged::Ended { series, to, tally, status, reason } => {
                if let Some(Pinger { end, .. }) = self.waiting.take_pings(&series)
                    && end.send((status, answer(to, &tally, reason))).is_err()
                {
                    tracing::debug!(event = "pings_untold", reason = "the asker has hung up");
                }
            }
        }
    }
}

impl Pinger {
    pub(super) fn is_gone(&self) -> bool {
        self.lines.is_closed()
    }

    fn tell(&self, line: PingLine) {
        if let Err(error) = self.lines.try_send(line) {
            tracing::debug!(event = "ping_line_dropped", reason = %error);
        }
    }
}

async fn pass_on(reply: Reply, mut lines: mpsc::Receiver<PingLine>, ended: oneshot::Receiver<(Status, PingsAnswer)>) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = reply.hung_up() => return,
        };
        let Some(line) = line else { break };
        if reply.line(&line).await.is_err() {
            return;
        }
    }
    // A reply that is dropped says that the daemon is ending.
    if let Ok((status, answer)) = ended.await {
        reply.finish(status, &answer);
    }
}

/// What is not said is as ping(8) has it; whatever is out of its bounds the core refuses
fn plan(Series { count, interval_ms, size, timeout_ms }: Series) -> Plan {
    Plan {
        count,
        interval: interval_ms.map_or(INTERVAL_DEFAULT, Duration::from_millis),
        size: size.map_or(SIZE_DEFAULT, |size| usize::try_from(size).unwrap_or(usize::MAX)),
        timeout: timeout_ms.map_or(CALL_TIMEOUT, Duration::from_millis),
    }
}

fn echo(name: Name, pong: &Pong) -> PingEcho {
    PingEcho {
        name,
        seq: pong.sequence,
        bytes: pong.bytes as u64,
        rtt_us: micros(pong.time),
        duplicate: pong.is_duplicate,
        reordered: pong.is_reordered,
        late: pong.is_late,
    }
}

fn answer(name: Name, tally: &Tally, reason: Option<String>) -> PingsAnswer {
    PingsAnswer {
        name,
        sent: tally.sent,
        received: tally.received,
        lost: tally.lost(),
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        rtt_min_us: tally.least.map(micros),
        rtt_avg_us: tally.mean().map(micros),
        rtt_max_us: tally.most.map(micros),
        rtt_mdev_us: tally.deviation().map(micros),
        jitter_us: tally.jitter().map(micros),
        reason,
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinger() -> (Pinger, Reply, mpsc::Receiver<PingLine>, oneshot::Receiver<(Status, PingsAnswer)>) {
        let ((lines, read), (end, ended)) = (mpsc::channel(LINES_MAX), oneshot::channel());
        let name = "heidi".parse().unwrap();
        (Pinger { name, lines, end }, Reply::channel().0, read, ended)
    }

    fn trouble(status: u16) -> PingLine {
        PingLine::Trouble { status, reason: String::new() }
    }

    #[test]
    fn series_is_as_ping_has_it_where_nothing_is_said() {
        let plan = plan(Series { count: Some(3), ..Series::default() });
        assert_eq!((plan.count, plan.interval, plan.size), (Some(3), Duration::from_secs(1), 64));
    }

    #[tokio::test]
    async fn lines_come_in_their_order_and_the_end_last_however_slow_the_asker_is() {
        let (pinger, _, read, ended) = pinger();
        let (reply, mut lines) = Reply::channel();
        (0..2_000).for_each(|n| pinger.tell(trouble(n)));
        let Pinger { lines: told, end, name } = pinger;
        drop(told);
        end.send((Status::Delivered, answer(name, &Tally::default(), None))).unwrap();
        tokio::spawn(pass_on(reply, read, ended));
        for n in 0..LINES_MAX {
            let (line, is_last) = lines.next().await;
            assert!(!is_last && line.contains(&format!("\"status\":{n},")), "{line}");
        }
        let (line, is_last) = lines.next().await;
        assert!(is_last && line.contains("\"sent\":0"), "{line}");
    }

    #[tokio::test]
    async fn asker_that_hangs_up_is_noticed() {
        let (pinger, _, read, ended) = pinger();
        let (reply, lines) = Reply::channel();
        let task = tokio::spawn(pass_on(reply, read, ended));
        assert!(!pinger.is_gone());
        drop(lines);
        task.await.unwrap();
        assert!(pinger.is_gone());
    }
}
