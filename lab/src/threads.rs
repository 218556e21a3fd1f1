//! What is done to many at once.

use std::panic::resume_unwind;
use std::thread;

/// What `run` makes of each of `items`, in their order: all at once, a thread each
///
/// One that panics is no result that is missing: its panic goes on here.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || run(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        assert_eq!(each(&[3, 1, 2], |n| n * 10), [30, 10, 20]);
    }

    #[test]
    #[should_panic(expected = "the second")]
    fn panic_of_one_is_everybodys() {
        each(&["first", "second"], |item| assert!(*item != "second", "the {item}"));
    }
}
