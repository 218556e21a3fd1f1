//! Running the program of a function: with its arguments and nothing of this daemon's environment, until it ends, or nobody waits for
//! it any more.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use kith_common::status::Status;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::Outcome;

/// Bytes of a result, which is what the program writes: one that is longer ends it
pub(crate) const RESULT_BYTES_MAX: usize = 480 * 1024;
/// Bytes of what it says is wrong that its caller is told
const COMPLAINT_BYTES_MAX: usize = 1_000;
/// Programs that run at once; whoever calls meanwhile waits. Each may take a processor and what memory it likes.
pub(crate) const RUNNING_MAX: usize = 16;
/// Where programs look for others
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be run
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) function: String,
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// What it reads
    pub(crate) input: Vec<u8>,
    /// Who calls; none is the own user
    pub(crate) caller: Option<String>,
}

/// A program, and all that it has started: what is left of it is killed when this is dropped
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        // Until it was waited for its number is nobody else's.
        if let Some(leader) = self.leader.take() {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// What it has written and said, and how it has ended
struct Ended {
    result: Vec<u8>,
    complaint: Vec<u8>,
    status: ExitStatus,
}

/// Why it was not run to its end
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has written more than {RESULT_BYTES_MAX} bytes")]
    TooMuch,
}

/// Runs it as soon as it has a place, and says what it came to; dropped before that, the program is killed
pub(crate) async fn run(job: Job, places: Arc<Semaphore>) -> Outcome {
    let Ok(_place) = places.acquire_owned().await else {
        return Outcome { status: Status::Unavailable, body: b"the daemon is ending".to_vec() };
    };
    let function = job.function.clone();
    match run_group(job).await {
        Ok(Ended { result, status, .. }) if status.success() => Outcome { status: Status::Delivered, body: result },
        Ok(Ended { complaint, status, .. }) => {
            let how = match status.code() {
                Some(code) => format!("{function} has ended with {code}"),
                None => format!("{function} was killed"),
            };
            let complaint = String::from_utf8_lossy(&complaint);
            let why = if complaint.trim().is_empty() { how } else { format!("{how}: {}", complaint.trim()) };
            Outcome { status: Status::Failed, body: why.into_bytes() }
        }
        Err(Failed::TooMuch) => {
            let why = format!("{function} has written more than {RESULT_BYTES_MAX} bytes");
            Outcome { status: Status::TooLarge, body: why.into_bytes() }
        }
        Err(Failed::Io(error)) => {
            tracing::warn!(event = "function_not_run", function, reason = %error);
            Outcome { status: Status::Failed, body: format!("{function} cannot be run there").into_bytes() }
        }
    }
}

async fn run_group(Job { program, arguments, input, caller, function }: Job) -> Result<Ended, Failed> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("FUNCTION", function);
    command.env("CALLER", caller.unwrap_or_default()).current_dir("/").process_group(0).kill_on_drop(true);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group { child, leader };
    let pipes = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
    };
    let write = async move {
        // A program need not read what it is given.
        let _ = stdin.write_all(&input).await;
        Ok(())
    };
    let ((), result, complaint) = tokio::try_join!(write, result(stdout), complaint(stderr))?;
    let status = group.child.wait().await?;
    group.leader = None;
    Ok(Ended { result, complaint, status })
}

/// All that it writes, unless that is too much
async fn result(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failed> {
    let mut all = Vec::new();
    (&mut from).take(RESULT_BYTES_MAX as u64 + 1).read_to_end(&mut all).await?;
    if all.len() > RESULT_BYTES_MAX { Err(Failed::TooMuch) } else { Ok(all) }
}

/// The beginning of what it says is wrong; whatever else it says is taken from it, so that it does not wait
async fn complaint(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failed> {
    let mut complaint = Vec::new();
    (&mut from).take(COMPLAINT_BYTES_MAX as u64).read_to_end(&mut complaint).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(complaint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn job(script: &str, input: &[u8]) -> Job {
        Job {
            function: "test".to_owned(),
            program: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            input: input.to_vec(),
            caller: Some("alice".to_owned()),
        }
    }

    async fn outcome(job: Job) -> (u16, String) {
        let Outcome { status, body } = run(job, Arc::new(Semaphore::new(1))).await;
        (status.code(), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn program_has_its_input_and_its_callers_name_and_nothing_of_this_processes_environment() {
        assert_eq!(
            outcome(job("cat; echo \"$CALLER $FUNCTION $HOME\"; pwd", b"in ")).await,
            (200, "in alice test \n/\n".into())
        );
        assert_eq!(outcome(job("exec true", &vec![0; 1 << 20])).await, (200, String::new()), "it need not read");
    }

    #[tokio::test]
    async fn program_that_fails_says_why_and_one_that_is_not_there_too() {
        assert_eq!(outcome(job("echo no >&2; exit 3", b"")).await, (500, "test has ended with 3: no".into()));
        assert_eq!(outcome(job("kill -9 $$", b"")).await, (500, "test was killed".into()));
        let nothing = Job { program: "/no/such/program".to_owned(), ..job("", b"") };
        assert_eq!(outcome(nothing).await, (500, "test cannot be run there".into()));
    }

    #[tokio::test]
    async fn program_that_writes_too_much_is_ended() {
        let (status, why) = outcome(job("yes >&2 & yes", b"")).await;
        assert!(status == 413 && why.contains("more than 491520 bytes"), "{status} {why}");
        let least = format!("head -c {RESULT_BYTES_MAX} /dev/zero; head -c 100000 /dev/zero >&2");
        assert_eq!(outcome(job(&least, b"")).await.1.len(), RESULT_BYTES_MAX);
    }

    #[tokio::test]
    async fn program_is_killed_with_all_that_it_has_started_when_nobody_waits_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("pids");
        let script = format!("sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; sleep 1000", at.display());
        let running = tokio::spawn(run(job(&script, b""), Arc::new(Semaphore::new(1))));
        let pids = loop {
            match std::fs::read_to_string(&at) {
                Ok(pids) => break pids,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        running.abort();
        let lives = |pid: &str| {
            let state = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while pids.split_whitespace().any(lives) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
