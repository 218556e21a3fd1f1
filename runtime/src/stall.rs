//! A watchdog for long runs and tests: one that hangs fails, and says what it was at and what waits.
//!
//! Whoever gets on says so, by [`note`] or [`progressed`]; while a [`Watch`] lives and nobody does for as long as it may
//! last, it tells the last events and what each thread of this process and of its children waits for, and ends the process.
//! What has a limit of its own, shorter than the watchdog's, fails by that.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use std::{fmt, fs};

/// So long nothing may get on: several times what the longest limit of a single step is, so that those bite first
pub const LIMIT: Duration = Duration::from_secs(300);

/// Events that are told: what was done last, and a little of what led there
const EVENTS_MAX: usize = 12;

/// From one look to the next, as a part of the limit
const LOOKS: u32 = 20;

/// What has happened in this process, whoever watches it
static BOOK: Mutex<Book> = Mutex::new(Book { last: None, events: VecDeque::new() });

struct Book {
    /// When something got on last
    last: Option<Instant>,
    events: VecDeque<(Instant, String)>,
}

fn book() -> MutexGuard<'static, Book> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something got on that is worth telling
pub fn note(event: impl fmt::Display) {
    let (now, mut book) = (Instant::now(), book());
    book.last = Some(now);
    if book.events.len() == EVENTS_MAX {
        book.events.pop_front();
    }
    book.events.push_back((now, event.to_string()));
}

/// One of many things got on
pub fn progressed() {
    book().last = Some(Instant::now());
}

/// Watches for as long as it lives
#[derive(Debug)]
pub struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<Thread>,
}

/// Watches this process, which ends with status 1 and what it was at once nothing has got on for `limit`
pub fn watch(limit: Duration) -> Watch {
    watch_with(limit, |told| {
        // Not what a test harness keeps until the test ends.
        let _ = std::io::stderr().write_all(told.as_bytes());
        std::process::exit(1);
    })
}

/// As [`watch`], where something else is done about it, once
fn watch_with(limit: Duration, bark: impl FnOnce(String) + Send + 'static) -> Watch {
    progressed();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let look = move || {
        while !over.load(Ordering::Relaxed) {
            let looked = Instant::now();
            thread::park_timeout(limit / LOOKS);
            if looked.elapsed() > limit / 2 {
                // This process was not run itself.
                progressed();
            }
            if book().last.is_some_and(|last| last.elapsed() > limit) && !over.load(Ordering::Relaxed) {
                return bark(tell(limit));
            }
        }
    };
    let started = thread::Builder::new().name("watchdog".into()).spawn(look);
    // A machine that has no thread to give fails whatever is watched.
    Watch { is_over, thread: started.ok().map(|started| started.thread().clone()) }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.iter().for_each(Thread::unpark);
    }
}

/// What was done last, and who waits for what
fn tell(limit: Duration) -> String {
    let mut told = format!("STALLED: nothing has got on for {} s. The last events:\n", limit.as_secs_f64());
    for (at, event) in &book().events {
        told += &format!("  {:.1} s ago: {event}\n", at.elapsed().as_secs_f64());
    }
    told += "What the threads of this process and of its children are at:\n";
    for (pid, program) in family(std::process::id()) {
        told += &format!("  {program} ({pid}): {}\n", threads(pid).join(", "));
    }
    told
}

/// This process and all that it has started, with their programs, by the system's own list
fn family(own: u32) -> Vec<(u32, String)> {
    let mut others: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, rest) = stat.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent, head.split_once('(')?.1.to_owned()))
        })
        .collect();
    let mut family: Vec<(u32, String)> = Vec::new();
    let own_name = others.iter().find(|(pid, ..)| *pid == own).map(|(_, _, name)| name.clone());
    family.push((own, own_name.unwrap_or_default()));
    // Each is looked at once: its own children come behind it.
    let mut at = 0;
    while let Some(parent) = family.get(at).map(|(pid, _)| *pid) {
        let (children, rest) = others.into_iter().partition(|(pid, of, _)| *of == parent && *pid != own);
        others = rest;
        let children: Vec<(u32, u32, String)> = children;
        family.extend(children.into_iter().map(|(pid, _, name)| (pid, name)));
        at += 1;
    }
    family
}

/// What each thread of a process is at: its name, its state as `/proc` has it, and where in the kernel it waits
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let told = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let (name, state) = (head.split_once('(')?.1.to_owned(), rest.split_whitespace().next()?.to_owned());
        let waits = fs::read_to_string(task.path().join("wchan")).ok().filter(|at| !at.is_empty() && at != "0");
        Some(format!("{name} {state}{}", waits.map(|at| format!(" in {at}")).unwrap_or_default()))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn watchdog_barks_once_nothing_gets_on_and_names_what_waits() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let (barks, barked) = mpsc::channel();
        let bark = move |told| barks.send(told).unwrap();
        let watch = watch_with(SHORT, bark);
        for number in 0..4 {
            note(format!("step {number}"));
            thread::sleep(SHORT / 2);
            assert!(barked.try_recv().is_err(), "it gets on");
        }
        let told = barked.recv_timeout(50 * SHORT).expect("it barks");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(told.contains("STALLED") && told.contains("step 3") && told.contains("watchdog"), "{told}");
        assert!(told.lines().any(|line| line.trim().starts_with("sleep (") && line.contains(" S")), "{told}");
        drop(watch);
        // Of a second one, which is called off, nothing is heard.
        let (barks, barked) = mpsc::channel();
        drop(watch_with(SHORT, move |told| barks.send(told).unwrap()));
        assert!(barked.recv_timeout(5 * SHORT).is_err());
    }
}
