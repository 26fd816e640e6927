//! Jobs wait in a queue that is bounded in all and for every tenant, and are taken in rounds. Every tenant with a waiting job has one
//! turn in a round: one tenant's many jobs do not keep another one's waiting. Within a round those come first whose evaluators are
//! loaded. So a round loads no more evaluators than there is too little memory for; in an order that is always the same, the evaluator
//! that was unloaded last would be needed next, and every job would load one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::job::Job;
use crate::tokens::Tenant;

/// The jobs that wait.
#[derive(Debug)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    ready: Condvar,
    bound: usize,
    bound_per_tenant: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    lanes: BTreeMap<Tenant, Lane>,
    /// Who has had a turn in this round.
    served: BTreeSet<Tenant>,
    closed: bool,
}

/// What one tenant has in the queue.
#[derive(Debug, Default)]
struct Lane {
    jobs: VecDeque<Arc<Job>>,
    /// Places of requests that are being received.
    reserved: usize,
}

impl Lane {
    fn len(&self) -> usize {
        self.jobs.len() + self.reserved
    }
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The tenant has as many as it may have.
    Tenant,
    /// The queue is full.
    Queue,
    /// The service stops.
    Closed,
}

/// A place that is kept for a job, until it is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    tenant: Tenant,
}

impl Queue {
    pub fn new(bound: usize, bound_per_tenant: usize) -> Arc<Self> {
        Arc::new(Self { lanes: Mutex::default(), ready: Condvar::new(), bound, bound_per_tenant })
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a place for a job of this tenant.
    pub fn reserve(self: &Arc<Self>, tenant: &Tenant) -> Result<Place, NoPlace> {
        let mut lanes = self.lanes();
        if lanes.closed {
            return Err(NoPlace::Closed);
        }
        if lanes.lanes.get(tenant).is_some_and(|lane| lane.len() >= self.bound_per_tenant) {
            return Err(NoPlace::Tenant);
        }
        if lanes.lanes.values().map(Lane::len).sum::<usize>() >= self.bound {
            return Err(NoPlace::Queue);
        }
        lanes.lanes.entry(tenant.clone()).or_default().reserved += 1;
        Ok(Place { queue: self.clone(), tenant: tenant.clone() })
    }

    /// Adds a job whatever the bounds say: it was accepted before.
    pub fn restore(&self, job: Arc<Job>) {
        self.lanes().lanes.entry(job.tenant.clone()).or_default().jobs.push_back(job);
        self.ready.notify_one();
    }

    /// The next job, once there is one; none when the queue is closed. `is_loaded` says whether the evaluator of a job is.
    pub fn next(&self, is_loaded: impl Fn(&Job) -> bool) -> Option<Arc<Job>> {
        let mut lanes = self.lanes();
        loop {
            if lanes.closed {
                return None;
            }
            if let Some(job) = lanes.take(&is_loaded) {
                return Some(job);
            }
            lanes = self.ready.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a job out, if it waits.
    pub fn remove(&self, job: &Job) -> bool {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.lanes.get_mut(&job.tenant) else { return false };
        let before = lane.jobs.len();
        lane.jobs.retain(|waiting| waiting.id != job.id);
        lane.jobs.len() < before
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.lanes().lanes.values().map(|lane| lane.jobs.len()).sum()
    }

    /// Ends the waiting of all workers. Jobs stay where they are, for the next start.
    pub fn close(&self) {
        self.lanes().closed = true;
        self.ready.notify_all();
    }
}

impl Lanes {
    /// The first job of the tenant whose turn it is.
    fn take(&mut self, is_loaded: impl Fn(&Job) -> bool) -> Option<Arc<Job>> {
        let tenant = self.unserved(&is_loaded).or_else(|| {
            self.served.clear();
            self.unserved(&is_loaded)
        })?;
        let lane = self.lanes.get_mut(&tenant)?;
        let job = lane.jobs.pop_front();
        if lane.len() == 0 {
            self.lanes.remove(&tenant);
        }
        self.served.insert(tenant);
        job
    }

    /// A tenant with a waiting job and without a turn in this round, one whose evaluator is loaded before others.
    fn unserved(&self, is_loaded: impl Fn(&Job) -> bool) -> Option<Tenant> {
        let mut waiting = self.lanes.iter().filter(|(tenant, _)| !self.served.contains(*tenant));
        let first = waiting.clone().find(|(_, lane)| !lane.jobs.is_empty());
        let loaded = waiting.find(|(_, lane)| lane.jobs.front().is_some_and(|job| is_loaded(job)));
        loaded.or(first).map(|(tenant, _)| tenant.clone())
    }
}

impl Place {
    /// Puts a job into the place.
    pub fn fill(self, job: Arc<Job>) {
        self.queue.restore(job);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.queue.lanes();
        if let Some(lane) = lanes.lanes.get_mut(&self.tenant) {
            lane.reserved -= 1;
            if lane.len() == 0 {
                lanes.lanes.remove(&self.tenant);
            }
        }
    }
}
