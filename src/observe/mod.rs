//! Counters of calls and faults, which the crate `metrics` also gets, and spans and events of the crate `tracing`.
//!
//! - [`calls`] observes each call of a store or facade. [`batch_sizes`] counts batches.
//! - [`metric`] has counters and gauges, which [`exporter`] also sends to the crate `metrics`. [`catalogue`] has their
//!   names.
//! - [`trace`] has the spans and events.
//!
//! Without the features `metrics` and `tracing`, the types of [`exporter`] and [`trace`] are empty and do nothing.

mod batch_sizes;
mod calls;
mod catalogue;
#[cfg_attr(not(feature = "metrics"), path = "no_exporter.rs")]
mod exporter;
mod method;
mod metric;
#[cfg_attr(not(feature = "tracing"), path = "no_trace.rs")]
pub(crate) mod trace;

use std::time::Duration;

pub(crate) use self::{
    batch_sizes::BatchCounters,
    calls::{CallCounters, error_of, errors_of},
    catalogue::{OFFLOAD, STORE},
    metric::{Counter, Gauge, Histogram},
};
pub use self::{batch_sizes::BatchSizes, calls::CallStats, method::Method};

/// The time after which a call is slow, unless an option says otherwise.
pub(crate) const DEFAULT_SLOW_THRESHOLD: Duration = Duration::from_secs(1);
