//! Workers take jobs from the queue and compute them.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::app::{App, key_files};
use crate::engine::{Evaluated, Failure, JobFiles, Progress};
use crate::job::{Fault, Job, State};

/// How often progress is told at most.
const EVERY: Duration = Duration::from_millis(50);

/// Computes jobs until the queue is closed.
pub fn work(app: &App) {
    let is_loaded = |job: &Job| app.pool.holds(&job.tenant, &job.record().key);
    while let Some(job) = app.queue.next(is_loaded) {
        app.metrics.running.inc();
        run(app, &job);
        app.metrics.running.dec();
    }
}

fn run(app: &App, job: &Job) {
    if job.is_cancelled() {
        return app.finish(job, State::Cancelled, None);
    }
    let fault = |detail: String, help: &str| Some(Fault { detail, help: help.into() });
    let mut record = job.record();
    if record.attempts >= app.limits.attempts {
        let detail = format!("the service ended {} times while it computed this job", record.attempts);
        return app.finish(job, State::Failed, fault(detail, "the memory may not suffice for it; the log says more"));
    }
    (record.state, record.attempts, record.progress) = (State::Running, record.attempts + 1, Progress::default());
    if let Err(e) = app.note(job, record) {
        tracing::error!(job = job.id.as_str(), error = %e, "a job could not be started");
        return app.finish(
            job,
            State::Failed,
            fault("the service could not write its state".into(), "send the request again"),
        );
    }
    let started = Instant::now();
    // A fault of the engine ends one job and not the service.
    let outcome = catch_unwind(AssertUnwindSafe(|| evaluate(app, job)));
    let seconds = started.elapsed().as_secs_f64();
    let mut record = job.record();
    record.seconds = Some(seconds);
    job.show(record.clone());
    match outcome {
        Ok(Ok(Evaluated { resumed })) => {
            app.metrics.job_seconds.observe(seconds);
            let recent = &app.metrics.recent;
            recent.store((3 * recent.load(Ordering::Relaxed) + (seconds * 1000.0) as u64) / 4, Ordering::Relaxed);
            if resumed > 0 {
                tracing::info!(job = job.id.as_str(), runs = resumed, "results of an earlier attempt were taken over");
            }
            app.finish(job, State::Done, None);
        }
        Ok(Err(Failure::Stopped)) if job.is_cancelled() => app.finish(job, State::Cancelled, None),
        Ok(Err(Failure::Stopped)) => {
            // The service stops: the job waits for the next start, and this was no attempt.
            (record.state, record.attempts, record.seconds) = (State::Queued, record.attempts - 1, None);
            if let Err(e) = app.note(job, record) {
                tracing::error!(job = job.id.as_str(), error = %e, "an interrupted job could not be written");
            }
        }
        Ok(Err(Failure::Unfit(unfit))) => app.finish(job, State::Failed, Some(unfit.into())),
        Err(_) => {
            tracing::error!(job = job.id.as_str(), "the engine panicked");
            app.finish(
                job,
                State::Failed,
                fault("the engine failed".into(), "report this with the plan and the request"),
            );
        }
    }
}

fn evaluate(app: &App, job: &Job) -> Result<Evaluated, Failure> {
    let key = job.record().key;
    let keys = app.keys(&job.tenant, key.as_str()).map_err(|_| {
        let (reason, help) =
            ("its evaluation keys are gone".into(), "upload them again, then send the request again".into());
        Failure::Unfit(crate::engine::Unfit { reason, help })
    })?;
    let (file, _) = key_files(&keys);
    let (plan, input, output) = (app.store.client_plan(), job.input(), job.output());
    let files = JobFiles { plan: &plan, keys: &file, input: &input, output: &output };
    let mut told: Option<Instant> = None;
    let mut progress = |at: Progress| {
        if told.is_none_or(|told| told.elapsed() >= EVERY) {
            told = Some(Instant::now());
            job.show_progress(at);
        }
        if job.is_cancelled() || app.is_halted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let evaluated = app.pool.with(&job.tenant, &key, &file, |evaluator| evaluator.eval(files, &mut progress));
    evaluated.map_err(Failure::Unfit)?
}
