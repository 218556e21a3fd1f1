//! A connection for many requests at once: each has a number, and so has every line of its answer.
//!
//! Requests are taken in their order, and answered in any. Whoever closes the sending side gets the answers that are left.

use std::io;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{ControlRequest, Lines, Numbered, Reply, RequestReader, left, push_line, read_request};

/// Requests of one connection that have no answer yet, as many as a peer may have calls under way; the next one is read when one
/// of them has
pub(crate) const AT_ONCE_MAX: usize = 1_024;

/// Lines that are written together at most, as many as a driver answers at a time; they are held by their answers until then
const TOGETHER_MAX: usize = 64;

/// Bytes that are kept for the next answers: those of some hundred short ones
const TEXT_KEPT: usize = 64 * 1024;

/// Answers the first request, which has been read already, and all that come after it
pub(super) async fn answer_all<R>(
    first: Numbered<R>,
    mut reader: RequestReader,
    mut writer: OwnedWriteHalf,
    driver: mpsc::Sender<ControlRequest<R>>,
    long: &Semaphore,
) -> io::Result<()>
where
    R: DeserializeOwned + Send + 'static,
{
    let (lines, mut written) = mpsc::channel::<String>(TOGETHER_MAX);
    let ask = async move {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let (mut answers, mut next) = (JoinSet::new(), Some(first));
        while let Some((number, request)) = next.take() {
            // Whoever has hung up frees no place by taking answers.
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = left(AsRef::<UnixStream>::as_ref(reader.get_ref())) => break,
            };
            let Ok(place) = place else { break };
            // A line without a number is not to be understood, and nor is what comes behind it.
            let is_last = number.is_none();
            match request {
                Ok(request) => {
                    let (reply, answer) = Reply::on_connection(false);
                    // Whoever has many under way can wait for the driver: a dropped request is one that is answered with 500.
                    if driver.send(ControlRequest { request, reply }).await.is_err() {
                        tracing::debug!(event = "request_unanswered", reason = "the daemon is ending");
                    }
                    answers.spawn(pass_on(number, answer, lines.clone(), place));
                }
                Err(refusal) => {
                    if lines.send(tagged(number, &refusal)).await.is_err() {
                        break;
                    }
                }
            }
            while answers.try_join_next().is_some() {}
            next = if is_last { None } else { read_next(&mut reader, long).await? };
        }
        drop(lines);
        tokio::select! {
            () = async { while answers.join_next().await.is_some() {} } => {}
            () = left(AsRef::<UnixStream>::as_ref(reader.get_ref())) => answers.abort_all(),
        }
        Ok(())
    };
    let write = async {
        // What has come meanwhile goes out together: a write costs more than what it says.
        let mut text = String::new();
        while let Some(line) = written.recv().await {
            push_line(&mut text, &line);
            while let Ok(line) = written.try_recv() {
                push_line(&mut text, &line);
            }
            writer.write_all(text.as_bytes()).await?;
            // One long answer is no reason to keep its memory.
            text.clear();
            text.shrink_to(TEXT_KEPT);
        }
        Ok(())
    };
    tokio::try_join!(ask, write).map(|_: ((), ())| ())
}

/// The next request, whenever it comes; `None` if none will
async fn read_next<R: DeserializeOwned>(
    reader: &mut RequestReader,
    long: &Semaphore,
) -> io::Result<Option<Numbered<R>>> {
    if reader.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(read_request(reader, long).await?))
}

async fn pass_on(number: Option<u64>, mut answer: Lines, lines: mpsc::Sender<String>, place: OwnedSemaphorePermit) {
    loop {
        let (line, is_last) = answer.next().await;
        if lines.send(tagged(number, &line)).await.is_err() || is_last {
            return drop(place);
        }
    }
}

/// A line with the number of its request in front
fn tagged(number: Option<u64>, line: &str) -> String {
    match (number, line.strip_prefix('{')) {
        (Some(number), Some("}")) => format!("{{\"request\":{number}}}"),
        (Some(number), Some(rest)) => format!("{{\"request\":{number},{rest}"),
        // A line that has no number is of a request that had none.
        _ => line.to_owned(),
    }
}
