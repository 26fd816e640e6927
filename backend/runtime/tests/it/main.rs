//! Tests of plans and executors.

mod boundary;
mod encrypted;
mod noise;
mod plan;
mod programs;
