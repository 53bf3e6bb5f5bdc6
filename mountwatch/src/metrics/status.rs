//! What is not counted while it happens but read when somebody asks: the status, as metrics.

use super::{Dropped, Label, Labels};
use crate::agent::Status;
use mountwatch_common::limits;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

type Real = Gauge<f64, AtomicU64>;
type Row<T> = (&'static str, &'static str, T);

/// Facts of the process and the host at the moment of a scrape, which no [`Status`] has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Mounts of the mount namespace that has the most.
    pub namespace_mounts_max: u64,
    /// `fs.mount-max`: how many each may have.
    pub mount_max: u64,
    /// Clients of the agent's socket.
    pub connections: u64,
    /// Streams of changes that are open.
    pub watchers: u64,
    /// What each export did not get rid of.
    pub dropped: Vec<(&'static str, Dropped)>,
    /// Of the process; not in a file of node_exporter, which says the same of itself.
    pub process: Option<Process>,
}

/// What every exporter says of its own process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time of the process, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// Open descriptors of the process.
    pub open_fds: u64,
    /// When the process started, in seconds since 1970.
    pub start_seconds: f64,
}

/// What only grows since the start.
fn counters(status: &Status) -> [Row<u64>; 6] {
    [
        ("records", "Records and notifications from the kernel", status.records),
        ("losses", "Losses that were noticed; each is repaired by a scan", status.losses),
        ("rescans", "Scans of a mount namespace since the first of all", status.rescans),
        ("rereads", "Reads of a whole mount table for one fact of it", status.rereads),
        ("looks", "Questions to the kernel about single mounts", status.looks),
        ("anomalies", "Contradictions between what was told and what was known", status.anomalies),
    ]
}

/// What goes up and down.
fn gauges(status: &Status, gauges: &Gauges) -> [Row<u64>; 9] {
    [
        ("mounts", "Mounts in all mount namespaces", status.mounts),
        ("namespaces", "Mount namespaces", status.namespaces),
        (
            "namespace_mounts_max",
            "Mounts of the mount namespace that has the most",
            gauges.namespace_mounts_max,
        ),
        ("mount_max", "Mounts that a mount namespace may have (fs.mount-max)", gauges.mount_max),
        ("names", "Names of mountpoints, roots and what is above them", status.names),
        (
            "names_max",
            "Names for which the kernel side has room (back end hooks)",
            limits::TOLD_MAX.into(),
        ),
        ("revision", "Revision of the index", status.revision.0),
        ("connections", "Clients of the agent's socket", gauges.connections),
        ("watchers", "Streams of changes that are open", gauges.watchers),
    ]
}

/// Sizes, in bytes.
fn sizes(status: &Status) -> [Row<u64>; 2] {
    [
        ("ring_size", "Size of the ring buffer", status.ring_bytes),
        (
            "ring_used_max",
            "Most that was in the ring buffer when it was emptied",
            status.ring_used_bytes_max,
        ),
    ]
}

/// All of them, with their values.
pub(super) fn registry(status: &Status, now: &Gauges) -> Registry {
    let mut registry = Registry::default();
    own(registry.sub_registry_with_prefix("mountwatch"), status, now);
    if let Some(now) = &now.process {
        process(registry.sub_registry_with_prefix("process"), now);
    }
    registry
}

fn own(registry: &mut Registry, status: &Status, now: &Gauges) {
    let build = Info::new([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("backend", status.backend.to_string()),
        ("kernel", status.kernel.clone()),
    ]);
    registry.register("build", "What runs here", build);
    for (name, help, value) in counters(status) {
        registry.register(name, help, counter(value));
    }
    for (name, help, value) in gauges(status, now) {
        registry.register(name, help, gauge(value));
    }
    for (name, help, value) in sizes(status) {
        registry.register_with_unit(name, help, Unit::Bytes, gauge(value));
    }
    let coverage: Family<Label, Gauge> = Family::default();
    for word in ["complete", "stale", "blind", "polling"] {
        let is_it = status.coverage.word() == word;
        coverage.get_or_create(&[("coverage", word)]).set(i64::from(is_it));
    }
    registry.register("coverage", "1 for how much of the truth the index rests on", coverage);
    let kernel: Family<[(&'static str, String); 1], Counter> = Family::default();
    for (name, value) in &status.counters {
        kernel.get_or_create(&[("counter", name.to_string())]).inc_by(*value);
    }
    registry.register("kernel_side", "Counters of the kernel side and of the back end", kernel);
    dropped(registry, &now.dropped);
}

/// What the exports did not get rid of, by reason.
fn dropped(registry: &mut Registry, exports: &[(&'static str, Dropped)]) {
    let family: Family<Labels, Counter> = Family::default();
    for (export, Dropped { rate, queue, failed }) in exports {
        for (reason, count) in [("rate", rate), ("queue", queue), ("failed", failed)] {
            family.get_or_create(&[("export", export), ("reason", reason)]).inc_by(*count);
        }
    }
    let help = "Lines and records that an export did not get rid of, by reason";
    registry.register("export_dropped", help, family);
}

/// The names that every exporter uses.
fn process(registry: &mut Registry, now: &Process) {
    let seconds: Counter<f64, AtomicU64> = Counter::default();
    seconds.inc_by(now.cpu_seconds);
    let help = "Total user and system CPU time spent in seconds";
    registry.register_with_unit("cpu", help, Unit::Seconds, seconds);
    let bytes = gauge(now.resident_bytes);
    registry.register_with_unit("resident_memory", "Resident memory size", Unit::Bytes, bytes);
    registry.register("open_fds", "Number of open file descriptors", gauge(now.open_fds));
    let start = Real::default();
    start.set(now.start_seconds);
    let help = "Start time of the process since unix epoch in seconds";
    registry.register_with_unit("start_time", help, Unit::Seconds, start);
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(signed(value));
    gauge
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
