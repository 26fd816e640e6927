//! The service over real connections, with an engine in its place that is slow, fails and panics on demand.

mod bounds;
mod double;
mod flow;
mod hostile;
mod protocol;
mod restart;
mod support;
