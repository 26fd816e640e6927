//! Jobs wait in a queue that is bounded in all and for every tenant, and are taken in turn: one tenant's many jobs do not keep
//! another one's waiting.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
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
    /// Whose job was taken last.
    last: Option<Tenant>,
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

    /// The next job, once there is one; none when the queue is closed.
    pub fn next(&self) -> Option<Arc<Job>> {
        let mut lanes = self.lanes();
        loop {
            if lanes.closed {
                return None;
            }
            if let Some(job) = lanes.take() {
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
    /// The first job of the tenant behind the last one, in a circle.
    fn take(&mut self) -> Option<Arc<Job>> {
        let after = self.last.take();
        let behind = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let waiting = |(tenant, lane): (&Tenant, &mut Lane)| Some((tenant.clone(), lane.jobs.pop_front()?));
        let later = self.lanes.range_mut((behind, Bound::Unbounded)).find_map(waiting);
        let taken = later.or_else(|| self.lanes.iter_mut().find_map(waiting));
        let Some((tenant, job)) = taken else {
            self.last = after;
            return None;
        };
        if self.lanes.get(&tenant).is_some_and(|lane| lane.len() == 0) {
            self.lanes.remove(&tenant);
        }
        self.last = Some(tenant);
        Some(job)
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
