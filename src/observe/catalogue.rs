//! The names of all metrics. The table in the guide `observing` lists the same.

/// A metric: its name, what it is, and what it says.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only the exporter reads it")
)]
pub(crate) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) description: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only the exporter reads it")
)]
pub(super) enum Unit {
    Count,
    Seconds,
}

/// The name and value of a label, if any.
pub(super) type Label = Option<(&'static str, &'static str)>;

const fn counter(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: Unit::Count,
        description,
    }
}

const fn gauge(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: Unit::Count,
        description,
    }
}

const fn histogram(name: &'static str, unit: Unit, description: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        unit,
        description,
    }
}

/// The metrics of the calls of a store or facade.
pub(crate) struct CallMetrics {
    pub(super) calls: Metric,
    pub(super) errors: Metric,
    pub(super) slow: Metric,
    pub(super) seconds: Metric,
    pub(super) batch_size: Metric,
}

pub(crate) struct StoreMetrics {
    pub(crate) calls: CallMetrics,
    pub(crate) statement_seconds: Metric,
    pub(crate) retries: Metric,
    pub(crate) broken_connections: Metric,
    pub(crate) new_connections: Metric,
    pub(crate) connect_failures: Metric,
    pub(crate) cancelled_statements: Metric,
    pub(crate) connections: Metric,
    pub(crate) pruned_rows: Metric,
    pub(crate) prune_passes: Metric,
}

pub(crate) struct OffloadMetrics {
    pub(crate) calls: CallMetrics,
    pub(crate) queue_seconds: Metric,
    pub(crate) waiting: Metric,
    pub(crate) running: Metric,
}

/// The metrics of a `PostgresStore`.
pub(crate) const STORE: StoreMetrics = StoreMetrics {
    calls: CallMetrics {
        calls: counter("session_store_calls_total", "Calls of the store."),
        errors: counter(
            "session_store_errors_total",
            "Calls of the store that failed.",
        ),
        slow: counter(
            "session_store_slow_calls_total",
            "Calls of the store that took longer than its slow_threshold.",
        ),
        seconds: histogram(
            "session_store_call_seconds",
            Unit::Seconds,
            "Time of a call of the store, with its wait for a connection.",
        ),
        batch_size: histogram(
            "session_store_batch_size",
            Unit::Count,
            "Calls that the store has executed together.",
        ),
    },
    statement_seconds: histogram(
        "session_store_statement_seconds",
        Unit::Seconds,
        "Time from sending a statement until its answer: the network and the server.",
    ),
    retries: counter(
        "session_store_retries_total",
        "Further attempts at a call after the first has failed.",
    ),
    broken_connections: counter(
        "session_store_broken_connections_total",
        "Connections that broke, or that were found broken.",
    ),
    new_connections: counter(
        "session_store_new_connections_total",
        "Connections that no store had used before.",
    ),
    connect_failures: counter(
        "session_store_connect_failures_total",
        "Errors of attempts to connect that the pool has reported to a call.",
    ),
    cancelled_statements: counter(
        "session_store_cancelled_statements_total",
        "Statements for which a cancel request was sent.",
    ),
    connections: gauge("session_store_connections", "Connections of the store."),
    pruned_rows: counter(
        "session_store_pruned_rows_total",
        "Rows of expired sessions that were removed.",
    ),
    prune_passes: counter(
        "session_store_prune_passes_total",
        "Passes that remove expired rows.",
    ),
};

/// The metrics of an `Offload`.
pub(crate) const OFFLOAD: OffloadMetrics = OffloadMetrics {
    calls: CallMetrics {
        calls: counter("session_offload_calls_total", "Calls of the facade."),
        errors: counter(
            "session_offload_errors_total",
            "Calls of the facade that failed.",
        ),
        slow: counter(
            "session_offload_slow_calls_total",
            "Calls of the facade that took longer than its slow_threshold.",
        ),
        seconds: histogram(
            "session_offload_call_seconds",
            Unit::Seconds,
            "Time of a call of the facade, with its wait in the queue.",
        ),
        batch_size: histogram(
            "session_offload_batch_size",
            Unit::Count,
            "Calls that a worker has taken together.",
        ),
    },
    queue_seconds: histogram(
        "session_offload_queue_seconds",
        Unit::Seconds,
        "Time from a call until a worker has taken it.",
    ),
    waiting: gauge(
        "session_offload_waiting_calls",
        "Calls that wait for a worker.",
    ),
    running: gauge(
        "session_offload_running_calls",
        "Calls that workers execute.",
    ),
};
