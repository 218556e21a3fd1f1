//! Calls of others: evaluated at once, or by a program that runs for as long as somebody waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kith_common::id::Name;
use kith_common::status::Status;
use kith_common::time::Instant;
use kith_common::wire::content::Call;
use tokio::task::JoinHandle;

use super::Driver;
use crate::functions::{Evaluation, Outcome};
use crate::piping::ProgramEvent;

/// How often it is looked whether somebody waits for each program
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whoever has lost his connection has another one by then, and asks again; a program for which nobody waits for so long is killed
const UNAWAITED_MAX: Duration = Duration::from_secs(5);

/// A program that runs, or waits for its turn
#[derive(Debug)]
struct Running {
    function: String,
    /// None is the own user
    caller: Option<Name>,
    begun: Instant,
    /// Since when nobody waits for it
    unawaited: Option<Instant>,
    task: JoinHandle<()>,
}

/// The programs of calls, by the calls' tickets
#[derive(Debug, Default)]
pub(super) struct Evaluations {
    running: BTreeMap<u64, Running>,
    next_look: Instant,
}

impl Drop for Evaluations {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.task.abort());
    }
}

impl Evaluations {
    /// When to call [`Driver::look_after_functions`]
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        (!self.running.is_empty()).then_some(self.next_look)
    }
}

impl Driver {
    pub(super) fn evaluate(&mut self, now: Instant, ticket: u64, caller: Option<Name>, call: &Call) {
        let job = match self.functions.evaluate(caller.as_ref(), call, SystemTime::now()) {
            Evaluation::Done(Outcome { status, body }) => {
                return self.stack.handle_evaluated(now, ticket, status, body);
            }
            Evaluation::Runs(job) => job,
        };
        let (function, program) = (job.function.clone(), self.functions.run(job));
        tracing::info!(event = "function_called", ticket, function, by = ?caller);
        let events = self.program_events.clone();
        let task = tokio::spawn(async move {
            let outcome = program.await;
            // Without a driver nobody waits either.
            let _ = events.send(ProgramEvent::Evaluated { ticket, outcome }).await;
        });
        if self.evaluations.running.is_empty() {
            self.evaluations.next_look = now + LOOK_EVERY;
        }
        let running = Running { function, caller, begun: now, unawaited: None, task };
        self.evaluations.running.insert(ticket, running);
    }

    /// A program has ended
    pub(super) fn on_evaluated(&mut self, now: Instant, ticket: u64, Outcome { status, body }: Outcome) {
        let Some(Running { function, caller, begun, .. }) = self.evaluations.running.remove(&ticket) else { return };
        let took_ms = (now - begun).as_millis() as u64;
        tracing::info!(event = "function_ended", ticket, function, by = ?caller, %status, bytes = body.len(), took_ms);
        self.stack.handle_evaluated(now, ticket, status, body);
    }

    /// Kills the programs for which nobody waits, if it is time to look
    pub(super) fn look_after_functions(&mut self, now: Instant) {
        let Self { evaluations: Evaluations { running, next_look }, stack, .. } = self;
        if running.is_empty() || now < *next_look {
            return;
        }
        *next_look = now + LOOK_EVERY;
        let is_vain = |(ticket, running): (&u64, &mut Running)| {
            running.unawaited = match stack.is_awaited(*ticket) {
                true => None,
                false => running.unawaited.or(Some(now)),
            };
            running.unawaited.filter(|since| now - *since >= UNAWAITED_MAX).map(|_| *ticket)
        };
        for ticket in running.iter_mut().filter_map(is_vain).collect::<Vec<_>>() {
            if let Some(running) = running.remove(&ticket) {
                running.task.abort();
                let reason = "nobody waits for it any more";
                tracing::info!(event = "function_killed", ticket, function = running.function, by = ?running.caller, reason);
                stack.handle_evaluated(now, ticket, Status::TimedOut, reason.as_bytes().to_vec());
            }
        }
    }
}
