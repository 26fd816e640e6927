//! Tests of plans and executors.

mod boundary;
mod noise;
mod plan;
mod programs;
