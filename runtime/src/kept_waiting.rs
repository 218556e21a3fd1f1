//! How long this thread was kept waiting for a processor.
//!
//! No clock of a process's own tells a thread that waits for a socket from one that could run and may not: Linux does, in
//! `/proc/thread-self/schedstat`, which has the nanoseconds that a thread has run, those that it was ready and waited, and
//! the number of its turns. Where there is no such file nobody is kept waiting as far as is known here, and handshakes
//! begin without a rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Bytes of the file: three numbers of at most twenty digits
const FILE_BYTES: usize = 64;

/// What a thread was kept waiting since it was asked last
pub struct KeptWaiting {
    file: Option<File>,
    last: Duration,
}

impl KeptWaiting {
    /// Of the thread that calls this; whichever asks later
    pub fn of_this_thread() -> Self {
        let mut kept_waiting = Self { file: None, last: Duration::ZERO };
        match File::open("/proc/thread-self/schedstat") {
            Ok(file) => kept_waiting.file = Some(file),
            Err(reason) => tracing::info!(event = "waits_for_processor_unknown", %reason),
        }
        kept_waiting.since_last();
        kept_waiting
    }

    /// How long it could run and had to wait, since the last time that this was asked
    pub fn since_last(&mut self) -> Duration {
        let Some(file) = &self.file else { return Duration::ZERO };
        match read(file) {
            Ok(waited) => waited.saturating_sub(std::mem::replace(&mut self.last, waited)),
            Err(reason) => {
                tracing::info!(event = "waits_for_processor_unknown", %reason);
                self.file = None;
                Duration::ZERO
            }
        }
    }
}

fn read(file: &File) -> io::Result<Duration> {
    let mut bytes = [0; FILE_BYTES];
    let len = file.read_at(&mut bytes, 0)?;
    let text = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(waited).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not hold three numbers"))
}

/// The second of the three numbers
fn waited(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_number_is_what_a_thread_was_kept_waiting() {
        assert_eq!(waited("23811508 1500000 97\n"), Some(Duration::from_micros(1_500)));
        assert_eq!([waited(""), waited("1"), waited("1 x 2")], [None; 3]);
    }

    #[test]
    fn threads_that_share_too_few_processors_are_kept_waiting_and_one_that_sleeps_is_not() {
        if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
            return;
        }
        let mut sleeper = KeptWaiting::of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(sleeper.since_last() < Duration::from_millis(40));
        let threads = 4 * std::thread::available_parallelism().map_or(1, usize::from);
        let busy = || {
            let mut kept_waiting = KeptWaiting::of_this_thread();
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(400) {
                std::hint::spin_loop();
            }
            kept_waiting.since_last()
        };
        let waited: Duration = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(busy)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Of four threads to a processor each waits three quarters of its time.
        assert!(waited > Duration::from_millis(100) * threads as u32, "{waited:?}");
    }
}
