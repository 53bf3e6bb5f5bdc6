//! Metrics: what the tracker does, for Prometheus.
//!
//! Names and labels follow Prometheus' conventions: base units, `_total` for what only grows. No
//! label holds a path, a source, a process or a container: how many series there are depends on the
//! kernel's words alone, never on what users mount.
//!
//! [`Metrics::observe`] takes each published step, [`Metrics::query`] each question that was
//! answered; everything else is a [`Status`] at the moment of a scrape.

mod classic;
mod status;

pub use status::{Gauges, Process};

use crate::agent::Status;
use crate::model::{ChangeKind, Transaction};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// One label, of a value that the program knows beforehand.
type Label = [(&'static str, &'static str); 1];
/// Two of them.
type Labels = [(&'static str, &'static str); 2];
type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// The two ways to write the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, for whoever accepts `application/openmetrics-text`.
    OpenMetrics,
    /// The text format of Prometheus 0.0.4: for anybody else, and for files of node_exporter.
    Classic,
}

impl Format {
    /// What a client that sends this `Accept` header gets.
    pub fn accepted(header: &str) -> Self {
        if header.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The `Content-Type` of what is written in it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Lines and records that an export did not get rid of, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// There were more than the rate allows.
    pub rate: u64,
    /// Whoever takes them is too slow, or is not there, and the queue is full.
    pub queue: u64,
    /// They could not be written or were refused.
    pub failed: u64,
}

impl Dropped {
    /// All of them.
    pub fn sum(self) -> u64 {
        self.rate + self.queue + self.failed
    }
}

/// What is counted while it happens. Shared between threads by reference.
#[derive(Debug)]
pub struct Metrics {
    events: Family<Label, Counter>,
    lag: Histogram,
    operations: Family<Labels, Counter>,
    operation_duration: Histograms,
    queries: Family<Labels, Counter>,
    query_duration: Histograms,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("mountwatch");
        let events = Family::default();
        for word in ChangeKind::WORDS {
            let _: Counter = events.get_or_create_owned(&[("kind", word)]);
        }
        registry.register("events", "Changes of the index, by kind", events.clone());
        let lag = lags();
        let help = "Time from a change in the kernel to the snapshot that shows it";
        registry.register_with_unit("lag", help, Unit::Seconds, lag.clone());
        let operations = Family::default();
        registry.register(
            "operations",
            "System calls of the mount family and what the kernel did to mounts by itself, by error",
            operations.clone(),
        );
        let operation_duration: Histograms = Family::new_with_constructor(durations);
        registry.register_with_unit(
            "operation_duration",
            "Time that a system call of the mount family took",
            Unit::Seconds,
            operation_duration.clone(),
        );
        let queries = Family::default();
        registry.register(
            "queries",
            "Questions that were answered, by call and status code of gRPC",
            queries.clone(),
        );
        let query_duration: Histograms = Family::new_with_constructor(durations);
        registry.register_with_unit(
            "query_duration",
            "Time from a question to its answer, the wait for freshness included",
            Unit::Seconds,
            query_duration.clone(),
        );
        Self { events, lag, operations, operation_duration, queries, query_duration, registry }
    }

    /// Counts what a published step did. `now_ktime_ns`: CLOCK_MONOTONIC when it was published.
    pub fn observe(&self, transaction: &Transaction, now_ktime_ns: u64) {
        for change in &transaction.changes {
            self.events.get_or_create(&[("kind", change.kind.word())]).inc();
            // What a scan found has no time of its own.
            if change.task.is_some() {
                let lag_ns = now_ktime_ns.saturating_sub(change.ktime_ns);
                self.lag.observe(Duration::from_nanos(lag_ns).as_secs_f64());
            }
        }
        for operation in &transaction.operations {
            let call = operation.call.name();
            let errno = match (operation.errno(), operation.errno_name()) {
                (None, _) => "0",
                (Some(_), Some(name)) => name,
                (Some(_), None) => "unknown",
            };
            self.operations.get_or_create(&[("call", call), ("errno", errno)]).inc();
            if let Some(duration_ns) = operation.duration_ns {
                let seconds = Duration::from_nanos(duration_ns).as_secs_f64();
                self.operation_duration.get_or_create(&[("call", call)]).observe(seconds);
            }
        }
    }

    /// Counts a question. `call` and `code`: words of the protocol, never of a client.
    pub fn query(&self, call: &'static str, code: &'static str, duration: Duration) {
        self.queries.get_or_create(&[("call", call), ("code", code)]).inc();
        self.query_duration.get_or_create(&[("call", call)]).observe(duration.as_secs_f64());
    }

    /// All of them as text.
    pub fn text(&self, status: &Status, gauges: &Gauges, format: Format) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode_registry(&mut out, &self.registry);
        let _ = text::encode_registry(&mut out, &status::registry(status, gauges));
        let _ = text::encode_eof(&mut out);
        match format {
            Format::OpenMetrics => out,
            Format::Classic => classic::from_open_metrics(&out),
        }
    }
}

/// From a microsecond, the least that a drain takes, to the 16 seconds of a repair.
fn lags() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(1e-6, 4.0, 13))
}

/// From a microsecond to a second.
fn durations() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(1e-6, 4.0, 11))
}

#[cfg(test)]
mod tests;
