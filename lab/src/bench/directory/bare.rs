//! What a directory is measured beside: the same disk without a supernode, and the same network without a protocol.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};

use kith_common::crypto::sha256;
use redb::{Database, Durability, TableDefinition};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::super::text;

/// As the supernode's store keeps its log
const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("entries");

/// What waits for the disk: a command, and who wants to know that it is there
type Job = (Vec<u8>, oneshot::Sender<()>);

/// Commands a second that `clients` have made durable, each the next one when the last one is: all that wait become one
/// entry with one wait for the disk
pub(super) fn commits(
    runtime: &Runtime,
    dir: &Path,
    clients: usize,
    bytes: usize,
    span: Duration,
) -> Result<f64, String> {
    let path = dir.join("bare.redb");
    remove(&path)?;
    let database = Database::create(&path).map_err(text)?;
    let (jobs, inbox) = mpsc::channel::<Job>();
    let disk = thread::spawn(move || write_all(&database, &inbox));
    let done = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (jobs, done) = (jobs.clone(), Arc::clone(&done));
            tasks.spawn(async move {
                while began.elapsed() < span {
                    let (told, is_durable) = oneshot::channel();
                    if jobs.send((vec![7; bytes], told)).is_err() || is_durable.await.is_err() {
                        return;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    drop(jobs);
    disk.join().map_err(|_| "the bare disk's thread has ended")??;
    remove(&path)?;
    Ok(rate)
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn write_all(database: &Database, inbox: &mpsc::Receiver<Job>) -> Result<(), String> {
    for number in 0.. {
        let Ok(first) = inbox.recv() else { break };
        let group: Vec<Job> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let (commands, writers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        write(database, number, &commands.concat())?;
        for writer in writers {
            // Whoever waited may have been at its end.
            let _ = writer.send(());
        }
    }
    Ok(())
}

/// One entry, with the check that the store adds
fn write(database: &Database, number: u64, entry: &[u8]) -> Result<(), String> {
    let mut transaction = database.begin_write().map_err(text)?;
    transaction.set_durability(Durability::Immediate).map_err(text)?;
    let check = sha256(&[&number.to_le_bytes(), entry]);
    let checked = [check.get(..8).unwrap_or_default(), entry].concat();
    transaction.open_table(ENTRIES).map_err(text)?.insert(number, checked.as_slice()).map_err(text)?;
    transaction.commit().map_err(text)
}

/// Round trips a second of `clients` connections, each of which sends its next frame when the last one is back
pub(super) fn echoes(runtime: &Runtime, clients: usize, bytes: usize, span: Duration) -> Result<f64, String> {
    let done = Arc::new(AtomicU64::new(0));
    let elapsed = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
        let at = listener.local_addr().map_err(text)?;
        let serving = tokio::spawn(serve(listener, bytes));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(echo(at, bytes, began + span, Arc::clone(&done)));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(text)?.map_err(text)?;
        }
        serving.abort();
        Ok::<_, String>(began.elapsed())
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64())
}

async fn echo(at: SocketAddr, bytes: usize, until: Instant, done: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let mut frame = vec![7; bytes];
    while Instant::now() < until {
        stream.write_all(&frame).await?;
        stream.read_exact(&mut frame).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn serve(listener: TcpListener, bytes: usize) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut frame = vec![0; bytes];
            stream.set_nodelay(true)?;
            loop {
                stream.read_exact(&mut frame).await?;
                stream.write_all(&frame).await?;
            }
            #[expect(unreachable_code, reason = "it says what the loop above may fail with")]
            Ok::<_, std::io::Error>(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_disk_and_bare_network_have_a_rate() {
        let dir = tempfile::tempdir().expect("dir");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let span = Duration::from_millis(100);
        assert!(commits(&runtime, dir.path(), 4, 100, span).expect("committed") > 0.0);
        assert!(echoes(&runtime, 4, 30, span).expect("echoed") > 0.0);
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0, "nothing is left");
    }
}
