//! Work on all cores, with results in the order of the work.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads to use where nothing else is said: all cores
pub(crate) fn threads_default() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// `work(state, chunk)` for every chunk below `chunks`, on `threads` threads with a state each
///
/// The results are in the order of the chunks; which state did which chunk, and so the states' order, is chance.
pub(crate) fn map_chunks<S: Send, T: Send>(
    threads: usize,
    chunks: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
) -> (Vec<T>, Vec<S>) {
    let next = AtomicUsize::new(0);
    let run = || {
        let (mut state, mut done) = (state(), Vec::new());
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return (state, done);
            }
            done.push((chunk, work(&mut state, chunk)));
        }
    };
    let (mut results, mut states) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, chunks.max(1))).map(|_| scope.spawn(run)).collect();
        for worker in workers {
            let (state, done) = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            states.push(state);
            results.extend(done);
        }
    });
    results.sort_by_key(|(chunk, _)| *chunk);
    (results.into_iter().map(|(_, result)| result).collect(), states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_every_chunk_is_done_once() {
        let work = |count: &mut usize, chunk| {
            *count += 1;
            chunk * chunk
        };
        for threads in [1, 3, 100] {
            let (results, counts) = map_chunks(threads, 20, || 0, work);
            assert_eq!(results, (0..20).map(|chunk| chunk * chunk).collect::<Vec<_>>());
            assert_eq!(counts.iter().sum::<usize>(), 20);
        }
    }
}
